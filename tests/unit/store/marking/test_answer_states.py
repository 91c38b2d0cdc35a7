"""The states of answers at a glance are those of the whole gradebook."""

from __future__ import annotations

import random
from pathlib import Path

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import EARLIER_MARKER, MACHINE, WHOLE, MarkEntry
from mograder.store.marking.question_marking import answers_to, markers_of
from tests.support.gradebooks import (
    AT,
    MARKS,
    a_run,
    change,
    export_0316,
    import_0316,
    put_recorded,
    random_points,
)

STATES = ("judged", "unprotected", "needs attention", "claimed")


def compare(book: Gradebook) -> None:
    """Compare both ways of reading all questions of A1."""
    grades = {each.student: each for each in book.grades("A1")}
    keys = dict.fromkeys(q.key for each in grades.values() for q in each.questions)
    for key in keys:
        found = answers_to(book, "A1", key)
        expected = {
            student: question
            for student, grade in grades.items()
            for question in grade.questions
            if question.key == key
        }
        assert found == expected
    marks = [each for grade in grades.values() for each in (*grade.questions, grade.whole)]
    people = {each.marker for each in marks if each is not None}
    assert markers_of(book, "A1") == people - {MACHINE, EARLIER_MARKER}
    wholes = answers_to(book, "A1", WHOLE)
    for student, grade in grades.items():
        if grade.whole is not None:
            assert wholes[student] == grade.whole
        else:
            assert wholes[student].points is None


def graded_again(book: Gradebook, student: str, later: int, chance: random.Random) -> None:
    """Record a random result of one of two submissions."""
    points, state = random_points(chance, MARKS), chance.choice(STATES)
    if state == "needs attention":
        points["Q1"] = None
    work = chance.choice("ab")
    book.record_run(a_run(student, points, work=work, states={"Q1": state}, later=later))


def test_they_agree_for_random_histories(tmp_path: Path, chance: random.Random) -> None:
    students = [f"student{number}" for number in range(8)]
    with Gradebook(tmp_path / "gradebook.db") as book:
        for later in range(120):
            student = chance.choice(students) if later >= len(students) else students[later]
            if chance.random() < 0.4 or later < len(students):
                graded_again(book, student, later, chance)
                continue
            key = chance.choice(["Q1", "Analysis", WHOLE])
            given = chance.choice([None, 1.0, 7.5])
            book.record_marks("A1", student, {key: MarkEntry(given, "x")}, marker="mia", at=AT)
        compare(book)
        export_0316(book)
        change(
            tmp_path / "gradebook.db",
            "UPDATE submissions SET manual_mark = 19, total_mark = 30, graded_at = 'now'"
            " WHERE student < 'student4'",
        )
        assert [outcome for _, outcome, _ in import_0316(book)] == ["done"] * 4
        compare(book)


def test_they_agree_for_a_gradebook_of_0_3_16(tmp_path: Path) -> None:
    with Gradebook(put_recorded(tmp_path / "gradebook.db")) as book:
        compare(book)
        book.record_run(a_run("alice", {"Q1": 1.0, "Q2": 2.0, "Q3": 3.0}))
        compare(book)


def test_they_agree_where_a_marked_question_was_removed_since(tmp_path: Path) -> None:
    """Its mark, which replaced the older one for the whole, does not count any more."""
    marks = {"Q1": 10.0, "Essay": 20.0, "Analysis": 30.0}
    fewer = {"Q1": 10.0, "Analysis": 30.0}
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run(points={"Q1": 5.0}, marks=marks))
        for key, points in ((WHOLE, 25.0), ("Essay", 10.0)):
            book.record_marks("A1", "alice", {key: MarkEntry(points)}, marker="mia", at=AT)
        compare(book)
        book.record_run(a_run(points={"Q1": 5.0}, marks=fewer, later=5))
        compare(book)
        assert answers_to(book, "A1", "Analysis")["alice"].open == ""
