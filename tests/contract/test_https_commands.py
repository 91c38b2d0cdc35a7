"""``mograder https`` against a real assignment server (B148-B155)."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mograder.cli.main import run
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry, Penalty
from tests.support.clock import ManualClock
from tests.support.gradebooks import AT, a_run, put_penalty
from tests.support.served_course import (
    CODE,
    DATA,
    HOMEWORK,
    Course,
    make_course,
    serving_course,
    token_of,
)

TEACHER = token_of("__instructor__")
DUE = "2026-09-01T10:00:00+00:00"
"""An hour after the start of the manual clock."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """One course for the module; every test is other people."""
    with serving_course(make_course(tmp_path_factory.mktemp("course") / "course")) as course:
        yield course


class CommandLine:
    """Runs commands in a temporary directory with a temporary home, and keeps their output."""

    def __init__(self, here: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.here, self.home = here, home
        self._capfd = capfd
        self.out = self.err = ""

    def https(self, *words: str) -> int:
        """Run a command and keep what it printed."""
        status = run(["https", *words])
        self.out, self.err = self._capfd.readouterr()
        return status

    def json(self, *words: str) -> Any:
        assert self.https(*words, "--json") == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CommandLine:
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    for name in ("MOGRADER_COURSE_DIR", "MOGRADER_HTTPS_TOKEN", "MOGRADER_HTTPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return CommandLine(here, home, capfd)


@pytest.fixture
def alice(command_line: CommandLine, served: Course, fresh_name: Any) -> str:
    """Sign a student in; return the name."""
    name: str = fresh_name("alice")
    assert command_line.https("login", "--token", token_of(name), "--url", served.url) == 0
    return name


def test_b148_login_keeps_the_token_for_its_server(
    command_line: CommandLine, served: Course
) -> None:
    token = token_of("alice")
    assert command_line.https("login", "--token", token, "--url", f"{served.url}/") == 0
    assert command_line.out == f"Token cached for {served.url} (user: alice)\n"
    cached = command_line.home / ".config" / "mograder" / "https_token.json"
    assert stat.S_IMODE(cached.stat().st_mode) == 0o600
    assert json.loads(cached.read_text()) == {"url": served.url, "token": token, "user": "alice"}
    assert command_line.https("fetch", "--list", "--url", served.url) == 0


def test_b148_a_token_that_the_server_refuses_is_not_kept(
    command_line: CommandLine, served: Course
) -> None:
    assert command_line.https("login", "--token", "alice:00", "--url", served.url) == 4
    assert command_line.err.startswith("Error: Authentication required.")
    assert not (command_line.home / ".config").exists()


def test_b148_a_server_that_is_away_is_no_obstacle(command_line: CommandLine) -> None:
    assert command_line.https("login", "--token", "alice:00", "--url", "http://127.0.0.1:9") == 0
    assert "cannot be reached now" in command_line.err
    assert (command_line.home / ".config" / "mograder" / "https_token.json").is_file()


@pytest.mark.parametrize("words", [(), ("--token", "alice")])
def test_b148_login_needs_a_token(
    command_line: CommandLine, served: Course, words: tuple[str, ...]
) -> None:
    assert command_line.https("login", "--url", served.url, *words) == 2
    assert "oken" in command_line.err


def test_b141_registering_gives_a_token_that_later_commands_find(
    command_line: CommandLine, served: Course, fresh_name: Any
) -> None:
    name = fresh_name("nora")
    words = ("register", name, "--enrollment-code", CODE, "--url", served.url)
    assert command_line.https(*words) == 0
    assert f"(user: {name})" in command_line.out
    assert command_line.https("feedback", "hw1", "--url", served.url) == 0
    assert command_line.https(*words) == 0, "one's own token gets it again"


def test_b141_a_name_is_given_out_once_until_an_instructor_resets_it(
    command_line: CommandLine, served: Course, fresh_name: Any
) -> None:
    name = fresh_name("nora")
    words = ("register", name, "--enrollment-code", CODE, "--url", served.url)
    assert command_line.https(*words) == 0
    for file in (command_line.home / ".config" / "mograder").iterdir():
        file.unlink()
    assert command_line.https(*words) == 5
    assert command_line.https("reset", name, "--url", served.url, "--token", TEACHER) == 0
    assert command_line.https(*words) == 0
    assert command_line.https("feedback", "hw1", "--url", served.url) == 0


def test_b141_the_code_may_come_from_the_environment_and_is_not_waited_for(
    command_line: CommandLine, served: Course, fresh_name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOGRADER_ENROLLMENT_CODE", raising=False)
    words = ("register", fresh_name("nora"), "--url", served.url)
    assert command_line.https(*words) == 2
    assert "--enrollment-code" in command_line.err
    monkeypatch.setenv("MOGRADER_ENROLLMENT_CODE", CODE)
    assert command_line.https(*words) == 0


def test_b141_a_wrong_code_is_refused(
    command_line: CommandLine, served: Course, fresh_name: Any
) -> None:
    words = ("register", fresh_name("nora"), "--enrollment-code", "guess", "--url", served.url)
    assert command_line.https(*words) == 4
    assert command_line.err.startswith("Error: Invalid enrollment code.")


def test_b149_list_names_id_due_date_and_files(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    assert command_line.https("fetch", "--list", "--url", served.url) == 0
    header, row = command_line.out.splitlines()
    assert header.split() == ["ID", "Name", "Due", "date", "Files"]
    assert row.split()[:4] == ["hw1", "hw1", "No", "deadline"]
    assert row.endswith("2 (data.csv, homework.py)")
    names = ["data.csv", "homework.py"]
    assert command_line.json("fetch", "--list", "--url", served.url) == [
        {"id": "hw1", "name": "hw1", "due": None, "cutoff": None, "files": names}
    ]


@pytest.mark.parametrize("wanted", ["hw1", "W1", "HW"])
def test_b149_fetch_writes_the_files_into_the_directory(
    command_line: CommandLine, served: Course, alice: str, wanted: str
) -> None:
    assert command_line.https("fetch", wanted, "-o", "hw1/", "--url", served.url) == 0
    assert command_line.out == (
        "  Downloaded: hw1/data.csv\n  Downloaded: hw1/homework.py\nFetched 2 file(s) for 'hw1'\n"
    )
    assert (command_line.here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    assert (command_line.here / "hw1" / "data.csv").read_bytes() == DATA
    cached = command_line.here / "hw1" / ".mograder" / "release" / "hw1" / "homework.py"
    assert cached.read_bytes() == HOMEWORK


def test_b149_an_edited_file_is_kept_and_that_is_said(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "homework.py").write_text("# my work")
    assert command_line.https("fetch", "hw1", "--url", served.url) == 0
    (kept,) = command_line.here.glob("homework.bak.*.py")
    assert kept.read_text() == "# my work"
    assert f"what you had is kept as {kept.name}" in command_line.out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("fetch", "hw9"), 3, "There is no assignment 'hw9' on the server."),
        (("fetch",), 2, "Name an assignment, or use --list."),
        (("submit", "hw1", "missing.py"), 2, "does not exist"),
        (("submit", "hw1", "notes.txt"), 2, "notes.txt is no .py file."),
        (("upload-grades", "hw1", "--grades-csv", "notes.txt"), 2, "no column 'username'"),
        (("fetch-submissions", "hw1"), 4, "Instructor access required."),
        (("upload-feedback", "hw1"), 3, "There is no directory"),
        (("receipt", "show", "hw1"), 3, "There is no receipt for 'hw1'"),
    ],
)
def test_what_goes_wrong_is_a_line_and_an_exit_status(
    command_line: CommandLine,
    served: Course,
    alice: str,
    words: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    (command_line.here / "notes.txt").write_text("notes\n")
    url = () if words[0] == "receipt" else ("--url", served.url)
    assert command_line.https(*words, *url) == status
    assert said in command_line.err
    assert "Traceback" not in command_line.err
    assert command_line.out == ""


def test_b150_submit_hands_in_and_keeps_the_receipt(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1.py").write_bytes(b"# my work\n")
    assert command_line.https("submit", "hw1", "hw1.py", "--url", served.url) == 0
    assert command_line.out.startswith("Submitted 'hw1.py' to 'hw1'\n  Received: ")
    stored = served.root / "submitted" / "hw1" / f"{alice}.py"
    assert stored.read_bytes() == b"# my work\n"
    (receipt,) = (command_line.here / ".mograder" / "receipts" / "hw1").iterdir()
    assert receipt.name in command_line.out
    answer = command_line.json("submit", "hw1", "hw1.py", "--url", served.url)
    assert answer["repeated"] is True
    assert answer["receipt"]["user"] == alice
    assert len(list(receipt.parent.iterdir())) == 1


def test_b150_a_dry_run_sends_nothing(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1.py").write_bytes(b"# my work\n")
    assert command_line.https("submit", "hw1", "hw1.py", "--dry-run", "--url", served.url) == 0
    assert command_line.out.startswith("Would submit: hw1.py\n  Assignment: hw1\n")
    assert command_line.json("feedback", "hw1", "--url", served.url)["status"] == "new"


def test_a_receipt_is_shown_and_verified(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1").mkdir()
    file = command_line.here / "hw1" / "hw1.py"
    file.write_bytes(b"# my work\n")
    assert command_line.https("submit", "hw1", "hw1/hw1.py", "--url", served.url) == 0
    assert command_line.https("receipt", "show", "hw1") == 0
    assert f"hw1, submission 1 of {alice}" in command_line.out
    assert command_line.https("receipt", "verify", "hw1", "--file", "hw1/hw1.py") == 0
    assert "exactly what it is for" in command_line.out
    file.write_bytes(b"# other work\n")
    assert command_line.https("receipt", "verify", "hw1", "--file", "hw1/hw1.py") == 1
    assert "NOT what it is for" in command_line.out


def test_a_changed_receipt_is_not_genuine(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1.py").write_bytes(b"# my work\n")
    assert command_line.https("submit", "hw1", "hw1.py", "--url", served.url) == 0
    (receipt,) = (command_line.here / ".mograder" / "receipts" / "hw1").iterdir()
    receipt.write_text(receipt.read_text().replace(alice, "mallory"))
    assert command_line.https("receipt", "verify", str(receipt), "--json") == 1
    assert json.loads(command_line.out)["valid"] is False


def test_b151_feedback_tells_status_and_grade(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    url = ("--url", served.url)
    assert command_line.https("feedback", "hw1", *url) == 0
    assert command_line.out == "Assignment: hw1\nStatus: new\nNo submission yet.\n"
    (command_line.here / "hw1.py").write_bytes(b"# my work\n")
    command_line.https("submit", "hw1", "hw1.py", *url)
    assert command_line.https("feedback", "hw1", *url) == 0
    assert "Status: submitted\nReceived: " in command_line.out
    assert command_line.out.endswith("Not yet graded.\n")
    (command_line.here / "grades.csv").write_text(f"username,grade,feedback\n{alice},8.5,Good.\n")
    as_teacher = (*url, "--token", TEACHER)
    assert (
        command_line.https("upload-grades", "hw1", "--grades-csv", "grades.csv", *as_teacher) == 0
    )
    (command_line.here / "pages").mkdir()
    (command_line.here / "pages" / f"{alice}.html").write_text("<p>Good.</p>")
    words = ("upload-feedback", "hw1", "--feedback-dir", "pages")
    assert command_line.https(*words, *as_teacher) == 0
    assert command_line.out == f"  {alice}.html\nUploaded 1 feedback file(s) to 'hw1'\n"
    assert command_line.https("feedback", "hw1", "-o", "mine", *url) == 0
    assert "Grade: 8.5\nFeedback:\n  Good.\n" in command_line.out
    assert (command_line.here / "mine" / f"{alice}.html").read_text() == "<p>Good.</p>"
    answer = command_line.json("feedback", "hw1", *url)
    assert (answer["graded"], answer["grade"], answer["feedback"]) == (True, "8.5", "Good.")


def test_b153_fetch_submissions_brings_everybodys_latest(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1.py").write_bytes(b"# first\n")
    command_line.https("submit", "hw1", "hw1.py", "--url", served.url)
    as_teacher = ("--url", served.url, "--token", TEACHER)
    assert command_line.https("fetch-submissions", "hw1", "-o", "submitted/hw1/", *as_teacher) == 0
    assert "submission(s) in submitted/hw1" in command_line.out
    assert (command_line.here / "submitted" / "hw1" / f"{alice}.py").read_bytes() == b"# first\n"
    times = json.loads(
        (command_line.here / "submitted" / "hw1" / ".fetch_metadata.json").read_text()
    )
    assert times[alice] > 1_700_000_000
    (command_line.here / "hw1.py").write_bytes(b"# second\n")
    command_line.https("submit", "hw1", "hw1.py", "--url", served.url)
    answer = command_line.json("fetch-submissions", "hw1", *as_teacher)
    assert answer["directory"].endswith("submitted/hw1")
    fates = {each["username"]: each["change"] for each in answer["submissions"]}
    assert fates.pop(alice) == "updated"
    assert set(fates.values()) <= {"unchanged"}
    assert (command_line.here / "submitted" / "hw1" / f"{alice}.py").read_bytes() == b"# second\n"


def test_b154_upload_grades_tells_how_many(
    command_line: CommandLine, served: Course, fresh_name: Any
) -> None:
    one, two = fresh_name("gina"), fresh_name("hans")
    (command_line.here / "grades.csv").write_text(
        f"username,grade,feedback\n{one},5,\n{two},7,Hm\n"
    )
    words = ("upload-grades", "hw1", "--grades-csv", "grades.csv", "--url", served.url)
    assert command_line.https(*words, "--token", TEACHER, "--dry-run") == 0
    assert command_line.out == f"Would upload 2 grade(s) to 'hw1'\n  {one}: 5\n  {two}: 7\n"
    assert command_line.https(*words, "--token", TEACHER) == 0
    assert command_line.out.startswith("Uploaded 2 grade(s) to 'hw1'; the server holds ")
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    assert [row["grade"] for row in held if row.get("username") in (one, two)] == ["5", "7"]
    assert command_line.https(*words, "--token", token_of(one)) == 4


def test_b154_the_gradebook_gives_the_grades_where_no_file_does(
    command_line: CommandLine, served: Course, fresh_name: Any
) -> None:
    one, two, three = fresh_name("ida"), fresh_name("jan"), fresh_name("kim")
    words = ("upload-grades", "hw1", "--url", served.url, "--token", TEACHER)
    assert command_line.https(*words) == 3
    assert "has no marks for hw1" in command_line.err
    points = {"Q1": 7.1, "Q2": 15.0, "Q3": 0.0}
    with Gradebook(command_line.here / "gradebook.db") as book:
        for student in (one, two, three):
            book.record_run(a_run(student, points, assignment="hw1"))
            if student != three:
                marks = {"Analysis": MarkEntry(12.5)}
                book.record_marks("hw1", student, marks, marker="mia", at=AT, comment="Hm")
        put_penalty(book, two, Penalty(100, 0), assignment="hw1")
    assert command_line.https(*words) == 0
    assert command_line.out.startswith("Uploaded 2 grade(s) to 'hw1'; ")
    assert f": {three} has no mark: Analysis is not marked yet." in command_line.err
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    assert [
        (row["username"], row["grade"], row["feedback"])
        for row in held
        if row.get("username") in (one, two, three)
    ] == [(one, "34.6", "Hm"), (two, "0", "Hm")]


def test_b152_url_and_token_come_from_options_environment_cache_and_file(
    command_line: CommandLine, served: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B152, B155: --token, MOGRADER_HTTPS_TOKEN, the cache of this address, [https] token."""
    (command_line.here / "hw1.py").write_bytes(b"# x\n")

    def who(*words: str) -> str:
        answer = command_line.json("submit", "hw1", "hw1.py", "--dry-run", *words)
        return str(answer["user"])

    toml = command_line.here / "mograder.toml"
    toml.write_text(
        f'transport = "https"\n[https]\nurl = "{served.url}/"\ntoken = "{token_of("fay")}"\n'
    )
    assert who() == "fay"
    assert command_line.https("login", "--token", token_of("cleo")) == 0
    assert who() == "cleo"
    monkeypatch.setenv("MOGRADER_HTTPS_TOKEN", token_of("eve"))
    assert who() == "eve"
    assert who("--token", token_of("olga")) == "olga"


def test_b155_the_token_in_the_file_goes_to_the_server_in_the_file_only(
    command_line: CommandLine, served: Course
) -> None:
    (command_line.here / "mograder.toml").write_text(
        f'[https]\nurl = "https://other.example.org"\ntoken = "{token_of("fay")}"\n'
    )
    assert command_line.https("fetch", "--list", "--url", served.url) == 4


def test_b155_without_a_url_the_command_says_where_to_put_one(command_line: CommandLine) -> None:
    assert command_line.https("fetch", "--list") == 2
    said = "No HTTPS URL configured. Provide --url or set [https] url in mograder.toml"
    assert said in command_line.err


@pytest.mark.parametrize("words", [("fetch", "--list"), ("login",)])
def test_a_token_is_not_sent_in_the_clear_to_another_machine(
    command_line: CommandLine, words: tuple[str, ...]
) -> None:
    url = ("--url", "http://server.example.org", "--token", token_of("alice"))
    assert command_line.https(*words, *url) == 2
    assert "not encrypted" in command_line.err
    assert "--insecure" in command_line.err


def test_the_enrollment_code_is_not_sent_in_the_clear_either(command_line: CommandLine) -> None:
    url = ("--url", "http://server.example.org", "--enrollment-code", CODE)
    assert command_line.https("register", "alice", *url) == 2
    assert "not encrypted" in command_line.err


class Keyboard(io.StringIO):
    """A person at a terminal who answers prompts."""

    def isatty(self) -> bool:
        return True


def test_a_late_submission_replaces_an_on_time_one_only_with_leave(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, root = ManualClock(), make_course(tmp_path / "course")
    manifest = [{"name": "hw1", "id": 1, "due": DUE, "cutoff": "2026-09-01T13:00:00+00:00"}]
    (root / "assignments.json").write_text(json.dumps(manifest))
    work = command_line.here / "hw1.py"
    with serving_course(root, clock=clock) as late:
        words = ("submit", "hw1", "hw1.py", "--url", late.url, "--token", token_of("alice"))
        work.write_bytes(b"# on time\n")
        assert command_line.json(*words)["late"] is False
        clock.advance(2 * 3600)
        work.write_bytes(b"# late\n")
        assert command_line.https(*words) == 5
        assert "--late" in command_line.err
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# on time\n"
        monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
        assert command_line.https(*words) == 5
        assert "Let the late one count?" in command_line.err
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# on time\n"
        monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
        assert command_line.https(*words) == 0
        assert command_line.json(*words, "--late")["late"] is True
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# late\n"
        clock.advance(3 * 3600)
        work.write_bytes(b"# too late\n")
        assert command_line.https(*words, "--late") == 5
    receipts = list((command_line.here / ".mograder" / "receipts" / "hw1").iterdir())
    assert len(receipts) == 2
