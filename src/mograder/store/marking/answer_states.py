"""The state of all answers to a question, and of all questions of an assignment, at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import MARK_COLUMNS, read_assignment, read_rows
from mograder.store.gradebook.gradebook_rows import AssignmentRow
from mograder.store.gradebook.gradebook_tables import question_marks
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    MACHINE,
    MANUAL,
    WHOLE,
    QuestionGrade,
    RecordedMark,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import question_grade, whole_ungraded

AUTOMATIC = "automatic"
"""The state of a question that grading marks."""


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """One answer in short: whether a person marked it, and what it waits for, "" if for nothing."""

    student: str
    marker: str
    open: str


@dataclass(frozen=True, slots=True)
class QuestionStates:
    """A question with its answers; ``state`` is :data:`AUTOMATIC`, or manual without checks."""

    key: str
    available: float | None
    state: str
    answers: tuple[AnswerSummary, ...]


class AnswerStates:
    """The states of answers in a gradebook."""

    def __init__(self, book: Gradebook) -> None:
        self._book = book

    def of_question(self, assignment: str, question: str) -> Mapping[str, QuestionGrade]:
        """Return the mark of each student's answer to a question, by student.

        Students whose work has no such question are left out.
        """
        with self._book.reading() as connection:
            rows = read_rows(connection, assignment, question=question)
        found = ((each.student, question_grade(each, question)) for each in rows)
        return {student: grade for student, grade in found if grade is not None}

    def of_assignment(self, assignment: str) -> tuple[QuestionStates, ...]:
        """Return all questions in the assignment's order, and the submission as a whole last.

        That one is left out where questions are marked one by one, and no submission has a mark for
        the whole.
        """
        with self._book.reading() as connection:
            known = read_assignment(connection, assignment) or AssignmentRow(assignment)
        return tuple(_summaries(known, self._book.grades(assignment)))

    def markers(self, assignment: str) -> frozenset[str]:
        """Return the people whose marks of an assignment count."""
        states = self.of_assignment(assignment)
        found = {answer.marker for question in states for answer in question.answers}
        return frozenset(found - {MACHINE, EARLIER_MARKER})


def last_given(
    connection: Connection, assignment: str, question: str
) -> Mapping[str, RecordedMark]:
    """Return the last mark by a person of each student's question, also one taken back."""
    own = (question_marks.c.assignment == assignment) & (question_marks.c.question == question)
    given = own & (question_marks.c.marker != MACHINE)
    last = select(func.max(question_marks.c.id)).where(given).group_by(question_marks.c.student)
    columns = (question_marks.c[name] for name in MARK_COLUMNS)
    found = connection.execute(select(*columns).where(question_marks.c.id.in_(last)))
    return {row[0]: RecordedMark(*row[1:]) for row in found}


def _summaries(known: AssignmentRow, grades: Sequence[StudentGrade]) -> Iterator[QuestionStates]:
    answers: dict[str, list[AnswerSummary]] = {key: [] for key in known.marks or {}}
    for grade in grades:
        for each in grade.questions:
            summary = AnswerSummary(grade.student, each.marker, each.open)
            answers.setdefault(each.key, []).append(summary)
    for key, found in answers.items():
        if found:
            kind = AUTOMATIC if key in known.automatic else MANUAL
            yield QuestionStates(key, (known.marks or {}).get(key), kind, tuple(found))
    if not known.marks or any(grade.whole for grade in grades):
        empty = whole_ungraded(known)
        # Where questions have marks of their own, the others are marked, or wait, by question.
        wholes = (
            AnswerSummary(each.student, (each.whole or empty).marker, (each.whole or empty).open)
            for each in grades
            if each.whole is not None or not known.marks
        )
        yield QuestionStates(WHOLE, empty.available, MANUAL, tuple(wholes))
