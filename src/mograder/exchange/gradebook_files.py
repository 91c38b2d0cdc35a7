"""The gradebook's marks as files: CSV by question or by assignment, and JSON; pure.

All files of one assignment have the same mark in the column that the uploads read: the one after
the penalty, and none while a question waits for a person. People fill marks into a file by
question, which is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mograder.clients.moodle.texts import parse_mark
from mograder.core.csv_table import Row, Table, number_text, read_table, refuse, write_table
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.name_lookup import nfc
from mograder.exchange.grades_csv import COLUMNS, moodle_comment
from mograder.store.gradebook.grading_records import MarkEntry, QuestionGrade, StudentGrade

_PERSON = ("student", "username")
_COMMENT = "feedback"
_Cell = str | float | None

_FIXED = ("student", "mark", "auto_mark", "feedback", "penalty_pct", "penalised_mark")
"""compatibility-0.3.16.md 9: the columns of `mograder feedback --grades-csv`."""

_OPTIONAL = frozenset({"auto_mark", "penalty_pct", "penalised_mark"})


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
    rows = ([*_fixed(each), *_by_question(each, keys)] for each in grades)
    return write_table([*_FIXED, *map(question_title, keys)], rows)


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
    return f"question {key}" if key.lower() in {*_FIXED, *COLUMNS} else key


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
    return [grade.student, mark, grade.auto, grade.comment, grade.penalty_pct, penalised]


def _by_question(grade: StudentGrade, keys: Sequence[str]) -> list[_Cell]:
    points = {each.key: each.points for each in grade.questions}
    return [points.get(key) for key in keys]


@dataclass(frozen=True, slots=True)
class FilledMarks:
    """The changes of a row for a student; ``comment`` is None where it stays."""

    grade: StudentGrade
    marks: Mapping[str, MarkEntry]
    comment: str | None


def filled_marks(data: bytes, name: str, grades: Sequence[StudentGrade]) -> tuple[FilledMarks, ...]:
    """Return what a file changes in the marks of an assignment; empty cells change nothing.

    ``name`` is the file's name in messages. The columns are those of an export by question; the
    sums in it are not read.

    Raises:
        InvalidInput: A row cannot be used. All such rows are named.
        TooLarge: As :func:`~mograder.core.csv_table.read_table`.
    """
    table = read_table(data, name)
    person = table.column(*_PERSON)
    spelled = {title: column for column, title in enumerate(table.columns)}
    questions = {
        column: key
        for key in sorted(question_keys(grades), key=lambda key: question_title(key) in spelled)
        if (column := _column(question_title(key), spelled, table)) is not None
    }
    comment = table.column(_COMMENT)
    if person is None or not (questions or comment is not None):
        raise InvalidInput(
            f"{name} has no marks by question.",
            hint="Its first line names the columns: student, the questions, feedback.",
        )
    known = {each.student: each for each in grades}
    found: list[FilledMarks] = []
    problems: list[str] = []
    seen: set[str] = set()
    for row in table.rows:
        try:
            grade = _grade(row, person, known, seen)
            filled = FilledMarks(
                grade, _marks(row, questions, grade), _comment(row, comment, grade)
            )
        except MograderError as error:
            problems.append(f"line {row.line} ({row.cell(person)}): {error.message}")
            continue
        if filled.marks or filled.comment is not None:
            found.append(filled)
    problems += _unknown(table, questions, grades)
    refuse(f"{name} cannot be used; no mark was changed.", problems)
    return tuple(found)


def _column(title: str, spelled: Mapping[str, int], table: Table) -> int | None:
    """Return the column with a title as it is spelled, else in any case."""
    return spelled.get(title, table.column(title.lower()))


def _grade(
    row: Row, person: int, known: Mapping[str, StudentGrade], seen: set[str]
) -> StudentGrade:
    student = nfc(row.cell(person))
    if student not in known:
        raise InvalidInput("the gradebook has no submission of this student.")
    if student in seen:
        raise InvalidInput("there is another row for this student.")
    seen.add(student)
    return known[student]


def _marks(row: Row, questions: Mapping[int, str], grade: StudentGrade) -> Mapping[str, MarkEntry]:
    """Return the marks that differ from those that count."""
    held = {each.key: each for each in grade.questions}
    marks: dict[str, MarkEntry] = {}
    for column, key in questions.items():
        told = parse_mark(row.cell(column))
        question = held.get(key)
        if told is None:
            continue
        mark = float(told)  # as the marks available: 1.2 is more than a float of that
        if question is not None and number_text(question.points) == number_text(mark):
            continue
        if question is None or question.available is None:
            raise InvalidInput(f"{key} cannot be marked.")
        if not 0 <= mark <= question.available:
            raise InvalidInput(f"{key} can have 0 to {question.available:g} marks, not {told}.")
        marks[key] = MarkEntry(mark, question.comment)
    return marks


def _comment(row: Row, column: int | None, grade: StudentGrade) -> str | None:
    text = row.cell(column)
    return text if text and text != grade.comment.replace("\r\n", "\n").strip() else None


def _unknown(
    table: Table, questions: Mapping[int, str], grades: Sequence[StudentGrade]
) -> Iterator[str]:
    """Yield the columns that may be misspelt questions."""
    keys = ", ".join(question_keys(grades)) or "none"
    for column, title in enumerate(table.columns):
        if column not in questions and question_title(title) == title and title:
            yield f"the column {title!r} is no question (these are: {keys})"
