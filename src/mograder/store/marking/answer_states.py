"""The marks of all answers to a question, and the people who gave marks."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, func, select

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import MARKS, read_rows
from mograder.store.gradebook.gradebook_tables import question_marks
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    MACHINE,
    QuestionGrade,
    RecordedMark,
)
from mograder.store.gradebook.mark_counting import question_grade


def answers_to(book: Gradebook, assignment: str, question: str) -> Mapping[str, QuestionGrade]:
    """Return the mark of each student's answer to a question, by student.

    Students whose work has no such question are left out.
    """
    with book.reading() as connection:
        rows = read_rows(connection, assignment, question=question)
    found = ((each.student, question_grade(each, question)) for each in rows)
    return {student: grade for student, grade in found if grade is not None}


def markers_of(book: Gradebook, assignment: str) -> frozenset[str]:
    """Return the people whose marks of an assignment count."""
    marks = (each for grade in book.grades(assignment) for each in (*grade.questions, grade.whole))
    found = {each.marker for each in marks if each is not None}
    return frozenset(found - {MACHINE, EARLIER_MARKER})


def last_given(
    connection: Connection, assignment: str, question: str
) -> Mapping[str, RecordedMark]:
    """Return the last mark by a person of each student's question, also one taken back."""
    own = (question_marks.c.assignment == assignment) & (question_marks.c.question == question)
    given = own & (question_marks.c.marker != MACHINE)
    last = select(func.max(question_marks.c.id)).where(given).group_by(question_marks.c.student)
    found = connection.execute(MARKS.where(question_marks.c.id.in_(last)))
    return {row[0]: RecordedMark(*row[1:]) for row in found}
