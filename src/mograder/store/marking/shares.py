"""The shares of markers: which marker is to mark all of a student's answers to an assignment.

A share is a row for each student. The newest counts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from mograder.core.clock import utc_iso
from mograder.core.errors import InvalidInput
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_tables import (
    marking_shares,
    question_marks,
    student_work,
)
from mograder.store.gradebook.grading_records import MACHINE


class Shares:
    """The shares of markers in a gradebook; ``chance`` shuffles."""

    def __init__(self, book: Gradebook, chance: random.Random | None = None) -> None:
        self._book = book
        self._chance = chance or random.SystemRandom()

    def of(self, assignment: str) -> Mapping[str, str]:
        """Return the marker of each student's answers, "" for any."""
        wanted = (marking_shares.c.student, marking_shares.c.marker)
        # A row of older gradebooks may be about one question, which says nothing of the others.
        own = (marking_shares.c.assignment == assignment) & (marking_shares.c.question == "")
        ordered = select(*wanted).where(own).order_by(marking_shares.c.id)
        with self._book.reading() as connection:
            return {row.student: row.marker for row in connection.execute(ordered)}

    def share_out(self, assignment: str, markers: Sequence[str], *, by: str, at: datetime) -> None:
        """Share out the answers in equal parts, at random.

        Those that one of the markers has marked stay with that marker. Without markers, every
        marker may mark all.

        Raises:
            InvalidInput: A marker has no name, or is there twice.
        """
        if len(set(markers)) < len(markers):
            raise InvalidInput("markers: a marker is there twice.")
        if any(not name.strip() or not name.isprintable() for name in markers):
            raise InvalidInput("markers: a marker has no name.")
        made = {"assignment": assignment, "question": "", "by": by, "at": utc_iso(at)}
        with self._book.writing() as connection:
            students = sorted(_students(connection, assignment))
            kept = _marked_by(connection, assignment, markers)
            shares = self._parts(students, kept, markers)
            rows = [
                {**made, "student": student, "marker": shares.get(student, "")}
                for student in students
            ]
            if rows:
                connection.execute(insert(marking_shares), rows)

    def _parts(
        self, students: Sequence[str], kept: Mapping[str, str], markers: Sequence[str]
    ) -> Mapping[str, str]:
        """Return each student's marker: those who have more marks already get fewer new ones.

        A marker who is a student too gets an own answer only if there is no other marker.
        """
        if not markers:
            return {}
        shares = {student: kept[student] for student in students if student in kept}
        counts = Counter(shares.values())
        free = [student for student in students if student not in shares]
        names = list(markers)
        self._chance.shuffle(free)
        self._chance.shuffle(names)
        # The own answers of markers come first, so that the others can still make the parts equal.
        for student in sorted(free, key=lambda each: each not in names):
            others = [each for each in names if each != student]
            name = min(others or names, key=lambda each: counts[each])
            shares[student] = name
            counts[name] += 1
        return shares


def _students(connection: Connection, assignment: str) -> Iterable[str]:
    wanted = select(student_work.c.student).where(student_work.c.assignment == assignment)
    return connection.execute(wanted).scalars()


def _marked_by(
    connection: Connection, assignment: str, markers: Sequence[str]
) -> Mapping[str, str]:
    """Return the students with a mark by one of the markers; the last of these counts.

    A comment is no mark, and another person's mark of one question leaves the others.
    """
    marks = question_marks.c
    own = (marks.assignment == assignment) & (marks.marker != MACHINE)
    last = select(func.max(marks.id)).where(own).group_by(marks.student, marks.question)
    given = select(marks.student, marks.marker).where(
        marks.id.in_(last), marks.points.is_not(None), marks.marker.in_(markers)
    )
    return {row.student: row.marker for row in connection.execute(given.order_by(marks.id))}
