"""Moodle, the hub and students: login, `hub publish`, `moodle upload`, fetch, submit, feedback.

Against the recorded Moodle and a real hub (B86 to B89, B112; compatibility-0.3.16.md 4, 10).
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from mograder.cli.moodle import upload as upload_command
from mograder.cli.shared.console import when
from tests.support.command_line import cli
from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import token_of
from tests.support.moodle.teacher import ATTACHED, CourseSetup, ServedHub, served_hub
from tests.support.notebooks import notebook

NOTEBOOK = "A1-Introduction.py"
SOURCE = notebook(
    """
    ### BEGIN SOLUTION
    x = 1
    ### END SOLUTION
    return
    """,
)


@pytest.fixture
def student(teacher: CourseSetup) -> CourseSetup:
    """Commands with a student's token: reading the files of an assignment needs no teacher."""
    teacher.sign_in("alice")
    return teacher


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedHub]:
    with served_hub(tmp_path / "hub-course") as served:
        monkeypatch.setenv("MOGRADER_HUB_URL", served.url)
        monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", served.token)
        yield served


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that a browser was asked to open; there is none on the test machine."""
    pages: list[str] = []

    def note(page: str) -> bool:
        pages.append(page)
        return True

    monkeypatch.setattr(upload_command, "open_page", note)
    return pages


def release(student: CourseSetup, content: bytes) -> Path:
    """Have a release of A1 here."""
    directory = student.course / "release" / "A1-Introduction"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / NOTEBOOK).write_bytes(content)
    return directory


def test_login_keeps_a_token_that_the_other_commands_use(
    student: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """compatibility-0.3.16.md 1: the cache, its mode and its keys."""
    monkeypatch.delenv("MOGRADER_MOODLE_TOKEN")
    told = cli("moodle fetch --list", status=4).err
    assert f"You are not signed in to {student.moodle.url}." in told
    assert f"mograder moodle login --url {student.moodle.url}" in told
    said = cli("moodle login --token", token_of("teach1"))
    assert said.out.startswith("Signed in to ")
    assert said.out.endswith(" as Tea Cher.\n")
    assert "is not encrypted" not in said.err, "this machine needs no encryption"
    cache = student.course.parent / ".config" / "mograder" / "token.json"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    kept = json.loads(cache.read_text())
    assert (kept["token"], kept["fullname"]) == (token_of("teach1"), "Tea Cher")
    own = json.loads(cache.with_name("moodle_tokens.json").read_text())["sites"]
    assert own[student.moodle.url]["username"] == "teach1", "the dashboard needs it offline"
    cli("moodle sync --dry-run")


def test_a_password_does_not_travel_unencrypted(
    student: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is asked of the person or of Moodle."""
    typed = io.StringIO("PASSWORD\n")
    monkeypatch.setattr("sys.stdin", typed)
    err = cli("moodle login --url http://moodle.invalid --username alice", status=2).err
    assert "Your password would travel unencrypted: http://moodle.invalid" in err
    assert "--insecure" in err
    assert "Warning" not in err, "one reason is enough"
    assert typed.tell() == 0, "the password was not asked for"


@pytest.mark.parametrize(
    ("user", "password", "status", "words"),
    [
        ("teach1", "PASSWORD", 0, "as Tea Cher.\n"),
        ("alice", "wrong", 4, "Moodle does not accept this user name and password."),
    ],
)
def test_login_with_a_password_takes_it_from_a_line_of_a_scripts_input(
    student: CourseSetup,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    password: str,
    status: int,
    words: str,
) -> None:
    """Recordings 4, 12, 348: the password goes to Moodle and nowhere else."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    told = cli("moodle login --username", user, status=status)
    assert words in told.out + told.err
    cache = student.course.parent / ".config" / "mograder" / "token.json"
    assert cache.exists() is (status == 0)
    assert password not in told.out + told.err + (cache.read_text() if cache.exists() else "")


def test_login_in_a_script_without_input_names_the_option_that_is_missing(
    student: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "Missing option '--username'." in cli("moodle login", status=2).err


def test_login_with_the_browser_says_where_a_site_does_not_offer_it(
    student: CourseSetup, opened: list[str]
) -> None:
    """Recording 348: this site signs people in by password."""
    printed = cli("moodle login --sso", status=69)
    assert "Use `mograder moodle login` with your password" in printed.err
    assert opened == []


def test_login_refuses_a_token_that_moodle_does_not_know(student: CourseSetup) -> None:
    printed = cli("moodle login --token", token_of("invalid"), status=4)
    assert "Moodle does not know this token" in printed.err
    assert not (student.course.parent / ".config").exists()


def test_a_student_lists_fetches_and_reads(student: CourseSetup) -> None:
    """compatibility-0.3.16.md 4: the columns of the list."""
    first, *rows = cli("moodle fetch --list").lines
    assert first.split() == ["ID", "Name", "Due", "date", "Files"]
    assert rows[0].startswith("1   A1. Introduction")
    assert NOTEBOOK in rows[0]
    printed = cli("moodle fetch A1 -o a1")
    assert printed.out == (
        f"  Downloaded: a1/{NOTEBOOK}\nFetched 1 file(s) for 'A1. Introduction'\n"
    )
    assert (student.course / "a1" / NOTEBOOK).read_bytes() == recorded(137).body
    assert "There is no assignment 'Z9' on Moodle." in cli("moodle fetch Z9", status=3).err
    student.at(104)
    assert "Status: submitted" in cli("moodle feedback A1").out


def test_a_student_hands_in_and_moodle_is_asked_whether_it_kept_it(student: CourseSetup) -> None:
    """Recordings 100, 101; the time is the one that Moodle recorded."""
    student.at(99)
    (student.course / NOTEBOOK).write_bytes(b"# alice\nx = 1       ")
    assert (student.course / NOTEBOOK).stat().st_size == 20
    assert "Dry run — nothing was sent.\n" in cli("moodle submit A1", NOTEBOOK, "--dry-run").out
    assert student.asked("mod_assign_save_submission") == []
    printed = cli("moodle submit A1", NOTEBOOK)
    at = when(datetime(2026, 11, 20, 6, 31, 43, tzinfo=UTC))
    assert printed.out == f"Submitted '{NOTEBOOK}' to 'A1. Introduction'\n  Received: {at}\n"


def test_b86_publish_sends_what_moodle_hands_out(student: CourseSetup, hub: ServedHub) -> None:
    """B86: verified first, then published."""
    release(student, recorded(137).body)
    assert "Moodle verification: OK\n" in cli("hub publish A1").out
    assert (hub.hub.course / "hub-release" / "A1-Introduction" / NOTEBOOK).is_file()


def test_b86_publish_says_exactly_what_differs_and_how_to_fix_it(
    student: CourseSetup, hub: ServedHub
) -> None:
    """B86; compatibility-0.3.16.md 10: on stderr, status 1, nothing sent."""
    directory = release(student, b"import marimo\n")
    (directory / "data.csv").write_text("1,2\n")
    told = cli("hub publish A1", status=1).err
    assert "Moodle verification: FAILED (A1. Introduction)\n" in told
    assert "  missing on Moodle: data.csv\n" in told
    assert f"  content differs: {NOTEBOOK}\n" in told
    assert "mograder moodle upload A1-Introduction" in told
    assert "--force" in told
    assert not (hub.hub.course / "hub-release" / "A1-Introduction").exists()


def test_b87_b88_force_asks_moodle_for_nothing(student: CourseSetup, hub: ServedHub) -> None:
    """B87, B88."""
    release(student, recorded(137).body + b"# not on Moodle\n")
    assert cli("hub publish A1 --force --dry-run").out.endswith("Dry run — not publishing.\n")
    assert not (hub.hub.course / "hub-release" / "A1-Introduction").exists()
    cli("hub publish A1 --force")
    assert student.moodle.requests == []
    assert (hub.hub.course / "hub-release" / "A1-Introduction" / NOTEBOOK).is_file()


def test_b89_the_name_on_moodle_may_be_another_one(student: CourseSetup, hub: ServedHub) -> None:
    """B89: default the same as ASSIGNMENT."""
    directory = student.course / "release" / "Darts"
    directory.mkdir(parents=True)
    (directory / "Darts.py").write_bytes(recorded(137).body)
    told = cli("hub publish Darts", status=1).err
    assert "There is no assignment 'Darts' on Moodle." in told
    assert "Nothing was sent." in told
    told = cli("hub publish Darts --moodle-assignment", "A1. Introduction", status=1).err
    assert "missing on Moodle: Darts.py" in told
    assert f"extra on Moodle (not local): {NOTEBOOK}" in told


def test_b112_generate_then_upload_to_moodle_then_publish_to_the_hub(
    student: CourseSetup, hub: ServedHub, opened: list[str]
) -> None:
    """B112: Moodle lets only a person attach files; what it then serves is verified."""
    source = student.course / "source" / "A1-Introduction"
    source.mkdir(parents=True)
    (source / NOTEBOOK).write_text(SOURCE)
    cli("generate A1 --no-validate")
    built = student.course / "release" / "A1-Introduction" / NOTEBOOK

    told = cli("moodle upload A1", status=1).out
    assert opened == [f"{student.moodle.url}/course/modedit.php?update=3"]
    assert f"content differs: {NOTEBOOK}" in told
    assert f"       {built}\n" in told
    cli("hub publish A1", status=1)
    assert not (hub.hub.course / "hub-release" / "A1-Introduction").exists()

    student.moodle.supplied[ATTACHED] = built.read_bytes()  # A person attaches it.
    printed = cli("moodle upload A1 --no-open")
    assert printed.out == ("Moodle hands out exactly these files for A1. Introduction.\n")
    cli("hub publish A1")
    assert (hub.hub.course / "hub-release" / "A1-Introduction" / NOTEBOOK).is_file()
    assert len(opened) == 1


def test_b112_upload_builds_one_zip_of_a_release_with_several_files(
    student: CourseSetup, opened: list[str]
) -> None:
    """B112."""
    directory = release(student, b"import marimo\n")
    (directory / "data.csv").write_text("1,2\n")
    cli("moodle upload A1 --dry-run")
    assert not (directory / "A1-Introduction.zip").exists()
    told = cli("moodle upload A1 --no-open --json", status=1).json
    assert told["attach"] == [str(directory / "A1-Introduction.zip")]
    assert told["files"] == [NOTEBOOK, "data.csv"]
    assert not told["verified"]
    assert (directory / "A1-Introduction.zip").is_file()
    assert opened == []


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """A keyboard: what a test writes is what a person types into the terminal."""
    person, terminal = os.openpty()
    with open(person, "w") as keyboard, open(terminal) as stdin:  # noqa: PTH123  # descriptors
        monkeypatch.setattr("sys.stdin", stdin)
        yield keyboard


def test_b112_upload_waits_for_the_person_and_looks_again(
    student: CourseSetup, typed: IO[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B112: after Enter Moodle is asked whether it now hands out what was built."""
    directory = release(student, b"import marimo\n")

    def attach(page: str) -> bool:
        student.moodle.supplied[ATTACHED] = (directory / NOTEBOOK).read_bytes()
        return True

    monkeypatch.setattr(upload_command, "open_page", attach)
    typed.write("\n")
    typed.flush()
    assert "Moodle hands out exactly these files" in cli("moodle upload A1").out


def test_b112_upload_says_what_still_differs_until_the_person_stops(
    student: CourseSetup, typed: IO[str], opened: list[str]
) -> None:
    """B112."""
    release(student, b"import marimo\n")
    typed.write("\nq\n")
    typed.flush()
    assert cli("moodle upload A1", status=1).out.count(f"  content differs: {NOTEBOOK}\n") == 2
    assert len(opened) == 1
