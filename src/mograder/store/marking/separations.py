"""Answers that markers took out of their group of equal answers, or put back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, insert, select

from mograder.core.clock import utc_iso
from mograder.core.errors import NotFound
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_tables import submissions
from mograder.store.gradebook.marking_tables import answer_separations


class Separations:
    """The answers of a gradebook that are marked apart from the equal ones."""

    def __init__(self, book: Gradebook) -> None:
        self._book = book

    def of(self, assignment: str, question: str) -> frozenset[str]:
        """Return the students whose answer to a question was taken out of its group."""
        table = answer_separations.c
        own = (table.assignment == assignment) & (table.question == question)
        last = select(func.max(table.id)).where(own).group_by(table.student)
        wanted = select(table.student).where(table.id.in_(last), table.separate)
        with self._book.reading() as connection:
            return frozenset(connection.execute(wanted).scalars())

    def put(
        self,
        assignment: str,
        question: str,
        student: str,
        *,
        separate: bool,
        by: str,
        at: datetime,
    ) -> None:
        """Take an answer out of its group, or put it back.

        Raises:
            NotFound: The student has no graded work.
            Busy: The gradebook is locked, or the disk is full.
        """
        held = submissions.c
        row = {
            "assignment": assignment,
            "question": question,
            "student": student,
            "separate": separate,
            "by": by,
            "at": utc_iso(at),
        }
        known = select(held.student).where(
            (held.assignment == assignment) & (held.student == student)
        )
        with self._book.writing() as connection:
            if connection.execute(known).first() is None:
                raise NotFound(f"The gradebook has no submission of this student for {assignment}.")
            connection.execute(insert(answer_separations).values(row))
