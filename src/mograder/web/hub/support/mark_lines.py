"""The marks of an item as a list for instructors: first those that somebody has to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.store.grading_records import NEEDS_ATTENTION, UNPROTECTED, StudentGrade

_OPEN_STATES = (NEEDS_ATTENTION, UNPROTECTED)


@dataclass(frozen=True, slots=True)
class MarkLine:
    """The result of one student.

    ``mark`` is None while there is none. ``problem`` says what is wrong or to be decided, ``todo``
    what a teacher can do; both are empty if nothing.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str
    todo: str

    @property
    def open(self) -> bool:
        """Whether a teacher has to look at it."""
        return bool(self.problem)


def mark_lines(grades: Iterable[StudentGrade]) -> list[MarkLine]:
    """Return the lines of all students: what needs attention first, then by name."""
    lines = [_line(grade) for grade in grades]
    return sorted(lines, key=lambda line: (_rank(line), line.student))


def _rank(line: MarkLine) -> int:
    if line.state == NEEDS_ATTENTION:
        return 0
    return 1 if line.problem else 2


def _line(grade: StudentGrade) -> MarkLine:
    waiting = [question for question in grade.questions if question.open]
    problems = list(grade.flags)
    problems += [f"{question.key or 'All'}: {question.open}" for question in waiting]
    return MarkLine(
        student=grade.student,
        state=grade.state,
        mark=grade.final,
        max_mark=grade.max_mark,
        problem=" ".join(problems),
        todo=_TODO.get(grade.state, ""),
    )


_TODO = {
    NEEDS_ATTENTION: "Grade the submission again; if the problem stays, look at the hub's log.",
    UNPROTECTED: "The checks ran beside the answer: confirm the marks in the gradebook.",
}
