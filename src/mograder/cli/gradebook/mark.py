"""``mograder gradebook mark`` and ``confirm``: marks that a person gives."""

from __future__ import annotations

import click

from mograder.cli.gradebook.book import (
    account_name,
    assignment_named,
    existing_book,
    grade_named,
)
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import plain
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.name_lookup import counted
from mograder.core.settings import LoadedSettings
from mograder.grading.pages.page_templates import readable
from mograder.store.gradebook.grading_records import (
    NEEDS_ATTENTION,
    UNPROTECTED,
    WHOLE,
    MarkDetails,
    MarkEntry,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import waiting_for

marker_option = click.option(
    "--marker", help="Name of the person who marks.  [default: your account's name]"
)


@click.command("mark")
@click.argument("assignment")
@click.argument("student")
@click.argument("marks", nargs=-1, metavar="[QUESTION=POINTS]...")
@click.option(
    "--whole",
    metavar="POINTS",
    help="One mark for all questions without checks, or for a submission without questions.",
)
@click.option("--comment", help="The comment on the submission.")
@click.option(
    "--reason", default="", help="Why these marks replace those by grading; students read it."
)
@marker_option
@course_option
def mark(  # one argument per option
    *,
    assignment: str,
    student: str,
    marks: tuple[str, ...],
    whole: str | None,
    comment: str | None,
    reason: str,
    marker: str | None,
    loaded: LoadedSettings,
) -> None:
    """Give marks to a student, by question.

    A mark counts before the one by grading, and before earlier ones; `none` instead of points
    withdraws those that people gave. Another mark than grading's needs a --reason.
    """
    entries = {key: _entry(points, reason) for key, points in map(_parts, marks)}
    if whole is not None:
        entries[WHOLE] = MarkEntry(_points(whole), comment or "")
    if not entries and comment is None:
        raise click.UsageError("Give QUESTION=POINTS, --whole or --comment.")
    with existing_book(loaded) as book:
        name = assignment_named(book, assignment)
        grade = book.record_marks(
            name,
            grade_named(book.grades(name), student).student,
            entries,
            marker=marker or account_name(),
            at=SystemClock().now(),
            comment=comment,
        )
    click.echo(plain(_told(grade)))


@click.command("confirm")
@click.argument("assignment")
@click.argument("students", nargs=-1)
@marker_option
@course_option
def confirm(
    *, assignment: str, students: tuple[str, ...], marker: str | None, loaded: LoadedSettings
) -> None:
    """Confirm the marks of unprotected checks.

    They ran beside the answer, which could have forged such a mark, so that it counts only when a
    person has confirmed it. The same is done for marks that 0.3.16 read from the text of a
    notebook. Without STUDENTS those of all students are confirmed.
    """
    with existing_book(loaded) as book:
        name = assignment_named(book, assignment)
        grades = book.grades(name)
        chosen = [grade_named(grades, each) for each in students] or list(grades)
        confirmed = 0
        for grade in chosen:
            entries = _proposed(grade)
            if not entries:
                continue
            book.record_marks(
                name,
                grade.student,
                entries,
                marker=marker or account_name(),
                at=SystemClock().now(),
                version=grade.version,
            )
            confirmed += 1
    click.echo(f"Confirmed the marks of {counted(confirmed, 'student')}.")


def _proposed(grade: StudentGrade) -> dict[str, MarkEntry]:
    if grade.state == NEEDS_ATTENTION:
        return {}
    entries = {
        each.key: MarkEntry(each.points)
        for each in grade.questions
        if each.open and each.state == UNPROTECTED and each.points is not None
    }
    if grade.whole is not None and grade.whole.open:
        entries[WHOLE] = MarkEntry(grade.whole.points, grade.comment)
    return entries


def _entry(points: float | None, reason: str) -> MarkEntry:
    return MarkEntry(points, details=MarkDetails(reason=readable(reason).strip()))


def _parts(text: str) -> tuple[str, float | None]:
    """Return the question and the points of QUESTION=POINTS."""
    key, equals, points = text.rpartition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"{text!r} is not QUESTION=POINTS, such as Q3=7.5.")
    return key.strip(), _points(points)


def _points(text: str) -> float | None:
    if text.strip().casefold() == "none":
        return None
    try:
        return float(text.strip().replace(",", "."))
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not a number of points.") from error


def _told(grade: StudentGrade) -> str:
    total, maximum = number_text(grade.total), number_text(grade.max_mark)
    waiting = ", ".join(waiting_for(grade))
    told = f"{total} of {maximum}" if total else f"no total yet: {waiting}"
    return f"{grade.assignment}, {grade.student}: {told}"
