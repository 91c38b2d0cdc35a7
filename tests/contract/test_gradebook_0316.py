"""One gradebook for both programs: 0.3.16's own code reads and writes it between import and export.

The release is installed from the package index, as ``scripts/record_gradebook.py`` does.
See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import (
    WHOLE,
    MarkDetails,
    MarkEntry,
    Penalty,
    StudentGrade,
)
from mograder.store.marking.question_marking import Change, QuestionMarks
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from scripts.record_0316_marks import install
from scripts.record_gradebook import TARGET
from scripts.record_gradebook import run as run_0316
from tests.support.gradebooks import AT, FAIR, a_run, export_0316, import_0316

pytestmark = pytest.mark.full

TIMES = ("graded_at", "autograded_at", "updated_at")


@pytest.fixture(scope="module")
def python() -> Path:
    return install().with_name("python")


@pytest.fixture
def path(python: Path, tmp_path: Path) -> Path:
    path = tmp_path / "gradebook.db"
    run_0316(python, "make", path)
    return path


def read(python: Path, path: Path) -> Mapping[str, Any]:
    found = json.loads(run_0316(python, "read", path))
    assert isinstance(found, dict)
    return found


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return list(map(without_times, value)) if isinstance(value, list) else value


def submission(told: Mapping[str, Any], student: str, assignment: str = "A1") -> dict[str, Any]:
    rows = told["assignments"][assignment]["submissions"]
    (row,) = (each for each in rows if each["student"] == student)
    assert isinstance(row, dict)
    return row


def imported(path: Path) -> dict[str, StudentGrade]:
    with Gradebook(path) as book:
        import_0316(book)
    return ours(path)


def ours(path: Path) -> dict[str, StudentGrade]:
    with Gradebook(path) as book:
        return {each.student: each for each in book.grades("A1")}


def test_the_recording_is_what_0_3_16_reads_from_its_own_gradebook(
    python: Path, path: Path
) -> None:
    recorded = json.loads((TARGET / "read.json").read_text("utf-8"))
    assert without_times(read(python, path)) == without_times(recorded)


def test_using_it_here_changes_nothing_for_0_3_16(python: Path, path: Path) -> None:
    before = read(python, path)
    with Gradebook(path) as book:
        assert book.students()["alice"] == "Alice Ångström"
        book.record_run(a_run("eve", FAIR))
        marks = {"Analysis": MarkEntry(30, "Clear.")}
        book.record_marks("A1", "eve", marks, marker="mia", at=AT)
    assert read(python, path) == before


def test_what_was_imported_is_exported_as_it_was(python: Path, path: Path, tmp_path: Path) -> None:
    """Marks are equal to the last digit, into the same file and into a new one."""
    before = read(python, path)
    with Gradebook(path) as book:
        deductions = {
            ("A1", "alice"): Penalty(10, 60, 1_795_292_502),
            ("A1", "cleo"): Penalty(100, 0, 1_795_992_502),
        }
        assert export_0316(book, deductions) == []
        book.export_0316(tmp_path / "new.db", lambda _: deductions, AT)
    assert read(python, path) == before
    assert without_times(read(python, tmp_path / "new.db")) == without_times(before)


def test_a_course_goes_there_and_back_again(python: Path, path: Path) -> None:
    """0.3.16, ours, 0.3.16, ours: marks, comments and penalties stay; later ones count."""
    before = ours(path)
    assert (before["alice"].total, before["alice"].final) == (67, 60)
    with Gradebook(path) as book:
        book.record_run(a_run("alice", FAIR))
        book.record_run(a_run("eve", FAIR))
        marks = {"Analysis": MarkEntry(30, "Clear.")}
        book.record_marks("A1", "eve", marks, marker="mia", at=AT, comment="Good. Yes. On.")
        export_0316(book, {("A1", "alice"): Penalty(10, 57.7, 1_795_292_502)})
    now = ours(path)
    theirs = read(python, path)
    assert now["alice"].total == 64.1
    row = submission(theirs, "alice")
    assert (row["manual_mark"], row["total_mark"], row["penalised_mark"]) == (70, 64.1, 57.7)
    assert row["feedback"] == before["alice"].comment
    assert theirs["marks"]["eve"]["A1"] == 52
    assert submission(theirs, "eve")["feedback"] == "Good. Yes. On."
    for student in ("bob", "cleo"):
        assert now[student] == before[student]

    eve = {"assignment": "A1", "student": "eve"}
    run_0316(python, "save", path, {**eve, "slider": 50, "feedback": "Good. Yes. On."})
    assert imported(path)["eve"].total == 52.1, "its page saves when one only looks"
    run_0316(python, "save", path, {**eve, "slider": 80, "feedback": "Even. Better. Now."})
    run_0316(python, "autograde", path, {**eve, "auto": 40.0})
    later = imported(path)["eve"]
    assert (later.auto, later.manual, later.comment) == (22.1, 48, "Even. Better. Now.")
    assert later.flags == ("0.3.16 added its percentage to the total as points; in marks it is 48",)

    with Gradebook(path) as book:
        book.record_run(a_run("eve", {**FAIR, "Q3": 5.0}, later=60 * 24 * 365))
        export_0316(book)
        history = [(m.marker, m.points) for m in book.history("A1", "eve") if m.marker]
    assert history == [("mia", None), ("mia", 30), ("mograder 0.3.16", 48)]
    assert ours(path)["eve"].total == 75.1
    assert submission(read(python, path), "eve")["total_mark"] == 75.1


def test_it_opens_a_gradebook_that_was_exported_here(python: Path, tmp_path: Path) -> None:
    path = tmp_path / "gradebook.db"
    with Gradebook(path) as book:
        book.record_run(a_run("alice", FAIR))
        book.record_run(a_run("bob", state="needs attention", problem="no sandbox"))
        export_0316(book)
    told = read(python, path)
    assert submission(told, "alice")["auto_mark"] == 22.1
    assert submission(told, "bob")["auto_mark"] is None
    assert told["assignments"]["A1"]["assignment"]["auto_check_keys"] == ["Q1", "Q2", "Q3"]
    assert told["assignments"]["A1"]["graded"] == 0
    saving = {"assignment": "A1", "student": "alice", "slider": 100, "feedback": "A. B. C."}
    run_0316(python, "save", path, saving)
    assert imported(path)["alice"].total == 82.1


def test_marks_of_the_marking_page_and_of_its_grader_show_in_each_other(
    python: Path, path: Path
) -> None:
    """A course of 0.3.16 is marked on, by question and as a whole, and goes back."""
    with Gradebook(path) as book:
        marks, bank = QuestionMarks(book), SavedComments(book)
        before = marks.state("A1", "alice", WHOLE)
        assert before.given is not None
        assert (before.given.mark.marker, before.given.mark.points) == ("mograder 0.3.16", 42)
        assert before.comment == submission(read(python, path), "alice")["feedback"]

        book.record_run(a_run("eve", FAIR))
        good = bank.add("A1", "Analysis", CommentWish("Good.", 24), Author("mia", AT))
        entry = MarkEntry(None, "", MarkDetails(6.0, (good.comment,)))
        _mark(marks, "eve", "Analysis", entry)
        _mark(marks, "eve", WHOLE, MarkEntry(None, "All. In. All.", MarkDetails()))
        export_0316(book)
    row = submission(read(python, path), "eve")
    assert (row["manual_mark"], row["total_mark"]) == (50, 52.1)
    assert row["feedback"] == "All. In. All."
    with Gradebook(path) as book:
        bank = SavedComments(book)
        wish = CommentWish("Good.", 30)
        bank.change("A1", "Analysis", good.comment, wish, Author("ben", AT), good.version)
        export_0316(book)
    assert submission(read(python, path), "eve")["total_mark"] == 58.1

    saving = {"assignment": "A1", "student": "eve", "slider": 80, "feedback": "Even. Better. Now."}
    run_0316(python, "save", path, saving)
    with Gradebook(path) as book:
        import_0316(book)
        marks = QuestionMarks(book)
        whole = marks.state("A1", "eve", WHOLE)
        assert whole.given is not None
        assert (whole.given.mark.points, whole.given.mark.comment) == (48, "Even. Better. Now.")
        assert marks.state("A1", "eve", "Analysis").whole is not None
        _mark(marks, "eve", "Analysis", MarkEntry(12.0, "", MarkDetails()))
        assert marks.state("A1", "eve", "Analysis").whole is None
        export_0316(book)
    row = submission(read(python, path), "eve")
    assert (row["manual_mark"], row["feedback"]) == (20, "Even. Better. Now.")


def _mark(marks: QuestionMarks, student: str, question: str, entry: MarkEntry) -> None:
    seen = marks.state("A1", student, question).version
    marks.give("A1", student, Change(question, entry, "mia", AT, seen))
