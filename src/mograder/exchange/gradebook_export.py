"""The gradebook's marks as files: CSV by question or by assignment, and JSON; pure.

All files of one assignment have the same mark in the column that the uploads read: the one after
the penalty, and none while a question waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mograder.core.csv_table import write_table
from mograder.exchange.grades_csv import moodle_comment
from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade

_Cell = str | float | None

_FIXED = ("student", "mark", "auto_mark", "feedback", "penalty_pct", "penalised_mark")
"""compatibility-0.3.16.md 9: the columns of `mograder feedback --grades-csv`."""

_OPTIONAL = frozenset({"auto_mark", "penalty_pct", "penalised_mark"})

_TAKEN = frozenset(
    {
        *_FIXED,
        "username",
        "userid",
        "user_id",
        "user",
        "email",
        "idnumber",
        "participant",
        "identifier",
        "grade",
        "total_mark",
        "comment",
        "comments",
        "feedback comments",
        "feedback_format",
    }
)
"""Columns that the uploads read; a question of such a name gets another column."""


def assignment_csv(grades: Sequence[StudentGrade], *, filled: bool = False) -> str:
    """Return the marks of one assignment, as 0.3.16 writes them.

    With ``filled``, the optional columns are there only if a student has a value.
    """
    rows = list(map(_fixed, grades))
    empty = {
        at
        for at, name in enumerate(_FIXED)
        if filled and name in _OPTIONAL and all(row[at] is None for row in rows)
    }
    kept = [at for at in range(len(_FIXED)) if at not in empty]
    return write_table([_FIXED[at] for at in kept], ([row[at] for at in kept] for row in rows))


def question_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the marks of one assignment with a column for each question.

    The uploads read this file, too.
    """
    keys = question_keys(grades)
    titles = map(question_title, keys)
    rows = ([*_fixed(each), *_by_question(each, keys)] for each in grades)
    return write_table([*_FIXED, *titles], rows)


def moodle_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the columns that ``mograder moodle upload-feedback`` and ``export`` need."""
    rows = ((each.student, each.final, moodle_comment(each)) for each in grades)
    return write_table(("student", "mark", "feedback"), rows)


def server_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the columns that ``mograder https upload-grades`` needs, for students with a mark."""
    rows = ((each.student, each.final, each.comment) for each in grades if each.final is not None)
    return write_table(("username", "grade", "feedback"), rows)


def course_csv(course: Mapping[str, Sequence[StudentGrade]]) -> str:
    """Return the final marks with a column for each assignment; ``course`` has them by name."""
    return write_table(("student", *course), course_rows(course))


def course_rows(course: Mapping[str, Sequence[StudentGrade]]) -> Iterable[Sequence[_Cell]]:
    """Yield the students of a course with their final mark for each assignment."""
    marks = {name: {each.student: each.final for each in grades} for name, grades in course.items()}
    for student in sorted({student for found in marks.values() for student in found}):
        yield [student, *(found.get(student) for found in marks.values())]


def question_keys(grades: Iterable[StudentGrade]) -> tuple[str, ...]:
    """Return the questions of an assignment in its order."""
    return tuple(dict.fromkeys(q.key for each in grades for q in each.questions))


def question_title(key: str) -> str:
    """Return the column of a question, which is none that the uploads read."""
    return f"question {key}" if key.lower() in _TAKEN else key


def as_json(grade: StudentGrade, *, questions: bool = True) -> dict[str, object]:
    """Return a student's marks for programs."""
    told: dict[str, object] = {
        "assignment": grade.assignment,
        "student": grade.student,
        "auto_mark": grade.auto,
        "manual_mark": grade.manual,
        "total_mark": grade.total,
        "max_mark": grade.max_mark,
        "penalty_pct": grade.penalty_pct,
        "penalised_mark": grade.penalised,
        "mark": grade.final,
        "feedback": grade.comment,
        "state": grade.state,
        "cell_errors": grade.cell_errors,
        "tampered": list(grade.tampered),
        "submitted_at": grade.submitted_at,
        "graded_at": grade.graded_at,
        "flags": list(grade.flags),
    }
    if questions:
        told["questions"] = list(map(_question_json, grade.questions))
        told["whole"] = _question_json(grade.whole) if grade.whole else None
    return told


def _question_json(question: QuestionGrade) -> dict[str, object]:
    return {
        "question": question.key,
        "points": question.points,
        "available": question.available,
        "state": question.state,
        "reason": question.reason,
        "graded": question.graded,
        "marker": question.marker,
        "comment": question.comment,
        "at": question.at,
        "open": question.open,
        "look_again": question.look_again,
    }


def _fixed(grade: StudentGrade) -> list[_Cell]:
    penalised = grade.final if grade.penalty_pct is not None else None
    mark = None if grade.final is None else grade.total
    comment = grade.comment
    return [grade.student, mark, grade.auto, comment, grade.penalty_pct, penalised]


def _by_question(grade: StudentGrade, keys: Sequence[str]) -> list[_Cell]:
    points = {each.key: each.points for each in grade.questions}
    return [points.get(key) for key in keys]
