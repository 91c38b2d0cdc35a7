"""A student's `mograder https` commands as on Windows and macOS, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.other_system import OtherSystem
from tests.support.served_course import (
    DATA,
    HOMEWORK,
    Course,
    make_course,
    serving_course,
    token_of,
)
from tests.support.work_elsewhere import draft_of, save_in_browser

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """One course for the module; every test is other people."""
    with serving_course(make_course(tmp_path_factory.mktemp("course") / "course")) as course:
        yield course


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

    def __init__(self, system: OtherSystem, here: Path, token: str, url: str) -> None:
        self.here = here
        self._system = system
        self.token = token
        self._server = ("--url", url, "--token", token)

    def ask(self, course: Course) -> None:
        """Use another server."""
        self._server = ("--url", course.url, "--token", self.token)

    def https(self, *words: str) -> str:
        """Run a command that has to work; return what it prints."""
        server = () if words[:2] == ("receipt", "show") else self._server
        done = self._system.mograder("https", *words, *server, cwd=self.here)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str) -> tuple[int, str]:
        done = self._system.mograder("https", *words, *self._server, cwd=self.here)
        return done.returncode, done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.https(*words, "--json"))


@pytest.fixture(params=["windows", "macos"])
def student(
    request: pytest.FixtureRequest, tmp_path: Path, served: Course, fresh_name: Any
) -> Student:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    system = OtherSystem(request.param, home=tmp_path / "home")
    return Student(system, tmp_path / "here", token_of(fresh_name("alice")), served.url)


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
    (tmp_path / "here").mkdir()
    windows = OtherSystem("windows", home=tmp_path)
    student = Student(windows, tmp_path / "here", token_of(fresh_name("alice")), own_course.url)
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
