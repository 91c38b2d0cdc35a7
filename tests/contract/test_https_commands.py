"""``mograder https`` against a real assignment server (B148-B155)."""

from __future__ import annotations

import io
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from mograder.clients.assignment_server.client import register
from mograder.clients.token_store import HTTPS, TokenStore
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry, Penalty
from tests.support.clock import ManualClock
from tests.support.command_line import cli
from tests.support.gradebooks import AT, FAIR, a_run, put_penalty
from tests.support.http_server import Quiet, answering
from tests.support.served_course import (
    CODE,
    DATA,
    HOMEWORK,
    Course,
    make_course,
    served,
    serving_course,
    token_of,
)
from tests.support.work_elsewhere import draft_of, save_in_browser, submit_without_draft

__all__ = ["served"]

TEACHER = token_of("__instructor__")
DUE = "2026-09-01T10:00:00+00:00"
"""An hour after the start of the manual clock."""
THERE = "# from the browser\n"
"""What the student has written elsewhere."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Path) -> Path:
    """The home directory of the person at the command line, whose working directory is another."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    return directory


@pytest.fixture
def alice(served: Course, fresh_name: Any) -> str:
    """Sign a student in; return the name."""
    name: str = fresh_name("alice")
    cli("https login --token", token_of(name), "--url", served.url)
    return name


def test_b148_login_keeps_the_token_for_its_server(home: Path, served: Course) -> None:
    token = token_of("alice")
    printed = cli("https login --token", token, "--url", f"{served.url}/")
    assert printed.out == f"Token cached for {served.url} (user: alice)\n"
    cached = home / ".config" / "mograder" / "https_token.json"
    assert stat.S_IMODE(cached.stat().st_mode) == 0o600
    assert json.loads(cached.read_text()) == {"url": served.url, "token": token, "user": "alice"}
    cli("https fetch --list --url", served.url)


def test_b148_login_shows_the_token_that_is_kept(served: Course, fresh_name: Any) -> None:
    """Who registered needs it elsewhere, and was not told it."""
    where = ("--show", "--url", served.url)
    assert "No token is kept" in cli("https login", *where, status=3).err
    name = fresh_name("nora")
    cli("https register", name, "--enrollment-code", CODE, "--url", served.url)
    token = cli("https login", *where).out.strip()
    assert token.startswith(f"{name}:")
    assert cli("https login --json", *where).json["token"] == token
    cli("https login --token", token, "--url", served.url)


def test_b148_login_takes_the_token_of_the_environment_as_its_help_says(
    served: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HTTPS_TOKEN", f" {token_of('alice')}\n")
    printed = cli("https login --url", served.url)
    assert printed.out == f"Token cached for {served.url} (user: alice)\n"


def test_b148_a_token_that_the_server_refuses_is_not_kept(home: Path, served: Course) -> None:
    printed = cli("https login --token alice:00 --url", served.url, status=4)
    assert printed.err.startswith("Error: The server does not take this token.")
    assert "Copy the whole line" in printed.err
    assert not (home / ".config").exists()


def test_b148_a_server_that_is_away_is_no_obstacle(home: Path) -> None:
    printed = cli("https login --token alice:00 --url http://127.0.0.1:9")
    assert "cannot be reached now" in printed.err
    assert (home / ".config" / "mograder" / "https_token.json").is_file()


@pytest.mark.parametrize(
    ("code", "told"),
    [(200, "is not a mograder assignment server"), (502, "answered 502"), (302, "redirects to")],
)
def test_b148_a_token_for_what_is_no_assignment_server_is_not_kept(
    home: Path, code: int, told: str
) -> None:
    class Other(Quiet):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Location", "https://login.example.org/")
            self.end_headers()
            self.wfile.write(b"<h1>Welcome</h1>")

    with answering(Other) as url:
        assert told in cli("https login --token alice:00 --url", url, status=69).err
    assert not (home / ".config").exists()


@pytest.mark.parametrize("words", [(), ("--token", "alice")])
def test_b148_login_needs_a_token(served: Course, words: tuple[str, ...]) -> None:
    assert "oken" in cli("https login --url", served.url, *words, status=2).err


def test_b141_registering_gives_a_token_that_later_commands_find(
    served: Course, fresh_name: Any
) -> None:
    name = fresh_name("nora")
    words = ("register", name, "--enrollment-code", f" {CODE}\n", "--url", served.url)
    assert f"(user: {name})" in cli("https", *words).out
    cli("https feedback hw1 --url", served.url)
    cli("https", *words)  # one's own token gets it again


def test_b141_a_name_is_given_out_once_until_an_instructor_resets_it(
    home: Path, served: Course, fresh_name: Any
) -> None:
    name = fresh_name("nora")
    words = ("register", name, "--enrollment-code", CODE, "--url", served.url)
    cli("https", *words)
    for file in (home / ".config" / "mograder").iterdir():
        file.unlink()
    cli("https", *words, status=5)
    cli("https reset", name, "--url", served.url, "--token", TEACHER)
    cli("https", *words)
    cli("https feedback hw1 --url", served.url)


def test_b141_a_name_whose_answer_was_lost_is_registered_by_the_next_try(
    home: Path, served: Course, fresh_name: Any
) -> None:
    name = fresh_name("nora")
    key = TokenStore(home, HTTPS).retry_key(served.url, name)
    register(served.url, name, CODE, retry_key=key)
    cli("https register", name, "--enrollment-code", CODE, "--url", served.url)
    cli("https feedback hw1 --url", served.url)


def test_b141_the_code_may_come_from_the_environment_and_is_not_waited_for(
    served: Course, fresh_name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOGRADER_ENROLLMENT_CODE", raising=False)
    words = ("register", fresh_name("nora"), "--url", served.url)
    assert "--enrollment-code" in cli("https", *words, status=2).err
    monkeypatch.setenv("MOGRADER_ENROLLMENT_CODE", CODE)
    cli("https", *words)


def test_b141_a_wrong_code_is_refused(served: Course, fresh_name: Any) -> None:
    words = ("register", fresh_name("nora"), "--enrollment-code", "guess", "--url", served.url)
    assert cli("https", *words, status=4).err.startswith("Error: Invalid enrollment code.")


def test_b149_list_names_id_due_date_and_files(served: Course, alice: str) -> None:
    header, row = cli("https fetch --list --url", served.url).out.splitlines()
    assert header.split() == ["ID", "Name", "Due", "date", "Files"]
    assert row.split()[:4] == ["hw1", "hw1", "No", "deadline"]
    assert row.endswith("2 (data.csv, homework.py)")
    names = ["data.csv", "homework.py"]
    assert cli("https fetch --list --json --url", served.url).json == [
        {"id": "hw1", "name": "hw1", "due": None, "cutoff": None, "files": names}
    ]


@pytest.mark.parametrize("wanted", ["hw1", "W1", "HW"])
def test_b149_fetch_writes_the_files_into_the_directory(
    here: Path, served: Course, alice: str, wanted: str
) -> None:
    printed = cli("https fetch", wanted, "-o", "hw1/", "--url", served.url)
    assert printed.out == (
        "  Downloaded: hw1/data.csv\n  Downloaded: hw1/homework.py\nFetched 2 file(s) for 'hw1'\n"
    )
    assert (here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    assert (here / "hw1" / "data.csv").read_bytes() == DATA
    cached = here / "hw1" / ".mograder" / "release" / "hw1" / "homework.py"
    assert cached.read_bytes() == HOMEWORK
    assert not (cached.parent / "data.csv").exists()


def test_b149_an_edited_file_is_kept_and_that_is_said(
    here: Path, served: Course, alice: str
) -> None:
    (here / "homework.py").write_text("# my work")
    printed = cli("https fetch hw1 --url", served.url)
    (kept,) = here.glob("homework.bak.*.py")
    assert kept.read_text() == "# my work"
    assert (here / "homework.py").read_bytes() == HOMEWORK
    assert f"what you had is kept as {kept.name}" in printed.out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("fetch", "hw9"), 3, "There is no assignment 'hw9' on the server."),
        (("fetch",), 2, "Name an assignment, or use --list."),
        (("submit", "hw1", "missing.py"), 2, "does not exist"),
        (("submit", "hw1", "notes.txt"), 2, "notes.txt is no .py file."),
        (("upload-grades", "hw1", "--grades-csv", "notes.txt"), 2, "no column 'username'"),
        (("fetch-submissions", "hw1"), 4, "Give the instructor's token by --token or in MOGRADER_"),
        (("upload-feedback", "hw1"), 3, "There is no directory"),
    ],
)
def test_what_goes_wrong_is_a_line_and_an_exit_status(
    here: Path,
    served: Course,
    alice: str,
    words: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    (here / "notes.txt").write_text("notes\n")
    printed = cli("https", *words, "--url", served.url, status=status)
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_an_address_with_a_wrong_path_is_told(here: Path, served: Course, alice: str) -> None:
    printed = cli("https fetch --list --url", f"{served.url}/base", status=3)
    assert "Check the server's address, with its path" in printed.err


def test_b150_submit_hands_in_and_keeps_the_receipt(here: Path, served: Course, alice: str) -> None:
    (here / "hw1.py").write_bytes(b"# my work\n")
    printed = cli("https submit hw1 hw1.py --url", served.url)
    assert printed.out.startswith("Submitted 'hw1.py' to 'hw1'\n  Received: ")
    stored = served.root / "submitted" / "hw1" / f"{alice}.py"
    assert stored.read_bytes() == b"# my work\n"
    (receipt,) = (here / ".mograder" / "receipts" / "hw1").iterdir()
    assert receipt.name in printed.out
    answer = cli("https submit hw1 hw1.py --json --url", served.url).json
    assert answer["repeated"] is True
    assert answer["receipt"]["user"] == alice
    assert len(list(receipt.parent.iterdir())) == 1


def test_b150_what_the_server_took_is_told_though_its_receipt_cannot_be_kept(
    here: Path, served: Course, alice: str
) -> None:
    """It exited with 2 and told nothing of the submission."""
    (here / "hw1.py").write_bytes(b"# my work\n")
    (here / ".mograder").mkdir()
    (here / ".mograder" / "receipts").write_text("a file where the directory should be")
    printed = cli("https submit hw1 hw1.py --url", served.url)
    assert "Submitted 'hw1.py' to 'hw1'" in printed.out
    assert "receipt cannot be kept" in printed.err
    answer = cli("https submit hw1 hw1.py --json --url", served.url).json
    assert (answer["receipt"]["user"], answer["receipt_path"]) == (alice, None)


def test_b150_a_notebook_whose_ending_windows_wrote_in_capitals_is_handed_in(
    here: Path, served: Course, alice: str
) -> None:
    (here / "HW1.PY").write_bytes(b"# my answer")
    cli("https submit hw1 HW1.PY --url", served.url)
    assert (served.root / "submitted" / "hw1" / f"{alice}.py").read_bytes() == b"# my answer"


def test_b150_a_dry_run_sends_nothing(here: Path, served: Course, alice: str) -> None:
    (here / "hw1.py").write_bytes(b"# my work\n")
    printed = cli("https submit hw1 hw1.py --dry-run --url", served.url)
    assert printed.out.startswith("Would submit: hw1.py\n  Assignment: hw1\n")
    assert cli("https feedback hw1 --json --url", served.url).json["status"] == "new"


def test_the_directory_without_receipts_is_named(here: Path) -> None:
    assert f"no receipt for 'hw1' in {here}.\n" in cli("https receipt show hw1", status=3).err


def test_a_receipt_is_shown_and_verified(here: Path, served: Course, alice: str) -> None:
    (here / "hw1").mkdir()
    file = here / "hw1" / "hw1.py"
    file.write_bytes(b"# my work\n")
    cli("https submit hw1 hw1/hw1.py --url", served.url)
    told = cli("https receipt show hw1").out
    assert f"hw1, submission 1 of {alice}" in told
    assert re.search(r"Received: .*, \d\d:\d\d:\d\d [A-Z+-]", told), "a time with its zone"
    assert "exactly what it is for" in cli("https receipt verify hw1 --file hw1/hw1.py").out
    file.write_bytes(b"# other work\n")
    assert "NOT what it is for" in cli("https receipt verify hw1 --file hw1/hw1.py", status=1).out


def test_a_forged_receipt_cannot_print_a_verdict_of_its_own(here: Path, served: Course) -> None:
    genuine = "This receipt is genuine, and the server holds the file, which counts."
    name, url = json.dumps(f"alice\n{genuine}\x1b[8m"), served.url
    (here / "forged.json").write_text(
        f'{{"assignment": "hw1", "user": {name}, "filename": "a.py", "sha256": "{"0" * 64}",'
        ' "size": 1, "received": "2026-03-10T20:08:00.000Z", "version": 1, "sequence": 1,'
        f' "late": false, "signature": "{"0" * 64}"}}'
    )
    lines = cli("https receipt verify forged.json --url", url, status=1).out.splitlines()
    assert genuine not in lines
    assert "\x1b" not in "".join(lines)
    told = cli("https receipt verify forged.json --json --url", url, status=1).json
    assert told["valid"] is False


def test_b150_a_notebook_in_a_folder_is_named_where_there_is_none_here(here: Path) -> None:
    (here / "hw1").mkdir()
    (here / "hw1" / "hw1.py").write_bytes(b"# my work\n")
    told = cli("https submit hw1 hw1.py", status=2).err
    assert "File 'hw1.py' does not exist. There is hw1/hw1.py." in told


def test_b151_feedback_tells_status_and_grade(here: Path, served: Course, alice: str) -> None:
    url = ("--url", served.url)
    printed = cli("https feedback hw1", *url)
    assert printed.out == "Assignment: hw1\nStatus: new\nNo submission yet.\n"
    (here / "hw1.py").write_bytes(b"# my work\n")
    cli("https submit hw1 hw1.py", *url)
    printed = cli("https feedback hw1", *url)
    assert "Status: submitted\nReceived: " in printed.out
    assert re.search(r"Received: .*, \d\d:\d\d [A-Z+-]", printed.out), "a time with its zone"
    assert printed.out.endswith("Not yet graded.\n")
    (here / "grades.csv").write_text(f"username,grade,feedback\n{alice},8.5,Good.\n")
    as_teacher = (*url, "--token", TEACHER)
    cli("https upload-grades hw1 --grades-csv grades.csv", *as_teacher)
    (here / "pages").mkdir()
    (here / "pages" / f"{alice}.html").write_text("<p>Good.</p>")
    words = ("upload-feedback", "hw1", "--feedback-dir", "pages")
    printed = cli("https", *words, "--grades-csv", "grades.csv", "--dry-run", *as_teacher)
    assert printed.out == (
        f"Would upload 1 grade(s) to 'hw1'\n  {alice}: 8.5\n"
        f"Would upload 1 feedback file(s) to 'hw1'\n  {alice}.html\n"
    )
    printed = cli("https", *words, *as_teacher)
    assert printed.out == f"  {alice}.html\nUploaded 1 feedback file(s) to 'hw1'\n"
    assert "Sending 1 page of feedback" in printed.err
    assert "Grade: 8.5\nFeedback:\n  Good.\n" in cli("https feedback hw1 -o mine", *url).out
    assert (here / "mine" / f"{alice}.html").read_text() == "<p>Good.</p>"
    answer = cli("https feedback hw1 --json", *url).json
    assert (answer["graded"], answer["grade"], answer["feedback"]) == (True, "8.5", "Good.")
    assert answer["pages"] == []


def test_b153_fetch_submissions_brings_everybodys_latest(
    here: Path, served: Course, alice: str
) -> None:
    (here / "hw1.py").write_bytes(b"# first\n")
    cli("https submit hw1 hw1.py --url", served.url)
    as_teacher = ("--url", served.url, "--token", TEACHER)
    printed = cli("https fetch-submissions hw1 -o submitted/hw1/", *as_teacher)
    assert "submission(s) in submitted/hw1" in printed.out
    assert (here / "submitted" / "hw1" / f"{alice}.py").read_bytes() == b"# first\n"
    times = json.loads((here / "submitted" / "hw1" / ".fetch_metadata.json").read_text())
    assert times[alice] > 1_700_000_000
    (here / "hw1.py").write_bytes(b"# second\n")
    cli("https submit hw1 hw1.py --url", served.url)
    answer = cli("https fetch-submissions hw1 --json", *as_teacher).json
    assert answer["directory"].endswith("submitted/hw1")
    fates = {each["username"]: each["change"] for each in answer["submissions"]}
    assert fates.pop(alice) == "updated"
    assert set(fates.values()) <= {"unchanged"}
    assert (here / "submitted" / "hw1" / f"{alice}.py").read_bytes() == b"# second\n"


def test_b154_upload_grades_tells_how_many(here: Path, served: Course, fresh_name: Any) -> None:
    one, two = fresh_name("gina"), fresh_name("hans")
    (here / "grades.csv").write_text(f"username,grade,feedback\n{one},5,\n{two},7,Hm\n")
    words = ("upload-grades", "hw1", "--grades-csv", "grades.csv", "--url", served.url)
    printed = cli("https", *words, "--token", TEACHER, "--dry-run")
    assert printed.out == f"Would upload 2 grade(s) to 'hw1'\n  {one}: 5\n  {two}: 7\n"
    printed = cli("https", *words, "--token", TEACHER)
    assert printed.out.startswith("Uploaded 2 grade(s) to 'hw1'; the server holds ")
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    assert [row["grade"] for row in held if row.get("username") in (one, two)] == ["5", "7"]
    cli("https", *words, "--token", token_of(one), status=4)


def test_b154_rows_that_may_be_mistakes_are_named(
    here: Path, served: Course, fresh_name: Any
) -> None:
    one, two = fresh_name("olga"), fresh_name("paul")
    (here / "hw1.py").write_bytes(b"# my work\n")
    cli("https submit hw1 hw1.py --url", served.url, "--token", token_of(one))
    (here / "grades.csv").write_text(f"username,grade\n{one},\n{two},abc\n")
    words = ("upload-grades", "hw1", "--grades-csv", "grades.csv", "--token", TEACHER)
    remarks = (
        f"No mark; an earlier one is taken away: {one}\n"
        f"Not a number: {two} (abc)\n"
        f"No submission of: {two}\n"
    )
    assert cli("https", *words, "--dry-run", "--url", served.url).err == remarks
    assert cli("https", *words, "--url", served.url).err == remarks
    (here / "grades.csv").write_text(f"username,grade\n{one},'8,5'\n".replace("'", '"'))
    assert cli("https", *words, "--url", served.url).err == ""


def test_b154_who_has_no_submission_is_named_also_where_there_is_no_file(
    here: Path, tmp_path: Path
) -> None:
    (here / "grades.csv").write_text("username,grade\nbob,5\n")
    words = ("https upload-grades hw1 --grades-csv grades.csv --dry-run --token", TEACHER, "--url")
    root = make_course(tmp_path / "other")
    for file in (root / "hw1" / "files").iterdir():
        file.unlink()
    with serving_course(root) as empty:
        assert cli(*words, empty.url).err == "No submission of: bob\n"
    told = "The server cannot be reached, so the name was not looked up.\n"
    assert cli(*words, empty.url).err == told


def test_b154_the_gradebook_gives_the_grades_where_no_file_does(
    here: Path, served: Course, fresh_name: Any
) -> None:
    one, two, three = fresh_name("ida"), fresh_name("jan"), fresh_name("kim")
    words = ("upload-grades", "hw1", "--url", served.url, "--token", TEACHER)
    assert "has no marks for hw1" in cli("https", *words, status=3).err
    with Gradebook(here / "gradebook.db") as book:
        for student in (one, two, three):
            book.record_run(a_run(student, FAIR, assignment="hw1"))
            if student != three:
                marks = {"Analysis": MarkEntry(12.5)}
                book.record_marks("hw1", student, marks, marker="mia", at=AT, comment="Hm")
        put_penalty(book, two, Penalty(100, 0), assignment="hw1")
    printed = cli("https", *words)
    assert printed.out.startswith("Uploaded 2 grade(s) to 'hw1'; ")
    assert f": {three} has no mark: Analysis is not marked yet." in printed.err
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    assert [
        (row["username"], row["grade"], row["feedback"])
        for row in held
        if row.get("username") in (one, two, three)
    ] == [(one, "34.6", "Hm"), (two, "0", "Hm")]


def test_b152_url_and_token_come_from_options_environment_cache_and_file(
    here: Path, served: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B152, B155: --token, MOGRADER_HTTPS_TOKEN, the cache of this address, [https] token."""
    (here / "hw1.py").write_bytes(b"# x\n")

    def who(*words: str) -> str:
        answer = cli("https submit hw1 hw1.py --dry-run --json", *words).json
        return str(answer["user"])

    toml = here / "mograder.toml"
    toml.write_text(
        f'transport = "https"\n[https]\nurl = "{served.url}/"\ntoken = "{token_of("fay")}"\n'
    )
    assert who() == "fay"
    cli("https login --token", token_of("cleo"))
    assert who() == "cleo"
    monkeypatch.setenv("MOGRADER_HTTPS_TOKEN", token_of("eve"))
    assert who() == "eve"
    assert who("--token", token_of("olga")) == "olga"


def test_b155_the_token_in_the_file_goes_to_the_server_in_the_file_only(
    here: Path, served: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mograder.toml").write_text(
        f'[https]\nurl = "https://other.example.org"\ntoken = "{token_of("fay")}"\n'
    )
    cli("https fetch --list --url", served.url, status=4)
    monkeypatch.setenv("MOGRADER_HTTPS_URL", served.url)
    cli("https fetch --list", status=4)


_NO_URL = "No HTTPS URL configured. Provide --url or set [https] url in mograder.toml"


def test_b155_without_a_url_the_command_says_where_to_put_one() -> None:
    told = cli("https fetch --list", status=2).err
    assert _NO_URL in told
    assert "mograder https login" in told


@pytest.mark.usefixtures("alice")
def test_b149_after_signing_in_no_command_needs_the_address(here: Path, served: Course) -> None:
    """B149, B150, B151: the lines of the guide, as they stand there."""
    assert cli("https fetch --list").out.splitlines()[1].startswith("hw1")
    cli("https fetch hw1 -o hw1/")
    assert (here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    cli("https submit hw1 hw1/homework.py")
    assert "Status: submitted" in cli("https feedback hw1").out


def test_the_settings_of_the_course_count_in_a_folder_that_was_fetched_into(
    here: Path, served: Course, fresh_name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mograder.toml").write_text(f'[https]\nurl = "{served.url}"\n')
    monkeypatch.setenv("MOGRADER_HTTPS_TOKEN", token_of(fresh_name("alice")))
    (here / "hw1").mkdir()
    monkeypatch.chdir(here / "hw1")
    cli("https fetch hw1")
    cli("https submit hw1 homework.py")
    assert "Status: submitted" in cli("https feedback hw1").out


def test_an_address_is_not_guessed_for_a_sign_in_nor_among_several(
    home: Path, served: Course
) -> None:
    cli("https login --token", token_of("alice"), "--url", served.url)
    assert _NO_URL in cli("https login --token alice:00", status=2).err
    assert _NO_URL in cli("https register alice --enrollment-code", CODE, status=2).err
    TokenStore(home, HTTPS).save("http://127.0.0.1:9", "alice:00", "alice")
    printed = cli("https fetch --list", status=2)
    assert f"You have signed in to {served.url}, http://127.0.0.1:9." in printed.err
    assert "https login --forget" in printed.err
    cli("https login --forget --url http://127.0.0.1:9/")
    cli("https fetch --list")


@pytest.mark.usefixtures("home")
def test_a_mistyped_address_that_never_answered_does_not_count(served: Course) -> None:
    wrong = "http://127.0.0.1:9"
    told = cli("https login --token alice:00 --url", wrong).err
    assert f"mograder https login --forget --url {wrong}" in told
    cli("https login --token", token_of("alice"), "--url", served.url)
    told = cli("https fetch --list").err
    assert f"The server is {served.url}: {wrong} could not be reached" in told
    assert cli("https login --show").out.strip() == token_of("alice")
    assert cli("https login --forget --url", wrong).out == f"The token for {wrong} is removed.\n"
    assert cli("https fetch --list").err == ""
    cli("https login --forget --url", wrong, status=3)
    cli("https login --forget", status=2)
    cli("https login --forget --show --url", wrong, status=2)


def test_https_at_a_server_that_speaks_http_is_told_apart(home: Path, served: Course) -> None:
    url = served.url.replace("http://", "https://")
    told = cli("https login --token alice:00 --url", url, status=69).err
    assert "does its address begin with http://?" in told
    assert not (home / ".config").exists()


@pytest.mark.parametrize("words", [("fetch", "--list"), ("login",)])
def test_a_token_is_not_sent_in_the_clear_to_another_machine(words: tuple[str, ...]) -> None:
    url = ("--url", "http://server.example.org", "--token", token_of("alice"))
    printed = cli("https", *words, *url, status=2)
    assert "not encrypted" in printed.err
    assert "--insecure" in printed.err


def test_the_enrollment_code_is_not_sent_in_the_clear_either() -> None:
    url = ("--url", "http://server.example.org", "--enrollment-code", CODE)
    assert "not encrypted" in cli("https register alice", *url, status=2).err


class Keyboard(io.StringIO):
    """A person at a terminal who answers prompts."""

    def isatty(self) -> bool:
        return True


def test_a_late_submission_replaces_an_on_time_one_only_with_leave(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, root = ManualClock(), make_course(tmp_path / "course")
    manifest = [{"name": "hw1", "id": 1, "due": DUE, "cutoff": "2026-09-01T13:00:00+00:00"}]
    (root / "assignments.json").write_text(json.dumps(manifest))
    work = here / "hw1.py"
    with serving_course(root, clock=clock) as late:
        words = ("submit", "hw1", "hw1.py", "--url", late.url, "--token", token_of("alice"))
        work.write_bytes(b"# on time\n")
        assert cli("https", *words, "--json").json["late"] is False
        clock.advance(2 * 3600)
        work.write_bytes(b"# late\n")
        assert "--late" in cli("https", *words, status=5).err
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# on time\n"
        monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
        assert "Let the late one count?" in cli("https", *words, status=5).err
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# on time\n"
        monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
        cli("https", *words)
        assert cli("https", *words, "--late", "--json").json["late"] is True
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == b"# late\n"
        clock.advance(3 * 3600)
        work.write_bytes(b"# too late\n")
        cli("https", *words, "--late", status=5)
    receipts = list((here / ".mograder" / "receipts" / "hw1").iterdir())
    assert len(receipts) == 2


def test_work_in_a_browser_is_told_taken_and_gone_on_with(
    here: Path, served: Course, alice: str
) -> None:
    fetch = ("fetch", "hw1", "-o", "hw1/", "--url", served.url)
    assert cli("https", *fetch, "--json").json["newer_elsewhere"] is None
    assert "no draft of yours" in cli("https", *fetch, "--draft", status=3).err
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    printed = cli("https", *fetch)
    assert "Newer work of yours is on the server" in printed.out
    assert "--draft takes it" in printed.out
    assert (here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    printed = cli("https", *fetch, "--draft")
    work = here / "hw1" / "homework.py"
    assert (work.read_text(), work.name in printed.out) == (THERE, True)
    assert list(work.parent.glob("*.bak.*")) == []
    work.write_text(THERE + "# and here\n")
    status = ("feedback", "hw1", "--url", served.url)
    assert "Draft: another text, saved " in cli("https", *status).out
    assert cli("https", *status, "--json").json["other_draft"] is not None
    answer = cli("https submit hw1 --json", str(work), "--url", served.url).json
    assert (answer["submitted"], answer["kept"]) == (True, None)
    assert "Draft:" not in cli("https", *status).out
    assert cli("https", *status, "--json").json["other_draft"] is None


def test_a_submission_over_newer_work_in_a_browser_is_asked_about(
    here: Path, served: Course, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = here / "hw1.py"
    work.write_bytes(b"# here\n")
    words = ("submit", "hw1", "hw1.py", "--url", served.url)
    stored = served.root / "submitted" / "hw1" / f"{alice}.py"
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    printed = cli("https", *words, status=5)
    assert "this folder has not seen was saved elsewhere on" in printed.err
    assert "fetch --draft" in printed.err
    assert "--yes" in printed.err
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    cli("https", *words, status=5)
    assert not stored.exists()
    assert list(here.glob("*.bak.*")) == []
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    printed = cli("https", *words)
    assert stored.read_bytes() == b"# here\n"
    (kept,) = here.glob("hw1.bak.*.py")
    assert kept.read_text() == THERE
    assert f"What was saved elsewhere is kept as {kept.name}" in printed.out
    save_in_browser(served.url, token_of(alice), "hw1", THERE + "# again\n")
    assert cli("https", *words, "--yes", "--json").json["kept"].startswith("hw1.bak.")
    assert draft_of(served.url, token_of(alice), "hw1") == "# here\n"


def test_a_submission_with_the_line_ends_of_windows_is_no_other_text_than_its_draft(
    here: Path, served: Course, alice: str
) -> None:
    (here / "hw1.py").write_bytes(b"# here\r\n")
    cli("https submit hw1 hw1.py --url", served.url)
    assert draft_of(served.url, token_of(alice), "hw1") == "# here\n"
    assert "Draft:" not in cli("https feedback hw1 --url", served.url).out


def test_a_submission_that_is_no_draft_is_asked_about_too(
    here: Path, served: Course, alice: str, tmp_path: Path
) -> None:
    """As by `mograder.runtime`, or a client of 0.3.16."""
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(THERE)
    submit_without_draft(served.url, token_of(alice), "hw1", elsewhere)
    assert "What you submitted elsewhere on " in cli("https fetch hw1 --url", served.url).out
    words = ("submit", "hw1", "homework.py", "--url", served.url)
    printed = cli("https", *words, status=5)
    assert "was submitted elsewhere on" in printed.err
    assert "--draft" not in printed.err
    cli("https", *words, "--yes")
    (here / "homework.py").write_bytes(b"# more\n")
    cli("https", *words)


def test_what_cannot_be_a_draft_is_submitted_all_the_same(
    here: Path, served: Course, alice: str
) -> None:
    (here / "hw1.py").write_bytes(b"# \xff\n")
    printed = cli("https submit hw1 hw1.py --url", served.url)
    assert "Browsers do not begin with it: The draft is not UTF-8." in printed.out
