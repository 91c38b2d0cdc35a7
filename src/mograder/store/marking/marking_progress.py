"""How far the marking of each assignment is, in numbers.

Counting takes long in a large course, and most assignments do not change while one is marked. So
the numbers are kept in memory, and counted again when the gradebook has other rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ScalarSelect, Table, func, select

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_tables import (
    grading_runs,
    marked_assignments,
    marking_shares,
    question_marks,
    student_work,
)
from mograder.store.marking.answer_states import AnswerStates, QuestionStates
from mograder.store.marking.shares import SharedOut, Shares

_Stamp: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class QuestionProgress:
    """A question's answers in numbers.

    ``state`` is "automatic" for a question with checks, else "manual". ``marked`` have a mark by a
    person, ``waiting`` need one, ``shares`` of these are each marker's, by name.
    """

    key: str
    available: float | None
    state: str
    total: int
    marked: int
    waiting: int
    shares: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AssignmentProgress:
    """An assignment in numbers: ``graded`` are the students with a result of grading.

    ``known`` are all its questions in its order, also those without answers.
    """

    graded: int
    known: tuple[QuestionProgress, ...]

    @property
    def questions(self) -> tuple[QuestionProgress, ...]:
        return tuple(each for each in self.known if each.total)

    @property
    def waiting(self) -> int:
        """The answers that need a person's mark."""
        return sum(each.waiting for each in self.questions)

    def of_marker(self, name: str) -> int:
        """Return how many of the waiting answers are a marker's share."""
        return sum(each.shares.get(name, 0) for each in self.questions)


class MarkingProgress:
    """The progress of assignments; thread-safe.

    Mutable state: ``_known``, the last numbers of each assignment and what they were counted from.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, AssignmentProgress]] = {}

    def of(self, book: Gradebook, assignment: str) -> AssignmentProgress:
        stamp = _stamp(book, assignment)  # before the rows are read, so that no change is missed
        known = self._known.get(assignment)
        if known is not None and known[0] == stamp:
            return known[1]
        shares = Shares(book).of(assignment)
        states = AnswerStates(book).of_assignment(assignment)
        graded = _graded(book, assignment)
        found = AssignmentProgress(graded, tuple(_question(each, shares) for each in states))
        self._known[assignment] = (stamp, found)
        return found


def _question(question: QuestionStates, shares: SharedOut) -> QuestionProgress:
    waiting = [each.student for each in question.answers if each.open]
    parts = Counter(shares.of(question.key, student) for student in waiting)
    return QuestionProgress(
        key=question.key,
        available=question.available,
        state=question.state,
        total=len(question.answers),
        marked=sum(bool(each.marker) for each in question.answers),
        waiting=len(waiting),
        shares={name: count for name, count in parts.items() if name},
    )


def _graded(book: Gradebook, assignment: str) -> int:
    wanted = select(func.count()).where(student_work.c.assignment == assignment)
    with book.reading() as connection:
        return connection.execute(wanted).scalar_one()


def _stamp(book: Gradebook, assignment: str) -> _Stamp:
    """Return values of which one differs after every change."""

    def newest(table: Table) -> ScalarSelect[Any]:
        wanted = select(func.max(table.c.id)).where(table.c.assignment == assignment)
        return wanted.scalar_subquery()

    rows = student_work.c
    facts = select(
        newest(question_marks),
        newest(grading_runs),
        newest(marking_shares),
        func.count(),
        func.total(rows.total),
    ).where(rows.assignment == assignment)
    table = select(marked_assignments).where(marked_assignments.c.name == assignment)
    with book.reading() as connection:
        return (*connection.execute(facts).one(), connection.execute(table).one_or_none())
