"""Look at the marks of a course, without a change to any: lists, statistics, origins, and damage.

``mograder gradebook show`` and ``statistics`` are of an assignment, ``explain`` tells how one
student's mark came about, and ``check`` finds marks that mean something else than they seem to.
``explain`` is for staff: it shows hidden tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from pathlib import Path

import click

from mograder.cli.files import write_private
from mograder.cli.gradebook.book import assignment_named, grade_named
from mograder.cli.shared.console import plain, when
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import FILE
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.core.csv_table import number_text, write_table
from mograder.core.item_dates import course_zone
from mograder.core.name_lookup import counted
from mograder.core.names import nfc
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import as_json, course_rows, question_keys
from mograder.grading.course_late import CourseLate
from mograder.grading.item_statistics import (
    CSV_COLUMNS,
    Distribution,
    ItemStatistics,
    course_statistics,
    csv_rows,
)
from mograder.grading.late_work import late_sentence
from mograder.grading.submissions.grading_result import (
    NO_RESULT,
    GradedLabel,
    GradingResult,
    LastResult,
    grading_key,
    last_results,
    result_of_run,
)
from mograder.marks import sum_of_marks
from mograder.operations.gradebook_checks import all_well, check_gradebook
from mograder.operations.report import problems
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.grading_records import (
    EARLIER,
    MANUAL,
    WHOLE,
    QuestionGrade,
    RecordedRun,
    StudentGrade,
)
from mograder.store.marking.question_marking import GivenMark, QuestionMarks
from mograder.store.marking.saved_comments import SavedComments

_History = Sequence[tuple[GivenMark, Sequence[str]]]

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
_INDENT = "      "
_MOST_CALLS = 10


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
        rows = [
            [cell if isinstance(cell, str) else number_text(cell) or _NONE for cell in row]
            for row in course_rows(course)
        ]
        lines = _table(["Student", *course], rows)
    else:
        lines = _assignment_lines(names[0], course[names[0]])
    told = {name: [as_json(each) for each in grades] for name, grades in course.items()}
    return Result(told, lines)


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
        found = course_statistics(CourseLate(loaded), book, name, grading_key(loaded))
    if file is not None:
        write_private(file, write_table(CSV_COLUMNS, csv_rows(found)), for_spreadsheet=True)
    for line in _statistics_lines(found):
        click.echo(plain(line).rstrip())


def _statistics_lines(found: ItemStatistics) -> Iterator[str]:
    yield f"{found.assignment}: {counted(found.students, 'student')}"
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
    yield from aligned([head, *rows], indent="  ")
    yield from (
        f"  {check.label}: {check.passed} of {check.students} pass. {check.advice}"
        for each in found.questions
        for check in each.checks
        if check.advice
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


@click.command("explain")
@click.argument("assignment")
@click.argument("student")
@json_option
@course_option
def explain(*, assignment: str, student: str, loaded: LoadedSettings) -> Result:
    """Tell how a student's mark came about.

    Each condition is told with its reason, and every mark that a person gave. This is for staff:
    it shows hidden tests.
    """
    with viewed_gradebook(loaded.gradebook_path) as book:
        name = assignment_named(book, assignment)
        marks = CourseLate(loaded).counted(book, name)
        grade = grade_named([each.grade for each in marks], student)
        student = grade.student
        deduction = next(each.deduction for each in marks if each.grade is grade)
        last = NO_RESULT
        if grade.run is not None:  # the key may be made when it is needed first
            last = last_results(grading_key(loaded), book, name, (student,))[student]
        history = _history(book, name, student)
    late = late_sentence(grade, deduction, course_zone(loaded.settings))
    told = as_json(grade) | {
        "late": late,
        "result": last.result.model_dump(mode="json") if last.result else None,
        "problem": last.problem,
        "history": [
            asdict(each.mark) | asdict(each.details) | {"saved": saved} for each, saved in history
        ],
    }
    lines = _explanation(grade, last, history, late)
    return Result(told, (plain(line).rstrip() for line in lines))


def _history(book: Gradebook, assignment: str, student: str) -> _History:
    """Return every mark of a student with the texts of its saved comments, oldest first."""
    marks, bank = QuestionMarks(book), SavedComments(book)
    found = []
    for question in {each.question for each in book.history(assignment, student)}:
        known = bank.rubric(assignment, question).comments
        for given in marks.history(assignment, student, question):
            saved = [known[each].text for each in given.details.saved if each in known]
            found.append((given, saved))
    return sorted(found, key=lambda each: each[0].mark.number)


def _explanation(
    grade: StudentGrade, last: LastResult, history: _History, late: str
) -> Iterator[str]:
    final = number_text(grade.final) or "no mark"
    yield f"{grade.assignment}, {grade.student}: {final} of {number_text(grade.max_mark)}"
    if last.problem:
        yield f"  No conditions are shown: {last.problem}. Grade the submission again."
    for question in grade.questions:
        yield _heading(question)
        yield from _reasons(question, last.result)
    if grade.whole is not None:
        by, at = grade.whole.marker, grade.whole.at
        yield f"  All questions without checks: {_of(grade.whole)}, given by {by}{_on(at)}"
    yield from _sum(grade)
    if late:
        yield f"  Late work: {late}"
    if grade.comment:
        yield "  Comment:"
        yield from (f"{_INDENT}{line}" for line in grade.comment.splitlines())
    yield from (f"  {flag}." for flag in grade.flags)
    if grade.tampered:
        yield f"  Changed in the submission: {', '.join(grade.tampered)}"
    people = [(given, saved) for given, saved in history if given.mark.marker]
    if people:
        yield "  Marks by people, oldest first:"
        yield from (f"{_INDENT}{_told(given, saved)}" for given, saved in people)


def _heading(question: QuestionGrade) -> str:
    if question.state == EARLIER and not question.marker:
        return f"  {question.key}: its marks are in the sum of the checks, which 0.3.16 graded"
    by, at = question.marker, question.at
    how = f", given by {by}{_on(at)}" if by else f", {question.state}"
    waits = f", {question.open}" if question.open else ""
    return f"  {question.key}: {_of(question)}{how}{waits}"


def _of(question: QuestionGrade) -> str:
    points = number_text(question.points) or "no mark"
    return f"{points} of {number_text(question.available)}" if question.available else points


def _on(at: str) -> str:
    try:
        return f" on {when(datetime.fromisoformat(at))}"
    except ValueError:
        return ""


def _reasons(question: QuestionGrade, result: GradingResult | None) -> Iterator[str]:
    if question.marker and question.state != MANUAL:
        yield f"{_INDENT}Grading gave {number_text(question.graded) or 'no mark'}."
    if question.comment:
        yield from (f"{_INDENT}{line}" for line in question.comment.splitlines())
    if question.reason:
        yield f"{_INDENT}{question.reason}"
    for check in result.checks if result else ():
        labels = [label for label in check.labels if label.key == question.key]
        for label in labels:
            yield from _label(label)
        if labels and check.reason and check.reason != question.reason:
            yield f"{_INDENT}{check.reason}"
        if labels:
            yield from (f"{_INDENT}rests on: {claim}" for claim in check.claims)
            for call in check.calls[:_MOST_CALLS]:
                told = f"{call.call} → {call.result or call.status}"
                yield f"{_INDENT}  {told} ({call.milliseconds:.1f} ms)"
            if len(check.calls) > _MOST_CALLS:
                more = len(check.calls) - _MOST_CALLS
                yield f"{_INDENT}  and {more} more calls, which --json lists"


def _label(label: GradedLabel) -> Iterator[str]:
    hidden = " (hidden)" if label.hidden and not label.label.endswith("(hidden)") else ""
    weight = f"weight {number_text(label.earned)} of {number_text(label.total)}"
    yield f"{_INDENT}{label.label}{hidden}: {weight}"
    for each in label.conditions:
        sign = "passed" if each.passed else "failed"
        why = f" [{each.reason}]" if each.reason else ""
        # The author's text is for a condition that does not hold.
        told = f"(on failure: {each.message})" if each.passed else each.message
        yield f"{_INDENT}  {sign} {number_text(each.weight):>4}  {told}{why}"


def _sum(grade: StudentGrade) -> Iterator[str]:
    """Yield the total as a sum of checks and people."""
    parts = [each for each in (grade.auto, grade.manual) if each is not None]
    total = number_text(grade.total)
    if total:
        terms = f"{' + '.join(map(number_text, parts))} = " if len(parts) > 1 else ""
        saved = "" if sum_of_marks(parts) == grade.total else " (as mograder 0.3.16 saved it)"
        yield f"  Total: {terms}{total}{saved}"


def _told(given: GivenMark, saved: Sequence[str]) -> str:
    mark = given.mark
    said = " ".join(" ".join([given.details.reason, *saved, mark.comment]).split())
    if mark.question == WHOLE and mark.points is None and said:
        return f"comment, {mark.marker}{_on(mark.at)}: {said}"
    what = mark.question or "all questions without checks"
    points = "withdrawn" if mark.points is None else number_text(mark.points)
    return f"{what}: {points}, {mark.marker}{_on(mark.at)}{f': {said}' if said else ''}"


@click.command("check")
@click.argument("assignments", nargs=-1)
@course_option
def check(*, assignments: tuple[str, ...], loaded: LoadedSettings) -> None:
    """Find damage, and marks that need a look.

    Among these are totals that 0.3.16 computed wrongly, marks that it exported without their
    penalty, and marks without a submission. Nothing is changed. It ends with 1 if there is damage.
    """
    names: list[str] = []
    if assignments:
        with viewed_gradebook(loaded.gradebook_path) as book:
            names = [assignment_named(book, each) for each in assignments]
    key = cache(lambda: grading_key(loaded))  # read, or made, for the first signature only

    def verifies(run: RecordedRun) -> bool:
        return not result_of_run(key(), run).problem

    lines = tuple(all_well(check_gradebook(loaded, verifies, names)))
    for line in lines:
        click.echo(plain(str(line)))
        if line.hint:
            click.echo(plain(f"       {line.hint}"))
    if problems(lines):
        raise click.exceptions.Exit(1)
