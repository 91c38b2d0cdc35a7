"""Marks by question that people filled into a CSV file, such as an exported one; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mograder.clients.moodle.grade_text import parse_mark
from mograder.core.csv_table import Row, Table, number_text, read_table
from mograder.core.errors import InvalidInput, MograderError
from mograder.exchange.gradebook_export import question_keys, question_title
from mograder.store.gradebook.grading_records import MarkEntry, StudentGrade

_PERSON = ("student", "username")
_COMMENT = "feedback"
_SHOWN = 20


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
    questions = {
        column: key
        for key in question_keys(grades)
        if (column := table.column(question_title(key).lower())) is not None
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
            problems.append(f"  line {row.line} ({row.cell(person)}): {error.message}")
            continue
        if filled.marks or filled.comment is not None:
            found.append(filled)
    problems += _unknown(table, questions, grades)
    if problems:
        more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        listed = "\n".join([*problems[:_SHOWN], *more])
        raise InvalidInput(f"{name} cannot be used; no mark was changed.\n{listed}")
    return tuple(found)


def _grade(
    row: Row, person: int, known: Mapping[str, StudentGrade], seen: set[str]
) -> StudentGrade:
    student = row.cell(person)
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
        mark = parse_mark(row.cell(column))
        question = held.get(key)
        if mark is None:
            continue
        if question is not None and number_text(question.points) == number_text(float(mark)):
            continue
        if question is None or question.available is None:
            raise InvalidInput(f"{key} cannot be marked.")
        if not 0 <= mark <= question.available:
            raise InvalidInput(f"{key} can have 0 to {question.available:g} marks, not {mark}.")
        marks[key] = MarkEntry(float(mark), question.comment)
    return marks


def _comment(row: Row, column: int | None, grade: StudentGrade) -> str | None:
    text = row.cell(column)
    return text if text and text != grade.comment.strip() else None


def _unknown(
    table: Table, questions: Mapping[int, str], grades: Sequence[StudentGrade]
) -> Iterator[str]:
    """Yield the columns that may be misspelt questions."""
    keys = ", ".join(question_keys(grades)) or "none"
    for column, title in enumerate(table.columns):
        if column not in questions and question_title(title) == title and title:
            yield f"  the column {title!r} is no question (these are: {keys})"
