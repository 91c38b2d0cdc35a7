"""Both ways with mograder 0.3.16: its commands and our server, our commands and its server.

What was said is data, recorded once (B148-B155).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mograder.cli.main import run
from tests.support.command_line import cli
from tests.support.recordings import (
    Command,
    Replay,
    Spoken,
    answers,
    commands,
    make_course,
    replaying,
    without_detail,
)
from tests.support.served_course import serving_course, token_of

STUDENTS = ("login", "fetch", "submit", "feedback")
TEACHERS = ("fetch-submissions", "upload-grades", "upload-feedback")
NEWER = {"/me", "/receipts/verify"}
"""Routes that 0.3.16 does not have; our commands ask them, and take its 404 for that."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The recorded course, on our server."""
    root = make_course(tmp_path_factory.mktemp("ours") / "course")
    with (
        serving_course(root) as course,
        httpx.Client(base_url=course.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def ask(ours: httpx.Client, spoken: Spoken) -> httpx.Response:
    """Send our server exactly the requests recorded for 0.3.16's."""
    return ours.request(
        spoken.method, spoken.path, headers=dict(spoken.headers), content=spoken.body
    )


def differences(theirs: object, mine: object, place: str = "answer") -> list[str]:
    """Return the differences that a client would notice; additional keys are allowed."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        missing = [f"{place}.{key} is missing" for key in theirs if key not in mine]
        both = [key for key in theirs if key in mine]
        return missing + [
            each for key in both for each in differences(theirs[key], mine[key], f"{place}.{key}")
        ]
    if isinstance(theirs, list) and isinstance(mine, list):
        if len(theirs) != len(mine):
            return [f"{place} has {len(mine)} entries instead of {len(theirs)}"]
        pairs = enumerate(zip(theirs, mine, strict=True))
        return [each for n, (a, b) in pairs for each in differences(a, b, f"{place}[{n}]")]
    return [] if theirs == mine else [f"{place} is {mine!r} instead of {theirs!r}"]


def judged(spoken: Spoken, answer: httpx.Response) -> list[str]:
    """Describe the differences of our answer."""
    place = f"{spoken.method} {spoken.path}"
    found = []
    if answer.status_code != spoken.status:
        found.append(f"{place}: {answer.status_code} {answer.text!r} instead of {spoken.status}")
    media = answer.headers.get("content-type", "").partition(";")[0]
    if spoken.answer and media != spoken.media_type:
        found.append(f"{place}: {media} instead of {spoken.media_type}")
    if spoken.media_type != "application/json":
        same = answer.content == spoken.answer
        return found if same else [*found, f"{place}: other bytes"]
    return found + differences(json.loads(spoken.answer), answer.json(), place)


def test_every_command_of_0_3_16_was_recorded_and_had_an_answer() -> None:
    assert {command.name for command in commands()} == {*STUDENTS, *TEACHERS}
    assert [command.words for command in commands() if command.status] == []
    spoken = [each for command in commands() for each in command.conversation]
    assert {each.status for each in spoken} == {200}


def test_b148_b154_what_clients_of_0_3_16_ask_our_server_answers_as_theirs(
    ours: httpx.Client,
) -> None:
    """The whole course in its order: list, fetch, submit, collect, grade, feedback."""
    found: list[str] = []
    for command in commands():
        for spoken in command.conversation:
            found += judged(spoken, ask(ours, spoken))
    assert found == [], "\n".join(found)


def test_errors_and_the_rest_are_answered_as_theirs(ours: httpx.Client) -> None:
    """B139, B141, B146, B147: who may not, what is not there, what cannot be read."""
    asked = [each for each in answers() if each.path not in NEWER and not taken_before(each)]
    assert len(asked) >= 25
    found = [each for spoken in asked for each in judged(spoken, ask(ours, spoken))]
    assert found == [], "\n".join(found)


def taken_before(spoken: Spoken) -> bool:
    """The second registration of carol: 0.3.16 gives her token to any client with the code."""
    return b"retry_key" in spoken.body


def test_b141_a_taken_name_is_not_handed_out_again_as_0_3_16_does(ours: httpx.Client) -> None:
    """The one difference on purpose (security.md, "Who is asking"); its clients read the error."""
    first, again = (each for each in answers() if each.status == 200 and each.path == "/register")
    assert ask(ours, first).status_code in (200, 409)
    refused = ask(ours, again)
    assert refused.status_code == 409
    assert "ask your instructor" in refused.json()["error"]


def test_0_3_16_takes_no_notice_of_the_details_that_our_client_asks_for() -> None:
    """So that the replay below may answer ``?detail=1`` with what was recorded without it."""
    asked = [each for each in answers() if each.path != without_detail(each.path)]
    assert len(asked) >= 3
    assert {each.status for each in asked} == {200}
    listing = next(each for each in asked if each.path.startswith("/assignments?"))
    plain = next(
        each
        for command in commands()
        for each in command.conversation
        if (each.method, each.path) == ("GET", "/assignments")
    )
    assert json.loads(listing.answer) == json.loads(plain.answer)


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of one of our commands; ``files`` are all files of its directory afterwards."""

    command: Command
    status: int
    out: str
    err: str
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class CommandRuns:
    """Our commands, run with the arguments and against the answers recorded for 0.3.16's."""

    here: Path
    ran: tuple[Ran, ...]
    ignore_progress: tuple[str, ...]


@pytest.fixture(scope="module")
def command_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandRuns]:
    """Run the whole course once, against the recorded answers of their server."""
    home = tmp_path_factory.mktemp("home")
    here = home / "work"
    (here / "feedback").mkdir(parents=True)
    (here / "grades.csv").write_text("username,grade,feedback\nalice,8.5,Good.\nbob,4,Hm\n")
    (here / "feedback" / "alice.html").write_text("<p>Good.</p>\n")
    with pytest.MonkeyPatch.context() as patch, replaying() as replay:
        at_home(patch, home, here)
        replay.learn(answers())
        ran = tuple(run_ours(command, replay, here) for command in commands())
        yield CommandRuns(here, ran, tuple(replay.ignore_progress))


def at_home(patch: pytest.MonkeyPatch, home: Path, here: Path) -> None:
    for name in ("MOGRADER_COURSE_DIR", "MOGRADER_HTTPS_TOKEN", "MOGRADER_HTTPS_URL"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(home))
    patch.chdir(here)


def run_ours(command: Command, replay: Replay, here: Path) -> Ran:
    replay.learn(command.conversation)
    words = [word.replace("URL", replay.url) for word in command.words]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run(["https", *words])
    files = frozenset(p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file())
    return Ran(command, status, out.getvalue(), err.getvalue(), files)


def test_b148_b154_our_commands_do_with_their_server_what_theirs_did(
    command_runs: CommandRuns,
) -> None:
    """Each command with the words and the answers that 0.3.16 had; the same files come of it."""
    assert [(ran.command.words, ran.err) for ran in command_runs.ran if ran.status] == []
    for ran in command_runs.ran:
        assert set(ran.command.new_files) <= ran.files, ran.command.words
    assert command_runs.ignore_progress == ()


def test_b149_b153_our_files_are_the_bytes_of_their_server(command_runs: CommandRuns) -> None:
    spoken = [each for command in commands() for each in command.conversation]
    files = [each for each in spoken if each.media_type == "application/octet-stream"]
    assert len(files) >= 7
    for each in files:
        name = Path(each.path).name
        assert each.answer in [path.read_bytes() for path in command_runs.here.rglob(name)]


def test_b149_b151_our_commands_say_at_least_what_theirs_said(command_runs: CommandRuns) -> None:
    """Line by line, but for the list's columns and the upload's own words."""
    for ran in command_runs.ran:
        theirs = [line for line in ran.command.out.splitlines() if "URL" not in line]
        if "--list" in ran.command.words or ran.command.name == "upload-feedback":
            continue
        said = ran.out.replace(" (2 new)", "").replace("; the server holds 2.", "")
        missing = [line for line in theirs if line.strip() and line.strip() not in said]
        assert [line for line in missing if not line.startswith(("Uploading", "  Extracted"))] == []


def test_b149_the_list_has_their_columns(command_runs: CommandRuns) -> None:
    (listed,) = (ran for ran in command_runs.ran if "--list" in ran.command.words)
    ours, theirs = listed.out.splitlines(), listed.command.out.splitlines()
    assert ours[0].split() == theirs[0].split() == ["ID", "Name", "Due", "date", "Files"]
    assert [line.split()[:5] for line in ours[1:]] == [line.split()[:5] for line in theirs[2:]]


def test_a_token_of_their_cache_is_good_for_our_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """compatibility-0.3.16.md 1: the file that 0.3.16 wrote at its login."""
    at_home(monkeypatch, tmp_path, tmp_path)
    cached = tmp_path / ".config" / "mograder" / "https_token.json"
    cached.parent.mkdir(parents=True)
    (tmp_path / "x.py").write_text("# x\n")
    with replaying() as replay:
        entry = {"url": replay.url, "token": token_of("alice"), "user": "alice"}
        cached.write_text(json.dumps(entry))
        replay.learn([spoken for command in commands() for spoken in command.conversation])
        printed = cli("https submit hw1 x.py --url", replay.url)
    assert "Submitted 'x.py' to 'hw1'" in printed.out
