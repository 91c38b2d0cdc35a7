"""The marks of an item as a list for instructors: first those that somebody has to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from mograder.core.names import Username
from mograder.store.gradebook.grading_records import (
    MANUAL,
    NEEDS_ATTENTION,
    UNPROTECTED,
    StudentGrade,
)

_NOT_GRADED = "not graded"
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

    @property
    def is_graded(self) -> bool:
        """Whether a submission of the student was graded, or marked by a person."""
        return self.mark is not None or self.state not in ("", _NOT_GRADED)

    @property
    def is_user(self) -> bool:
        """Whether the name can be that of a user of the hub, who has a page."""
        return Username.valid(self.student) is not None


def mark_lines(
    grades: Iterable[StudentGrade],
    submitted: Collection[str] = (),
    problems: Iterable[tuple[str, str]] = (),
) -> list[MarkLine]:
    """Return the lines of all students: what needs attention first, then by name.

    ``problems`` are those that the last job told, by student; most of them are in the gradebook.
    """
    told: dict[str, list[str]] = defaultdict(list)
    for student, problem in problems:
        told[student].append(problem)
    lines = {grade.student: _line(grade) for grade in grades}
    for student in (*submitted, *filter(None, told)):
        lines.setdefault(student, MarkLine(student, _NOT_GRADED, None, 0.0))
    for student, sentences in told.items():
        if student and lines[student].state != NEEDS_ATTENTION:
            lines[student] = _with(lines[student], sentences)
    return sorted(lines.values(), key=lambda line: (_rank(line), line.student))


def _with(line: MarkLine, sentences: Iterable[str]) -> MarkLine:
    problem = " ".join([*filter(None, [line.problem]), *map(_sentence, sentences)])
    if line.mark is None and line.state == _NOT_GRADED:
        return replace(line, state=NEEDS_ATTENTION, problem=problem, todo=_TODO[NEEDS_ATTENTION])
    return replace(line, problem=problem)


def _sentence(text: str) -> str:
    """Return a text with a full stop, which some parts of the program leave out."""
    return f"{text.rstrip('.')}."


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
        problem=" ".join(map(_sentence, problems)),
        todo=_TODO.get(grade.state, "") if problems else "",
        to_mark=sum(question.state == MANUAL for question in waiting),
    )
