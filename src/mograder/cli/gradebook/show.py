"""``mograder gradebook show`` and ``statistics``: the marks of a course at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from mograder.cli.files import write_private
from mograder.cli.gradebook.book import assignment_named, grade_named
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import FILE
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.core.csv_table import number_text, write_table
from mograder.core.name_lookup import counted, nfc
from mograder.core.settings import LoadedSettings
from mograder.exchange.gradebook_files import as_json, course_rows, question_keys
from mograder.grading.course_statistics import course_statistics
from mograder.grading.item_statistics import (
    CSV_COLUMNS,
    Distribution,
    ItemStatistics,
    csv_rows,
)
from mograder.grading.late.course_late import CourseLate
from mograder.grading.results.grading_result import grading_key
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade

_WIDEST = 40
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
        where = "any assignment" if assignment is None else names[0]
        grade_named([each for grades in course.values() for each in grades], student, where)
        course = {
            name: tuple(each for each in grades if nfc(each.student) == nfc(student))
            for name, grades in course.items()
        }
    if assignment is None:
        rows = [[_text(cell) for cell in row] for row in course_rows(course)]
        lines = _table(["Student", *course], rows)
    else:
        lines = _assignment_lines(names[0], course[names[0]])
    told = {name: [as_json(each) for each in grades] for name, grades in course.items()}
    return Result(told, lines)


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
    students = counted(len(grades), "student")
    yield plain(f"{name}: {students}, {without} without a mark.")


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


@click.command("statistics")
@click.argument("assignment")
@click.option("--csv", "file", type=FILE, help="Write the table of questions into this file, too.")
@course_option
def statistics(*, assignment: str, file: Path | None, loaded: LoadedSettings) -> None:
    """Tell how the questions of an assignment did.

    "Solved" is the mean as a share of the available marks. "Discrimination" is the correlation of a
    question with the marks for the others, from -1 to 1: near 0 or below, good students do not do
    better at it. Checks that hardly any or nearly all students pass are named. Marks are those
    before deductions for late work.
    """
    with viewed_gradebook(loaded.gradebook_path) as book:
        name = assignment_named(book, assignment)
        found = course_statistics(loaded, book, name, grading_key(loaded))
    if file is not None:
        write_private(file, write_table(CSV_COLUMNS, csv_rows(found)))
    for line in _lines(found):
        click.echo(plain(line).rstrip())


def _lines(found: ItemStatistics) -> Iterator[str]:
    students = f"{found.students} student{'' if found.students == 1 else 's'}"
    yield f"{found.assignment}: {students}"
    if found.marks is None:
        yield "  No student has a total yet."
    else:
        yield from _distribution(found.marks)
    yield ""
    head = ("Question", "Students", "Mean", "Solved", "Discrimination", "None", "All", "Changed")
    rows = [
        (
            each.key,
            str(each.students),
            f"{number_text(each.mean, 1)}/{number_text(each.available)}",
            f"{100 * each.difficulty:.0f} %",
            "-" if each.discrimination is None else f"{each.discrimination:.2f}",
            str(each.none),
            str(each.full),
            each.changed[:10],
        )
        for each in found.questions
    ]
    yield from (f"  {line}" for line in aligned([head, *rows]))
    noticed = [
        (check.label, check) for each in found.questions for check in each.checks if check.advice
    ]
    yield from (
        f"  {label}: {check.passed} of {check.students} pass. {check.advice}"
        for label, check in noticed
    )


def _distribution(marks: Distribution) -> Iterator[str]:
    yield (
        f"  mean {number_text(marks.mean, 1)} of {number_text(marks.available)}, "
        f"median {number_text(marks.median, 1)}, "
        f"standard deviation {number_text(marks.deviation, 1)}"
    )
    most = max(*marks.bins, 1)
    for at, count in enumerate(marks.bins):
        edges = (marks.available * edge / len(marks.bins) for edge in (at, at + 1))
        first, last = (number_text(edge, 2) for edge in edges)
        yield f"  {f'{first} to {last}':>16}  {'#' * round(_WIDEST * count / most)} {count}"
