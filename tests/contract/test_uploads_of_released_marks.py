"""The uploads to Moodle and to an assignment server send released marks only, once there are some.

Requests that are decided change what the next upload sends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.grading.release.look_again import Decision, RequestRules, ask, decide
from mograder.store.regrade_requests import RegradeRequests
from tests.support.moodle.teacher import CourseSetup, course_setup
from tests.support.released_course import ReleasedCourse, later, open_released_course
from tests.support.served_course import Course, make_course, serving_course, token_of

TEACHER = token_of("__instructor__")
HELD = "Held back, as they are not released: bob.\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Course]:
    with serving_course(make_course(tmp_path / "server")) as course:
        yield course


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleasedCourse]:
    """An instructor's course with marks of hw1, in the working directory."""
    here, home = tmp_path / "here", tmp_path / "home"
    home.mkdir()
    for name in ("MOGRADER_COURSE_DIR", "MOGRADER_HTTPS_TOKEN", "MOGRADER_HTTPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    with open_released_course(here, assignment="hw1") as course:
        monkeypatch.chdir(here)
        yield course


def https(served: Course, *words: str) -> None:
    assert run(["https", *words, "--url", served.url, "--token", TEACHER]) == 0


def grades_of(served: Course) -> dict[str, str]:
    """Return the marks that the server holds, by username."""
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    return {row["username"]: row["grade"] for row in held if "username" in row}


def pages_of(served: Course) -> dict[str, str]:
    """Return the pages that the server holds, by username."""
    return {page.stem: page.read_text() for page in (served.root / "hw1/feedback").glob("*.html")}


def test_an_assignment_without_a_release_is_sent_as_before(
    course: ReleasedCourse, served: Course, capfd: pytest.CaptureFixture[str]
) -> None:
    https(served, "upload-grades", "hw1")
    assert grades_of(served)["alice"] == "13.5"
    assert grades_of(served)["bob"] == "16.5"
    assert "Held back" not in capfd.readouterr().err


def test_the_server_gets_released_marks_and_pages_only(
    course: ReleasedCourse, served: Course, capfd: pytest.CaptureFixture[str]
) -> None:
    place = course.loaded.course_dir / "feedback" / "hw1"
    place.mkdir(parents=True)
    for name in ("alice", "bob"):
        (place / f"{name}.html").write_text("of the present marks")
    assert run(["gradebook", "release", "hw1", "--student", "alice", "--by", "prof"]) == 0
    assert capfd.readouterr().out == "  alice\nhw1: 1 student(s) see their marks.\n"
    course.mark("alice", 9)
    https(served, "upload-grades", "hw1")
    said = capfd.readouterr()
    assert HELD in said.err
    assert "Changed since the release; what was released is sent: alice.\n" in said.err
    assert grades_of(served)["alice"] == "13.5"
    assert "bob" not in grades_of(served)
    https(served, "upload-feedback", "hw1")
    assert list(pages_of(served)) == ["alice"]
    assert "<strong>13.5</strong> of 20 marks" in pages_of(served)["alice"]
    https(served, "upload-feedback", "hw1", "--feedback-dir", str(place))
    assert pages_of(served) == {"alice": "of the present marks"}
    https(served, "upload-grades", "hw1", "--unreleased")
    assert (grades_of(served)["alice"], grades_of(served)["bob"]) == ("16.5", "16.5")


def test_a_decision_is_in_the_next_upload(course: ReleasedCourse, served: Course) -> None:
    course.release()
    marks = ("hw1", "alice", "Essay")
    number = ask(course.book, RequestRules(14, "marker"), marks, "Why?", later(1))
    request = RegradeRequests(course.book).find(number)
    https(served, "upload-grades", "hw1")
    assert grades_of(served)["alice"] == "13.5"
    decide(course.feedback(2), request, Decision("mia", "Yes.", 8.5, request.last))
    https(served, "upload-grades", "hw1")
    https(served, "upload-feedback", "hw1")
    assert grades_of(served)["alice"] == "16"
    assert "8.5 of 10 marks" in pages_of(served)["alice"]


def test_what_is_taken_back_is_not_sent_again(
    course: ReleasedCourse, served: Course, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["gradebook", "release", "hw1"]) == 0
    assert "left out: carol: Essay is not marked yet" in capfd.readouterr().out
    withdraw = ["gradebook", "withdraw", "hw1", "--student", "bob", "--note", "A mistake."]
    assert run([*withdraw, "--dry-run"]) == 0
    assert "nothing was changed" in capfd.readouterr().out
    https(served, "upload-grades", "hw1")
    assert "bob" in grades_of(served)
    assert run(withdraw) == 0
    assert "hw1: taken back from 1 student(s)." in capfd.readouterr().out
    course.mark("bob", 1)
    https(served, "upload-grades", "hw1")
    assert HELD in capfd.readouterr().err
    assert grades_of(served)["bob"] == "16.5", "what the server has stays there"


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CourseSetup]:
    with course_setup(tmp_path / "moodle", monkeypatch) as made:
        yield made


def test_moodle_gets_released_marks_and_pages_only(
    teacher: CourseSetup, capfd: pytest.CaptureFixture[str]
) -> None:
    students = ("alice", "bsmith", "carol")
    item = "A1-Introduction"
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run", "--json"]
    with open_released_course(teacher.course, assignment=item, students=students) as course:
        assert uploaded(upload, capfd) == {"alice": "13.50", "bsmith": "16.50"}
        course.release("alice")
        assert uploaded(upload, capfd, held="bsmith") == {"alice": "13.50"}
        marks = (item, "alice", "Essay")
        number = ask(course.book, RequestRules(14, "marker"), marks, "Why?", later(1))
        request = RegradeRequests(course.book).find(number)
        decide(course.feedback(2), request, Decision("mia", "Yes.", 8.5, request.last))
        assert uploaded(upload, capfd, held="bsmith") == {"alice": "16.00"}
        everything = uploaded([*upload, "--unreleased"], capfd)
        assert everything == {"alice": "16.00", "bsmith": "16.50"}


def uploaded(
    command: list[str], capfd: pytest.CaptureFixture[str], held: str = ""
) -> dict[str, str]:
    """Return the grades that an upload would send, by student."""
    capfd.readouterr()
    assert run(command) == 0
    said = capfd.readouterr()
    assert ("Held back" in said.err) == bool(held)
    assert held in said.err
    lines = json.loads(said.out)
    return {each["student"]: f"{float(each['after']):.2f}" for each in lines if each["after"]}
