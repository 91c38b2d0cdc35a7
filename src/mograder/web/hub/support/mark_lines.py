"""The marks of an item as a list for instructors: first those that somebody has to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.store.grading_records import MANUAL, NEEDS_ATTENTION, UNPROTECTED, StudentGrade

_TODO = {
    NEEDS_ATTENTION: "Grade it again; if this stays, look at the hub's log.",
    UNPROTECTED: "The checks ran beside the answers: confirm the marks in the gradebook.",
}


@dataclass(frozen=True, slots=True)
class MarkLine:
    """The result of one student.

    ``mark`` is None while there is none. ``problem`` says what is wrong or to be decided, ``todo``
    what a teacher can do; both are empty if nothing. ``to_mark`` is the number of questions without
    checks that nobody has marked yet.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str = ""
    todo: str = ""
    to_mark: int = 0


def mark_lines(grades: Iterable[StudentGrade]) -> list[MarkLine]:
    """Return the lines of all students: what needs attention first, then by name."""
    return sorted(map(_line, grades), key=lambda line: (_rank(line), line.student))


def _rank(line: MarkLine) -> int:
    if line.state == NEEDS_ATTENTION:
        return 0
    return 1 if line.problem else 2


def _line(grade: StudentGrade) -> MarkLine:
    waiting = [question for question in grade.questions if question.open]
    unclear = [f"{each.key} {each.open}" for each in waiting if each.state != MANUAL]
    problems = [*grade.flags, *([", ".join(unclear)] if unclear else [])]
    return MarkLine(
        student=grade.student,
        state=grade.state,
        mark=grade.final,
        max_mark=grade.max_mark,
        problem=" ".join(f"{each.rstrip('.')}." for each in problems),
        todo=_TODO.get(grade.state, "") if problems else "",
        to_mark=sum(question.state == MANUAL for question in waiting),
    )
