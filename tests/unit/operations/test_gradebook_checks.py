"""What the check of a gradebook tells: damage, and the traps of 0.3.16's marks.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings, load_settings
from mograder.operations.gradebook_checks import all_well, check_gradebook, gradebook_lines
from mograder.operations.report import Level, Line
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from tests.support.gradebooks import AT, a_run, put_recorded

FEEDBACK_CELL = "# === MOGRADER: MARKER FEEDBACK ==="
FAIR = {"Q1": 7.1, "Q2": 15.0, "Q3": 0.0}


@pytest.fixture
def course(tmp_path: Path) -> LoadedSettings:
    (tmp_path / "mograder.toml").write_text("")
    for assignment in ("A1", "A2-Essay", "A3-Checks"):
        folder = tmp_path / "submitted" / assignment
        folder.mkdir(parents=True)
        for student in ("alice", "bob", "cleo", "eve"):
            (folder / f"{student}.py").write_text("import marimo\n")
    put_recorded(tmp_path / "gradebook.db")
    return load_settings(tmp_path, environ={})


def change(course: LoadedSettings, statement: str) -> None:
    with closing(sqlite3.connect(course.path("gradebook.db"))) as connection:
        connection.execute(statement)
        connection.commit()


def found(course: LoadedSettings) -> dict[str, list[Line]]:
    lines: dict[str, list[Line]] = {}
    for line in check_gradebook(course):
        lines.setdefault(line.check, []).append(line)
    return lines


def test_the_traps_of_the_recorded_gradebook(course: LoadedSettings) -> None:
    before = course.path("gradebook.db").read_bytes()
    lines = found(course)
    assert {check: len(each) for check, each in lines.items()} == {
        "gradebook-regraded": 1,
        "gradebook-zero": 1,
    }
    (again,) = lines["gradebook-regraded"]
    assert "A1, bob: 0.3.16 graded again and added 50 % as points" in again.text
    assert "is 75 and should probably be 55" in again.hint
    (zero,) = lines["gradebook-zero"]
    assert "A1, cleo: the penalty takes all marks, and 0.3.16 exported 94" in zero.text
    assert course.path("gradebook.db").read_bytes() == before, "nothing is changed"


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("UPDATE submissions SET tampered = '[' WHERE student = 'eve'", "json", "A1, eve: tamp"),
        ("UPDATE assignments SET auto_check_keys = '{}'", "json", "A1: auto_check_keys"),
        (
            "UPDATE submissions SET penalised_mark = 12 WHERE student = 'alice' AND penalty_pct",
            "penalty",
            "A1, alice: the mark after the penalty",
        ),
        (
            "UPDATE submissions SET manual_mark = 120 WHERE student = 'alice'",
            "percent",
            "A1, alice: manual_mark is 120",
        ),
        (
            "UPDATE submissions SET total_mark = 105 WHERE student = 'eve'",
            "total",
            "A1, eve: 105 of 100 marks",
        ),
        (
            (
                "UPDATE submissions SET total_mark = 7, manual_mark = 7, graded_at = '2026-11-22' "
                "WHERE assignment = 'A3-Checks'"
            ),
            "slider",
            "A3-Checks, alice: every question has checks",
        ),
        (
            "UPDATE submissions SET student = 'zoe' WHERE student = 'eve'",
            "submission",
            "A1, zoe: marks without a submission",
        ),
        (
            "UPDATE submissions SET manual_mark = 40, total_mark = 65 WHERE student = 'eve'",
            "flag",
            "A1, eve: The mark from 0.3.16 is from the text of a notebook",
        ),
    ],
)
def test_each_trap_is_told(course: LoadedSettings, statement: str, check: str, words: str) -> None:
    change(course, statement)
    assert any(words in line.text for line in found(course)[f"gradebook-{check}"])


def test_a_submission_without_its_link_is_one(course: LoadedSettings) -> None:
    folder = course.path("submitted/A1")
    (folder / "eve.py").rename(folder / "eve_20261120T080000.py")
    (folder / "zo\u0065\u0308.py").write_text("import marimo\n")
    who = "student = 'cleo' AND assignment = 'A1'"
    change(course, f"UPDATE submissions SET student = 'zo\u00eb' WHERE {who}")
    assert "gradebook-submission" not in found(course)


def test_marks_of_an_assignment_that_the_course_has_not(course: LoadedSettings) -> None:
    course.path("submitted/A1").rename(course.path("submitted/Z1"))
    (line,) = found(course)["gradebook-unknown"]
    assert line.text == "gradebook: A1 has marks (4 students) and no directory"


def test_a_directory_whose_name_has_another_form_of_unicode_is_there(
    course: LoadedSettings,
) -> None:
    course.path("submitted/A1").rename(course.path("submitted/U\u0308bung"))
    change(course, "UPDATE submissions SET assignment = '\u00dcbung' WHERE assignment = 'A1'")
    lines = found(course)
    assert all("\u00dcbung" not in line.text for line in lines.get("gradebook-unknown", ()))


def test_a_mark_in_the_text_of_a_notebook_is_told_and_not_read(course: LoadedSettings) -> None:
    folder = course.path("autograded/A1")
    folder.mkdir(parents=True)
    text = f"_mark = 3\n{FEEDBACK_CELL}\n    # e.g. _mark = 60\n    _mark = 70\n"
    for student in ("eve", "alice", "sue"):
        (folder / f"{student}.py").write_text(text)
    (folder / "bob.py").write_text("_mark = 70\n")
    # Searched from each of the lines to the end, these took minutes.
    (folder / "dan.py").write_text(FEEDBACK_CELL + "\n" * 200_000)
    (folder / "cleo.py").write_bytes(b"\xff")
    lines = found(course)["gradebook-text"]
    assert [line.text for line in lines] == [
        "gradebook: A1, eve: _mark = 70 stands only in eve.py",
        "gradebook: A1, sue: _mark = 70 stands only in sue.py",
    ]
    with Gradebook(course.path("gradebook.db")) as book:
        assert [g.total for g in book.grades("A1") if g.student in ("eve", "sue")] == [None]


def test_a_result_whose_signature_is_another_is_a_problem(course: LoadedSettings) -> None:
    with Gradebook(course.path("gradebook.db")) as book:
        book.record_run(a_run("eve", FAIR))
    lines = [*check_gradebook(course, lambda run: run.student != "eve", ["A1"])]
    (line,) = (line for line in lines if line.check == "gradebook-signature")
    assert (line.level, line.text) == (
        Level.PROBLEM,
        "gradebook: A1, eve: result 1 was changed",
    )
    assert all(line.level is Level.NOTE for line in check_gradebook(course, lambda _: True))


def test_our_own_marks_are_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text("")
    folder = tmp_path / "submitted" / "A1"
    folder.mkdir(parents=True)
    (folder / "alice.py").write_text("")
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
        book.record_marks("A1", "alice", {"Analysis": MarkEntry(12.5)}, marker="mia", at=AT)
        book.record_run(a_run(points={**FAIR, "Q1": 1.0}, later=2))
    (line,) = all_well(check_gradebook(load_settings(tmp_path, environ={})))
    assert (line.level, line.text) == (Level.OK, "gradebook: nothing to report")


def test_a_hubs_check_has_the_first_of_each_kind(course: LoadedSettings) -> None:
    change(course, "UPDATE submissions SET tampered = 'x'")
    lines = [line for line in gradebook_lines(course) if line.check == "gradebook-json"]
    assert [line.level for line in lines] == [Level.PROBLEM] * 3 + [Level.NOTE]
    assert lines[-1].text == "gradebook: 4 more of these"
    assert "mograder gradebook check" in lines[-1].hint


def test_without_a_gradebook(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text("")
    empty = load_settings(tmp_path, environ={})
    with pytest.raises(NotFound, match="There is no gradebook"):
        list(check_gradebook(empty))
    assert not (tmp_path / "gradebook.db").exists()
