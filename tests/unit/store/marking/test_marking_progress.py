"""How far marking is: numbers that are kept as long as the gradebook does not change."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE, MarkEntry
from mograder.store.marking.marking_progress import MarkingProgress, Shares
from tests.support.gradebooks import AT, a_run, change, export_0316, import_0316, put_recorded

MARKS = {"Q1": 10.0, "Essay": 20.0}
STUDENTS = ("alice", "bob", "carol")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gradebook in which three students are graded, and no person has marked."""
    path = tmp_path / "gradebook.db"
    with Gradebook(path) as book:
        for student in STUDENTS:
            book.record_run(a_run(student, {"Q1": 5.0}, marks=MARKS))
    return path


def test_what_has_not_changed_is_not_counted_again(path: Path) -> None:
    progress = MarkingProgress()
    with Gradebook(path) as book:
        first = progress.of(book, "A1")
        book.record_run(a_run("alice", {"Q1": 1.0}, assignment="A2", marks=MARKS))
        assert progress.of(book, "A1") is first
        assert progress.of(book, "A2").graded == 1
        assert progress.of(book, "none").questions == ()


def _mark(book: Gradebook) -> None:
    book.record_marks("A1", "bob", {"Essay": MarkEntry(3.0)}, marker="marta", at=AT)


def _take_back(book: Gradebook) -> None:
    book.record_marks("A1", "bob", {"Essay": MarkEntry(None)}, marker="marta", at=AT)


def _grade(book: Gradebook) -> None:
    book.record_run(a_run("dora", {"Q1": 1.0}, marks=MARKS, later=1))


def _share(book: Gradebook) -> None:
    Shares(book, random.Random(1)).share_out("A1", ["marta", "prof"], by="prof", at=AT)


def test_the_numbers_are_those_of_counting_anew_after_every_change(path: Path) -> None:
    progress, waits = MarkingProgress(), MarkingProgress()
    with Gradebook(path) as book:
        seen = [progress.of(book, "A1")]
        for step in (_mark, _share, _grade, _take_back, _mark):
            step(book)
            seen.append(progress.of(book, "A1"))
            assert seen[-1] == MarkingProgress().of(book, "A1")
            assert seen[-1] != seen[-2]
            assert progress.waiting(book, "A1") == seen[-1].waiting
            assert waits.waiting(book, "A1") == seen[-1].waiting


def test_the_answers_that_wait_are_counted_without_the_marks_of_finished_students(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()
    with Gradebook(path) as book:
        grades = book.grades

        def noted(assignment: str, students: Collection[str] | None = None) -> Any:
            found = grades(assignment, students)
            read.extend(each.student for each in found)
            return found

        monkeypatch.setattr(book, "grades", noted)
        _mark(book)
        assert MarkingProgress().waiting(book, "A1") == 2
    assert sorted(read) == ["alice", "carol"]


def test_what_0_3_16_left_unmarked_waits_though_it_gave_a_total(tmp_path: Path) -> None:
    with Gradebook(put_recorded(tmp_path / "gradebook.db")) as book:
        for each in book.assignments():
            progress = MarkingProgress()
            assert progress.waiting(book, each.name) == progress.of(book, each.name).waiting


def test_a_mark_that_is_imported_from_0_3_16_is_noticed(path: Path) -> None:
    progress = MarkingProgress()
    with Gradebook(path) as book:
        assert progress.of(book, "A1").waiting == 3
        export_0316(book)
        change(
            path,
            "UPDATE submissions SET manual_mark=50, total_mark=15, graded_at=?, updated_at=? "
            "WHERE student='carol'",
            "2026-10-01T10:00:00",
            "2026-10-01T10:00:00",
        )
        import_0316(book)
        assert progress.of(book, "A1") == MarkingProgress().of(book, "A1")
        assert progress.of(book, "A1").waiting == 2


def test_an_assignment_without_marks_has_the_whole_only(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run("alice", {}, marks=None))
        (whole,) = MarkingProgress().of(book, "A1").questions
        assert MarkingProgress().waiting(book, "A1") == 1
    assert (whole.key, whole.available, whole.waiting) == (WHOLE, 100, 1)


def test_only_marks_for_the_whole_are_counted_where_0_3_16_marked_some(tmp_path: Path) -> None:
    with Gradebook(put_recorded(tmp_path / "gradebook.db")) as book:
        wholes = [grade.whole is not None for grade in book.grades("A1")]
        found = {each.key: each for each in MarkingProgress().of(book, "A1").questions}
    assert 0 < found[WHOLE].total == sum(wholes) < len(wholes)
    assert found["Analysis"].waiting == len(wholes) - sum(wholes)


def test_some_students_marks_are_those_of_all(path: Path) -> None:
    with Gradebook(path) as book:
        _mark(book)
        by_student = {each.student: each for each in book.grades("A1")}
        assert book.grades("A1", ("carol", "bob")) == (by_student["bob"], by_student["carol"])
        assert book.grades("A1", ()) == ()


def test_each_question_is_counted(path: Path) -> None:
    with Gradebook(path) as book:
        book.record_marks("A1", "bob", {"Essay": MarkEntry(3.0)}, marker="marta", at=AT)
        Shares(book, random.Random(1)).share_out("A1", ["marta"], by="prof", at=AT)
        found = MarkingProgress().of(book, "A1")
    first, essay = found.questions
    assert (first.key, first.state, first.total, first.waiting) == ("Q1", "automatic", 3, 0)
    assert (essay.key, essay.state, essay.available) == ("Essay", "manual", 20.0)
    assert (essay.total, essay.marked, essay.waiting) == (3, 1, 2)
    assert (found.graded, found.waiting) == (3, 2)
    assert (found.of_marker("marta"), found.of_marker("prof")) == (2, 0)
