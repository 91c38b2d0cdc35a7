"""Every recorded refusal becomes the right error with a remedy."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.client import Functions, MoodleClient, demand_course
from mograder.clients.moodle.http import Form, Value, Wire, as_error, as_page_error, refusal_in
from mograder.clients.moodle.models import Warned
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TooLarge,
)
from tests.support.moodle.recordings import ANYBODY, REST, Recording, recorded, tape
from tests.support.moodle.replay import INVALID, Replay, token_of
from tests.support.moodle.state import World

EXPECTED: dict[str, type[MograderError]] = {
    "enablewsdescription": RemoteFailed,
    "invalidlogin": NotAuthenticated,
    "servicenotavailable": RemoteFailed,
    "cannotcreatetoken": Forbidden,
    "usernotallowed": Forbidden,
    "missingparam": RemoteFailed,
    "invalidtoken": NotAuthenticated,
    "invalidparameter": InvalidInput,
    "accessexception": Forbidden,
    "invalidrecordunknown": NotFound,
    "invalidrecord": NotFound,
    "errorcoursecontextnotvalid": Forbidden,
    "nopermission": Forbidden,
    "nopermissions": Forbidden,
    "requireloginerror": Forbidden,
    "upload_error_ini_size": TooLarge,
    "filenotfound": NotFound,
    "dmlwriteexception": RemoteFailed,
    "sitemaintenance": Busy,
    "requirecorrectaccess": InvalidInput,
    "redirecterrordetected": InvalidInput,
    "couldnotsubmitforgrading": Conflict,
    "couldnotsavesubmission": Conflict,
    "couldnotrevert": Conflict,
    "filenameexist": Conflict,
    "fileoversized": TooLarge,
}
PAGES: dict[int, type[MograderError]] = {
    2: RemoteFailed,
    29: RemoteFailed,
    289: Busy,
    290: Busy,
    291: Busy,
    292: Busy,
    293: Busy,
    300: NotFound,
    301: RemoteFailed,
    302: RemoteFailed,
    349: InvalidInput,
}
"""Refusals that are no JSON: pages, XML, redirects."""

UPLOAD = "/webservice/upload.php"


def code_of(recording: Recording) -> str:
    """Return the code of a refusal, wherever in the answer it stands."""
    rows = recording.answer if isinstance(recording.answer, list) else [recording.answer]
    for row in rows:
        if isinstance(row, dict):
            code = row.get("errorcode") or row.get("errortype") or row.get("warningcode") or ""
            if code and not str(code).isdecimal():
                return str(code)
    return ""


REFUSED = [each for each in tape() if each.is_servable and code_of(each)]


def form_of(recording: Recording, token: str) -> Form:
    """Return a recorded request as our wire sends it: its token in the body."""
    fields: dict[str, Value] = {**recording.fields}
    for name in {"token", "wstoken"} & set(fields):
        fields[name] = token
    files = [(name, io.BytesIO(bytes(size))) for name, size in recording.files]
    asked = recording.function or recording.path.rpartition("/")[2]
    return Form(recording.path, fields, asked, files=files)


def provoke(recording: Recording, replay: Replay) -> MograderError:
    """Send a recorded request and return the error that we make of the answer."""
    actor = "alice" if recording.actor == ANYBODY else recording.actor
    token = token_of(actor) if recording.has_token else INVALID
    wire = Wire(replay.url, pause=lambda _: None)
    form = form_of(recording, token)

    def ask() -> None:
        if not isinstance(recording.answer, list):
            wire.ask(form)
        head = {"wstoken", "wsfunction", "moodlewsrestformat"}
        asked = {name: value for name, value in form.fields.items() if name not in head}
        Functions(wire, token).warned(recording.function, **asked)

    try:
        with pytest.raises(MograderError) as caught:
            ask()
    finally:
        wire.close()
    return caught.value


@pytest.mark.parametrize(
    "recording",
    [each for each in REFUSED if sum(size for _, size in each.files) < 50_000_000],
    ids=lambda each: each.name,
)
def test_a_recorded_refusal_is_an_error_with_a_remedy(recording: Recording, site: Replay) -> None:
    site.begin(99)
    site.become(World.before(recording), recording.mood)
    code = code_of(recording)
    if code in {"filenameexist", "fileoversized"}:
        error = as_error(code, "", "big.py")
    else:
        error = provoke(recording, site)
    expected = EXPECTED[code]
    if code == "missingparam" and recording.path == UPLOAD:
        expected = TooLarge
    assert type(error) is expected
    assert error.message.endswith((".", "!", "?"))
    assert error.hint.endswith((".", ")"))
    assert token_of(recording.actor) not in str(error)
    assert not site.problems


@pytest.mark.parametrize(("number", "family"), PAGES.items())
def test_a_page_instead_of_json_is_an_error_with_a_remedy(
    number: int, family: type[MograderError], site: Replay
) -> None:
    recording = recorded(number)
    site.begin(99)
    site.become(World.before(recording), recording.mood)
    if recording.method == "GET" and "pluginfile" not in recording.path:
        error = as_page_error(recording.status, recording.location, f"{site.url}/{recording.path}")
    else:
        error = provoke(recording, site)
    assert type(error) is family or type(error).__mro__[1] is family
    assert error.hint
    assert not site.problems


@pytest.mark.parametrize("number", [97, 99])
def test_a_file_above_phps_own_limits_is_too_large(number: int, site: Replay) -> None:
    """The whole body is dropped, the token with it: Moodle then misses the token."""
    recording = recorded(number)
    site.begin(99)
    form = Form(UPLOAD, {}, recording.files[0][0], files=[("big.py", io.BytesIO())])
    error = refusal_in(json.dumps(recording.answer).encode(), form)
    assert type(error) is TooLarge
    assert "big.py" in error.message


def test_every_code_in_the_recordings_has_a_test() -> None:
    seen = {code_of(each) for each in tape() if code_of(each)}
    assert seen == set(EXPECTED)


def test_no_recorded_refusal_falls_through_to_moodles_own_words() -> None:
    """A code that the table lacks would say "Moodle calls this", which helps nobody."""
    for code in EXPECTED:
        assert "calls this" not in as_error(code, "words", "this").hint, code


def test_an_unknown_code_keeps_moodles_own_words() -> None:
    error = as_error("brandnew", "The moon is not right", "save_grade")
    assert type(error) is RemoteFailed
    assert "The moon is not right." in error.message
    assert "brandnew" in error.hint


def test_a_function_that_the_service_lacks_is_named(moodle: Replay) -> None:
    """037: accessexception says neither which function nor that it is missing."""
    wire = Wire(moodle.url)
    functions = Functions(wire, token_of("teach1"))
    with MoodleClient(moodle.url, token_of("teach1")) as client:
        functions.offered = client.site().functions
    with pytest.raises(Forbidden, match="no function core_course_edit_module"):
        functions.change("core_course_edit_module", action="update", id=3, introattachments=1)
    wire.close()


def test_an_expired_token_is_refused_at_each_door(moodle: Replay) -> None:
    """033 and 145: accessexception at one endpoint, invalidtoken at the other."""
    with MoodleClient(moodle.url, token_of("expired")) as client:
        with pytest.raises(Forbidden, match="does not let this token") as caught:
            client.site()
        assert "mograder moodle login" in caught.value.hint
        file = RemoteFile(
            "A1-Introduction.py",
            f"{moodle.url}/webservice/pluginfile.php/18/mod_assign/introattachment/0/"
            "A1-Introduction.py",
        )
        with pytest.raises(NotAuthenticated, match="does not know this token"):
            client.read(file, 1000)


def test_an_empty_list_with_a_warning_is_no_empty_list(moodle: Replay) -> None:
    """045, 048: without the right Moodle answers an empty list, and warns."""
    with MoodleClient(moodle.url, token_of("alice")) as client:
        with pytest.raises(Forbidden):
            client.submissions(1)
        with pytest.raises(Forbidden):
            client.grades(1)
    assert all(request.path == REST for request in moodle.requests)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("User not fully set-up", "number 3: User not fully set-up."),
        ("User not fully set-up\n#0 /var/lib.php(1): f()", "number 3: User not fully set-up."),
        ("", ""),
    ],
)
def test_the_reason_why_moodle_refuses_a_course_is_told(told: str, message: str) -> None:
    """Some versions append a stack, and some refusals are empty."""
    refused = Warned(item="course", itemid=3, warningcode="1", message=told)
    with pytest.raises(Forbidden, match=message) if message else nullcontext():
        demand_course([refused], 3)


def test_a_course_of_others_is_not_found(moodle: Replay) -> None:
    """065: no course in the list, and a warning."""
    with (
        MoodleClient(moodle.url, token_of("alice")) as client,
        pytest.raises(NotFound, match="no course number 3"),
    ):
        client.assignments(3)
