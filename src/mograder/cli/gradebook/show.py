"""``mograder gradebook show``: a table of students by questions, or by assignments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from mograder.cli.gradebook.book import assignment_named, grade_named
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import plain
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.core.csv_table import number_text
from mograder.core.settings import LoadedSettings
from mograder.exchange.gradebook_export import as_json, course_rows, question_keys
from mograder.grading.late.course_late import CourseLate
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade

_SIGNS = {"claimed": "~", "unprotected": "!", "not run": "x"}
_LEGEND = {
    "*": "given by a person",
    "~": "rests on what the notebook says about itself (claimed)",
    "!": "the answer could have forged it (unprotected)",
    "x": "not run, for the reason that `explain` tells",
    "?": "waits for a person",
}
_NONE = "-"


@click.command("show")
@click.argument("assignment", required=False)
@click.option("--student", help="Only this student.")
@json_option
@course_option
def show(*, assignment: str | None, student: str | None, loaded: LoadedSettings) -> Result:
    """List the marks of an assignment by question.

    Without ASSIGNMENT all assignments are listed with the mark that counts. A mark is shown with a
    sign if there is something to know about it; the signs are explained below the table.
    """
    with viewed_gradebook(loaded.gradebook_path) as book:
        if assignment is None:
            names = [each.name for each in book.assignments()]
        else:
            names = [assignment_named(book, assignment)]
        late = CourseLate(loaded)
        course = {name: late.grades(book, name) for name in names}
    if student is not None:
        course = {name: _only(grades, student) for name, grades in course.items()}
        if assignment is not None or not any(course.values()):
            grade_named([each for grades in course.values() for each in grades], student)
    if assignment is None:
        rows = [[_text(cell) for cell in row] for row in course_rows(course)]
        lines = _table(["Student", *course], rows)
    else:
        lines = _assignment_lines(names[0], course[names[0]])
    return Result(_course_json(course), lines)


def _only(grades: Sequence[StudentGrade], student: str) -> tuple[StudentGrade, ...]:
    return tuple(each for each in grades if each.student == student)


def _course_json(course: dict[str, tuple[StudentGrade, ...]]) -> dict[str, object]:
    return {name: [as_json(each) for each in grades] for name, grades in course.items()}


def _text(cell: str | float | None) -> str:
    return cell if isinstance(cell, str) else number_text(cell) or _NONE


def _assignment_lines(name: str, grades: Sequence[StudentGrade]) -> Iterator[str]:
    keys = question_keys(grades)
    available = {q.key: q.available for each in grades for q in each.questions}
    heads = [f"{key} /{number_text(available[key])}" if available[key] else key for key in keys]
    maximum = grades[0].max_mark if grades else 100.0
    columns = ["Student", *heads, "Checks", "Manual", f"Total /{number_text(maximum)}", "Mark"]
    yield from _table(columns, [_row(each, keys) for each in grades])
    used = {sign for each in grades for cell in _row(each, keys)[1:] for sign in cell}
    for sign, meaning in _LEGEND.items():
        if sign in used:
            yield f"  {sign} {meaning}"
    for grade in grades:
        for flag in grade.flags:
            yield plain(f"  {grade.student}: {flag}")
    without = sum(each.final is None for each in grades)
    yield plain(f"{name}: {len(grades)} students, {without} without a mark.")


def _row(grade: StudentGrade, keys: Sequence[str]) -> list[str]:
    questions = {each.key: each for each in grade.questions}
    manual = number_text(grade.manual) or _NONE
    return [
        grade.student,
        *(_points(questions.get(key)) for key in keys),
        number_text(grade.auto) or _NONE,
        f"{manual}{'?' if grade.whole.open else '*'}" if grade.whole else manual,
        number_text(grade.total) or _NONE,
        number_text(grade.final) or _NONE,
    ]


def _points(question: QuestionGrade | None) -> str:
    if question is None:
        return _NONE
    text = number_text(question.points) or _NONE
    if question.marker:
        return f"{text}*"
    sign = _SIGNS.get(question.state, "")
    return f"{text}{sign}{'?' if question.open else ''}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [[plain(cell) for cell in row] for row in (columns, *rows)]
    return aligned(lines, numbers=True)
