"""The marks of some of an assignment's students, where reading all would take too long."""

from __future__ import annotations

from collections.abc import Iterable

from mograder.store.gradebook import Gradebook
from mograder.store.gradebook_marks import read_student
from mograder.store.grading_records import StudentGrade
from mograder.store.mark_counting import grade_of


def grades_of(
    book: Gradebook, assignment: str, students: Iterable[str]
) -> tuple[StudentGrade, ...]:
    """Return the marks that count of these students, in their order."""
    with book.reading() as connection:
        rows = [read_student(connection, assignment, each) for each in students]
    return tuple(map(grade_of, rows))
