"""The marks of some of an assignment's students, where reading all would take too long."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import read_rows
from mograder.store.gradebook.gradebook_tables import question_marks, student_work
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.mark_counting import grade_of


def grades_of(
    book: Gradebook, assignment: str, students: Collection[str]
) -> tuple[StudentGrade, ...]:
    """Return the marks that count of these students, in their order; others are left out."""
    with book.reading() as connection:
        rows = {each.student: each for each in read_rows(connection, assignment, students)}
    return tuple(grade_of(rows[each]) for each in students if each in rows)


def has_marks(book: Gradebook, student: str) -> bool:
    """Return whether the gradebook has a mark or a submission of a student, in any assignment."""
    with book.reading() as connection:
        return any(
            connection.execute(select(table.c.student).where(table.c.student == student)).first()
            for table in (student_work, question_marks)
        )
