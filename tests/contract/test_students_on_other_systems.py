"""Students' commands as on Windows and macOS: a real assignment server, and the recorded Moodle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mograder.clients.token_store import HTTPS, TokenStore
from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import token_of as moodle_token
from tests.support.moodle.teacher import CourseSetup
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS
from tests.support.served_course import (
    DATA,
    HOMEWORK,
    Course,
    make_course,
    served,
    serving_course,
    token_of,
)
from tests.support.work_elsewhere import draft_of, save_in_browser

__all__ = ["served"]

pytestmark = pytest.mark.full

FOLDERS = {
    "windows": Path("AppData", "Roaming", "mograder"),
    "macos": Path("Library", "Application Support", "mograder"),
}


@pytest.fixture
def own_course(tmp_path: Path) -> Iterator[Course]:
    """A course of one test, which may change its release."""
    with serving_course(make_course(tmp_path / "course")) as course:
        yield course


def released(course: Course, notebook: bytes) -> None:
    """Hand out another version of the homework."""
    (course.root / "hw1" / "files" / "homework.py").write_bytes(notebook)


class Student:
    """A student with a home folder, on a system."""

    def __init__(self, system: System, place: Path, token: str, url: str) -> None:
        self.home, self.here = place / "home", place / "here"
        for folder in (self.home, self.here):
            folder.mkdir()
        self._system = OtherSystem(system, home=self.home)
        self.token = token
        self._server = ("--url", url, "--token", token)

    def ask(self, course: Course) -> None:
        """Use another server."""
        self._server = ("--url", course.url, "--token", self.token)

    def https(self, *words: str) -> str:
        """Run a command that has to work; return what it prints."""
        server = () if words[:2] == ("receipt", "show") else self._server
        return self._system.ran("https", *words, *server, cwd=self.here).stdout

    def by_the_kept_token(self, *words: str) -> str:
        """Run a command that has to work without naming the token."""
        return self._system.ran("https", *words, *self._server[:2], cwd=self.here).stdout

    def refused(self, *words: str) -> tuple[int, str]:
        done = self._system.mograder("https", *words, *self._server, cwd=self.here)
        return done.returncode, done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.https(*words, "--json"))


@pytest.fixture(params=["windows", "macos"])
def student(
    request: pytest.FixtureRequest, tmp_path: Path, served: Course, fresh_name: Any
) -> Student:
    return Student(request.param, tmp_path, token_of(fresh_name("alice")), served.url)


def test_fetch_edit_submit_and_receipt(student: Student) -> None:
    assert "2 (data.csv, homework.py)" in student.https("fetch", "--list")
    student.https("fetch", "hw1", "-o", "work")
    notebook = student.here / "work" / "homework.py"
    assert notebook.read_bytes() == HOMEWORK
    assert (student.here / "work" / "data.csv").read_bytes() == DATA

    notebook.write_bytes(HOMEWORK + b"# mine\n")
    assert "submitted" in student.json("submit", "hw1", str(notebook))
    status = student.json("feedback", "hw1")
    assert (status["status"], status["graded"]) == ("submitted", False)

    assert "alice" in student.https("receipt", "show", "hw1", "--dir", "work")
    verdict = student.json(
        "receipt", "verify", "hw1", "--dir", "work", "--file", "work/homework.py"
    )
    assert (verdict["valid"], verdict["stored"], verdict["matches_file"]) == (True, True, True)


def test_work_from_a_browser_is_taken_and_what_is_replaced_is_kept(
    student: Student, served: Course
) -> None:
    student.https("fetch", "hw1", "-o", "work")
    notebook = student.here / "work" / "homework.py"
    notebook.write_bytes(b"mine\r\n")
    save_in_browser(served.url, student.token, "hw1", "there\n")
    assert student.refused("submit", "hw1", str(notebook))[0] == 5
    assert student.json("submit", "hw1", str(notebook), "--yes")["submitted"]
    [kept] = notebook.parent.glob("homework.bak.*.py")
    assert (kept.read_bytes(), notebook.read_bytes()) == (b"there\n", b"mine\r\n")
    assert draft_of(served.url, student.token, "hw1") == "mine\n"

    save_in_browser(served.url, student.token, "hw1", "newer\n")
    assert student.json("fetch", "hw1", "-o", "work", "--draft")["taken"]
    assert notebook.read_bytes() == b"newer\n"
    texts = {path.read_bytes() for path in notebook.parent.glob("homework.bak.*.py")}
    assert texts == {b"there\n", b"mine\r\n"}


def test_other_line_ends_are_no_edit_and_no_other_file(student: Student) -> None:
    student.https("fetch", "hw1", "-o", "work")
    notebook = student.here / "work" / "homework.py"
    submitted = student.json("submit", "hw1", str(notebook))
    for path in (notebook, notebook.with_name("data.csv")):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    again = student.json("fetch", "hw1", "-o", "work")
    assert {(each["name"], each["change"]) for each in again["files"]} == {
        ("homework.py", "unchanged"),
        ("data.csv", "unchanged"),
    }
    path = submitted["receipt_path"]
    verdict = student.json("receipt", "verify", path, "--file", "work/homework.py")
    assert verdict["matches_file"]


def test_a_read_only_file_with_other_line_ends_is_updated(
    student: Student, own_course: Course
) -> None:
    student.ask(own_course)
    student.https("fetch", "hw1", "-o", "work")
    notebook = student.here / "work" / "homework.py"
    notebook.write_bytes(HOMEWORK.replace(b"\n", b"\r\n"))
    notebook.chmod(0o444)
    released(own_course, b"corrected\n")
    student.https("fetch", "hw1", "-o", "work")
    assert notebook.read_bytes() == b"corrected\n"
    assert [each.name for each in notebook.parent.glob("*.py")] == ["homework.py"]


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_that_another_program_holds_is_named_and_nothing_is_lost(
    tmp_path: Path, own_course: Course, fresh_name: Any, edited: bool
) -> None:
    student = Student("windows", tmp_path, token_of(fresh_name("alice")), own_course.url)
    student.https("fetch", "hw1", "-o", "work")
    notebook = student.here / "work" / "homework.py"
    mine = b"mine\n" if edited else HOMEWORK
    notebook.write_bytes(mine)
    released(own_course, b"corrected\n")

    with notebook.open("rb"):
        status, told = student.refused("fetch", "hw1", "-o", "work")
    assert status == 5
    assert "homework.py is open in another program" in told
    assert "Close it there" in told
    assert [each.name for each in notebook.parent.glob("*.py")] == ["homework.py"]
    assert notebook.read_bytes() == mine

    found = {each["name"]: each for each in student.json("fetch", "hw1", "-o", "work")["files"]}
    assert notebook.read_bytes() == b"corrected\n"
    assert len(list(notebook.parent.glob("*.py"))) == 1 + edited
    kept = found["homework.py"]["kept"]
    assert (kept and Path(student.here, kept).read_bytes()) == (mine if edited else None)


@pytest.fixture
def odd_course(tmp_path: Path) -> Iterator[Course]:
    """A course from before names were checked: of an assignment and files that Windows refuses."""
    root = make_course(tmp_path / "course")
    files = root / "aux" / "files"
    files.mkdir(parents=True)
    (files / "nul.py").write_bytes(HOMEWORK)
    for number, name in enumerate(("Data.csv", "con.csv", "data.csv")):
        (files / name).write_text(f"{number}\n")
    with serving_course(root) as course:
        yield course


@pytest.mark.parametrize(
    ("system", "names", "release"),
    [
        ("windows", ["%64ata.csv", "Data.csv", "co%6E.csv", "nu%6C.py"], "_aux"),
        ("macos", ["%64ata.csv", "Data.csv", "con.csv", "nul.py"], "aux"),
    ],
)
def test_odd_names_are_written_under_others_and_submitted_under_their_own(
    odd_course: Course, tmp_path: Path, system: System, names: list[str], release: str
) -> None:
    student = Student(system, tmp_path, odd_course.token(), odd_course.url)
    student.https("fetch", "aux")
    here = student.here
    assert sorted(path.name for path in here.iterdir() if path.is_file()) == names
    assert (here / "%64ata.csv").read_text() == "2\n"
    assert (here / ".mograder" / "release" / release / names[-1]).read_bytes() == HOMEWORK
    receipt = student.json("submit", "aux", names[-1])["receipt"]
    assert receipt["assignment"] == "aux"
    assert {file["change"] for file in student.json("fetch", "aux")["files"]} == {"unchanged"}
    assert [each["receipt"] for each in student.json("receipt", "show", "aux")] == [receipt]


@SYSTEMS
def test_a_token_is_kept_in_the_systems_own_folder(
    own_course: Course, tmp_path: Path, system: System
) -> None:
    student = Student(system, tmp_path, own_course.token(), own_course.url)
    student.https("login")
    kept = json.loads((student.home / FOLDERS[system] / "https_tokens.json").read_text())
    assert kept == {"servers": {own_course.url: {"token": own_course.token(), "user": "alice"}}}
    assert not (student.home / ".config").exists()
    assert "homework.py" in student.by_the_kept_token("fetch", "--list")


@SYSTEMS
def test_a_token_of_0_3_16_is_used_and_renewed(
    own_course: Course, tmp_path: Path, system: System
) -> None:
    student = Student(system, tmp_path, own_course.token("bob"), own_course.url)
    TokenStore(student.home, HTTPS).save(own_course.url, own_course.token(), "alice")
    old = student.home / ".config" / "mograder" / "https_token.json"
    (old.parent / "https_tokens.json").unlink()
    assert "homework.py" in student.by_the_kept_token("fetch", "--list")
    student.https("login")
    assert json.loads(old.read_text())["user"] == "bob"


@SYSTEMS
def test_a_student_fetches_submits_and_asks_on_moodle(system: System, teacher: CourseSetup) -> None:
    settings = {
        "MOGRADER_MOODLE_URL": teacher.moodle.url,
        "MOGRADER_MOODLE_TOKEN": moodle_token("alice"),
    }
    home, name = teacher.course.parent / "home", "A1-Introduction.py"
    home.mkdir()
    alice = OtherSystem(system, home=home, extra=settings)

    def run(*words: str) -> str:
        return alice.ran("moodle", *words, cwd=teacher.course).stdout

    assert name in run("fetch", "--list")
    run("fetch", "A1", "-o", "a1")
    fetched = teacher.course / "a1" / name
    assert fetched.read_bytes() == recorded(137).body
    fetched.write_bytes(recorded(137).body.replace(b"\n", b"\r\n"))
    run("fetch", "A1", "-o", "a1")
    assert [each.name for each in fetched.parent.glob("*.py")] == [name]

    teacher.at(99)
    (teacher.course / name).write_bytes(b"# alice\nx = 1       ")
    assert run("submit", "A1", name).startswith(f"Submitted '{name}' to 'A1. Introduction'")
    teacher.at(104)
    assert "submitted" in run("feedback", "A1")
