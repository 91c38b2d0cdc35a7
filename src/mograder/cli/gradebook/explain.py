"""``mograder gradebook explain``: how one student's mark came about, for staff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from mograder.cli.gradebook.book import assignment_named, grade_named
from mograder.cli.shared.console import plain, when
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.result import Result, json_option
from mograder.core.csv_table import number_text
from mograder.core.settings import LoadedSettings
from mograder.exchange.gradebook_files import as_json as grade_json
from mograder.grading.late.course_late import CourseLate
from mograder.grading.late.late_work import late_sentence
from mograder.grading.results.grading_result import GradedLabel, GradingResult, grading_key
from mograder.grading.results.recorded_results import NO_RESULT, LastResult, last_results
from mograder.sandbox.execution.judging import JudgedCall
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.gradebook.grading_records import (
    EARLIER,
    MANUAL,
    WHOLE,
    QuestionGrade,
    RecordedMark,
    StudentGrade,
)

_INDENT = "      "
_MOST_CALLS = 10


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
        counted = CourseLate(loaded).counted(book, name)
        grade = grade_named([each.grade for each in counted], student)
        student = grade.student
        deduction = next(each.deduction for each in counted if each.grade is grade)
        last = NO_RESULT
        if grade.run is not None:  # the key may be made when it is needed first
            last = last_results(grading_key(loaded), book, name, (student,))[student]
        history = book.history(name, student)
    told = grade_json(grade) | {
        "late": late_sentence(grade, deduction),
        "result": last.result.model_dump(mode="json") if last.result else None,
        "problem": last.problem,
        "history": history,
    }
    lines = _lines(grade, last, history, late_sentence(grade, deduction))
    return Result(told, (plain(line).rstrip() for line in lines))


def _lines(
    grade: StudentGrade, last: LastResult, history: Sequence[RecordedMark], late: str
) -> Iterator[str]:
    final = number_text(grade.final) or "no mark"
    yield f"{grade.assignment}, {grade.student}: {final} of {number_text(grade.max_mark)}"
    if last.problem:
        yield f"  No conditions are shown: {last.problem}. Grade the submission again."
    for question in grade.questions:
        yield _heading(question)
        yield from _reasons(question, last.result)
    if grade.whole is not None:
        given = _given(grade.whole.marker, grade.whole.at)
        yield f"  All questions without checks: {_of(grade.whole)}{given}"
    yield from _sum(grade)
    if late:
        yield f"  Late work: {late}"
    if grade.comment:
        yield "  Comment:"
        yield from (f"{_INDENT}{line}" for line in grade.comment.splitlines())
    yield from (f"  {flag}." for flag in grade.flags)
    if grade.tampered:
        yield f"  Changed in the submission: {', '.join(grade.tampered)}"
    people = [each for each in history if each.marker]
    if people:
        yield "  Marks by people, oldest first:"
        yield from (f"{_INDENT}{_told(each)}" for each in people)


def _heading(question: QuestionGrade) -> str:
    if question.state == EARLIER and not question.marker:
        return f"  {question.key}: its marks are in the sum of the checks, which 0.3.16 graded"
    how = _given(question.marker, question.at) if question.marker else f", {question.state}"
    waits = f", {question.open}" if question.open else ""
    return f"  {question.key}: {_of(question)}{how}{waits}"


def _of(question: QuestionGrade) -> str:
    points = number_text(question.points) or "no mark"
    return f"{points} of {number_text(question.available)}" if question.available else points


def _given(marker: str, at: str) -> str:
    return f", given by {marker}{_on(at)}"


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
            yield from _calls(check.calls)


def _calls(calls: Sequence[JudgedCall]) -> Iterator[str]:
    for call in calls[:_MOST_CALLS]:
        told = f"{call.call} → {call.result or call.status}"
        yield f"{_INDENT}  {told} ({call.milliseconds:.1f} ms)"
    if len(calls) > _MOST_CALLS:
        yield f"{_INDENT}  and {len(calls) - _MOST_CALLS} more calls, which --json lists"


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
    parts = [number_text(each) for each in (grade.auto, grade.manual) if each is not None]
    total = number_text(grade.total)
    if total:
        terms = f"{' + '.join(parts)} = " if len(parts) > 1 else ""
        yield f"  Total: {terms}{total}"


def _told(mark: RecordedMark) -> str:
    if mark.question == WHOLE and mark.points is None and mark.comment:
        return f"comment, {mark.marker}{_on(mark.at)}: {' '.join(mark.comment.split())}"
    what = mark.question or "all questions without checks"
    points = "withdrawn" if mark.points is None else number_text(mark.points)
    said = f": {' '.join(mark.comment.split())}" if mark.comment else ""
    return f"{what}: {points}, {mark.marker}{_on(mark.at)}{said}"
