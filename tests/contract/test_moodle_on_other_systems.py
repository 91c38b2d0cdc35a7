"""A student's `mograder moodle` commands as on Windows and macOS, against the recorded Moodle."""

from __future__ import annotations

import pytest

from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import token_of
from tests.support.moodle.teacher import CourseSetup
from tests.support.other_system import OtherSystem

pytestmark = pytest.mark.full
NOTEBOOK = "A1-Introduction.py"


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_a_student_fetches_submits_and_asks(system: str, teacher: CourseSetup) -> None:
    settings = {
        "MOGRADER_MOODLE_URL": teacher.moodle.url,
        "MOGRADER_MOODLE_TOKEN": token_of("alice"),
    }
    home = teacher.course.parent / "home"
    home.mkdir()
    alice = OtherSystem(system, home=home, extra=settings)  # type: ignore[arg-type]

    def run(*words: str) -> str:
        done = alice.mograder("moodle", *words, cwd=teacher.course)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert NOTEBOOK in run("fetch", "--list")
    run("fetch", "A1", "-o", "a1")
    fetched = teacher.course / "a1" / NOTEBOOK
    assert fetched.read_bytes() == recorded(137).body
    fetched.write_bytes(recorded(137).body.replace(b"\n", b"\r\n"))
    run("fetch", "A1", "-o", "a1")
    assert [each.name for each in fetched.parent.glob("*.py")] == [NOTEBOOK]

    teacher.at(99)
    (teacher.course / NOTEBOOK).write_bytes(b"# alice\nx = 1       ")
    assert run("submit", "A1", NOTEBOOK).startswith(f"Submitted '{NOTEBOOK}' to 'A1. Introduction'")
    teacher.at(104)
    assert "submitted" in run("feedback", "A1")
