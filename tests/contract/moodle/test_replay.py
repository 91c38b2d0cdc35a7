"""The replay answers each recorded request as recorded, and no other request."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.support.moodle.recordings import ANYBODY, Recording, tape
from tests.support.moodle.replay import Replay, Request, token_of
from tests.support.moodle.state import World

pytestmark = pytest.mark.full

RECORDED = [each for each in tape() if not each.is_derived]
SERVABLE = [each for each in RECORDED if each.is_servable]
REISSUED = {"/login/token.php", "/webservice/upload.php"}
"""Where the replay gives tokens and draft numbers of its own."""


def again(recording: Recording) -> Request:
    """Return a recorded request as its sender would send it to the replay."""
    actor = "alice" if recording.actor == ANYBODY else recording.actor
    return Request(
        method=recording.method,
        path=recording.path.partition("?")[0],
        fields={
            name: token_of(actor) if name in {"wstoken", "token"} else value
            for name, value in recording.fields.items()
        },
        files=recording.files,
        range="bytes=0-9" if recording.number == 153 else "",
    )


@pytest.mark.parametrize("recording", SERVABLE, ids=lambda each: each.name)
def test_each_recording_is_answered_in_its_own_state(recording: Recording) -> None:
    replay = Replay()
    replay.begin(99)
    replay.become(World.before(recording), recording.mood)
    reply = replay.answer(again(recording))
    assert not replay.problems
    assert (reply.status, reply.content_type) == (recording.status, recording.content_type)
    if recording.path in REISSUED and recording.status == 200:
        assert set(keys(reply.body)) == set(keys(recording.body))
    elif recording.content_type.startswith("application/json"):
        assert json.loads(reply.body) == json.loads(recording.body)
    else:
        assert reply.body == recording.body


def keys(body: bytes) -> list[str]:
    """Return the names in an answer, to whatever depth."""
    answer = json.loads(body)
    rows = answer if isinstance(answer, list) else [answer]
    return [name for row in rows for name in row]


def test_all_369_recordings_are_there_and_most_can_be_asked_for() -> None:
    assert len(RECORDED) == 369
    left = [each for each in RECORDED if not each.is_servable]
    pages = [each for each in left if each.path.startswith(("/mod/", "/admin/"))]
    assert len(left) - len(pages) == 5, [each.name for each in left if each not in pages]


def test_what_was_not_recorded_is_refused_and_noted(site: Replay) -> None:
    site.begin(99)
    fields = {
        "wstoken": token_of("alice"),
        "wsfunction": "mod_assign_get_submission_status",
        "moodlewsrestformat": "json",
        "assignid": "77",
    }
    answer = httpx.post(f"{site.url}/webservice/rest/server.php", data=fields, timeout=60)
    assert answer.status_code == 500
    assert len(site.problems) == 1
    assert "77" in site.problems[0]


def test_an_answer_from_another_state_is_not_given() -> None:
    replay = Replay()
    replay.begin(158)
    grades = next(each for each in tape() if each.number == 165)
    assert replay.answer(again(grades)).status == 500
    replay.begin(164)
    assert replay.answer(again(grades)).status == 200


def test_a_token_in_an_address_is_noted(site: Replay) -> None:
    site.begin(99)
    fields = {"wsfunction": "core_webservice_get_site_info", "moodlewsrestformat": "json"}
    path = f"/webservice/rest/server.php?wstoken={token_of('alice')}"
    assert httpx.post(f"{site.url}{path}", data=fields, timeout=60).status_code == 200
    assert site.problems == ["a token stood in the address of /webservice/rest/server.php"]
