"""``mograder gradebook mark``, ``confirm`` and ``import``: marks that people give."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from functools import partial
from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.gradebook.book import (
    assignment_named,
    existing_book,
    grade_named,
    marker_name,
)
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import EXISTING_FILE
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.item_dates import course_zone
from mograder.core.name_lookup import counted, listed
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import FilledMarks, filled_marks
from mograder.grading.course_late import CountedGrade, CourseLate
from mograder.grading.late_work import late_sentence
from mograder.grading.pages.page_templates import readable
from mograder.store.gradebook.gradebook import Gradebook
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
    withdraws those that people gave. Another mark than grading's needs a --reason. Comments stay.
    """
    points: dict[str, float | None] = {}
    for each in marks:
        key, equals, given = each.rpartition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"{each!r} is not QUESTION=POINTS, such as Q3=7.5.")
        points[key.strip()] = _points(given)
    if len(points) < len(marks):
        raise click.UsageError("Give one mark for each question.")
    if whole is not None:
        points[WHOLE] = _points(whole)
    if not points and comment is None:
        raise click.UsageError("Give QUESTION=POINTS, --whole or --comment.")
    with existing_book(loaded) as book:
        name = assignment_named(book, assignment)
        before = grade_named(book.grades(name), student)
        _record(book, before, _entries(before, points, reason), marker, comment)
        (after,) = CourseLate(loaded).counted(book, name, (before.student,))
    click.echo(plain(_told(after, course_zone(loaded.settings))))


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
            _record(book, grade, entries, marker)
            confirmed += 1
    click.echo(f"Confirmed the marks of {counted(confirmed, 'student')}.")


def _record(
    book: Gradebook,
    grade: StudentGrade,
    marks: Mapping[str, MarkEntry],
    marker: str | None,
    comment: str | None = None,
) -> None:
    """Record marks in place of those of ``grade``; raises as :meth:`Gradebook.record_marks`."""
    book.record_marks(
        grade.assignment,
        grade.student,
        marks,
        marker=marker or marker_name(),
        at=SystemClock().now(),
        comment=comment,
        version=grade.version,
    )


def _proposed(grade: StudentGrade) -> dict[str, MarkEntry]:
    if grade.state == NEEDS_ATTENTION:
        return {}
    entries = {
        each.key: MarkEntry(each.points, each.comment)
        for each in grade.questions
        if each.open and each.state == UNPROTECTED and each.points is not None
    }
    if grade.whole is not None and grade.whole.open:
        entries[WHOLE] = MarkEntry(grade.whole.points, grade.comment)
    return entries


def _entries(
    grade: StudentGrade, points: Mapping[str, float | None], reason: str
) -> dict[str, MarkEntry]:
    """Return marks with the comments that there are; a mark that is withdrawn takes its own."""
    comments = {each.key: each.comment for each in grade.questions}
    details = MarkDetails(reason=readable(reason).strip())
    entries = {
        key: MarkEntry(
            given, comments.get(key, "") if given is not None else "", details, keeps_saved=True
        )
        for key, given in points.items()
        if key != WHOLE
    }
    if WHOLE in points:
        entries[WHOLE] = MarkEntry(points[WHOLE], grade.comment)
    return entries


def _points(text: str) -> float | None:
    if text.strip().casefold() == "none":
        return None
    refused, number = click.UsageError(f"{text!r} is not a number of points."), text.strip()
    if "_" in number or not number.isascii():  # float() reads 1_0 as 10
        raise refused
    try:
        return float(number.replace(",", "."))
    except ValueError as error:
        raise refused from error


def _told(after: CountedGrade, zone: tzinfo | None) -> str:
    """Return the mark that counts, with the sum of a deduction for late work."""
    grade = after.grade
    final, maximum = number_text(grade.final), number_text(grade.max_mark)
    waiting = ", ".join(waiting_for(grade))
    told = f"{final} of {maximum}" if final else f"no total yet: {waiting}"
    if after.deduction.percent:
        told += f"; {late_sentence(grade, after.deduction, zone)}"
    return f"{grade.assignment}, {grade.student}: {told}"


@click.command("import")
@click.argument("assignment")
@click.argument("file", type=EXISTING_FILE)
@marker_option
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@course_option
def import_marks(
    *, assignment: str, file: Path, marker: str | None, dry_run: bool, loaded: LoadedSettings
) -> None:
    """Take marks by question from a CSV file.

    FILE is one that `mograder gradebook export ASSIGNMENT` wrote, in which people have filled in or
    changed marks and comments. Only what was changed in it is recorded, and all rows are checked
    first: one with a cell for a mark that was changed here, too, since the export is refused. A
    changed `mark` is the new total where people give one mark for the whole, else it is not read.
    """
    with existing_book(loaded, writes=not dry_run) as book:
        name = assignment_named(book, assignment)
        earlier = partial(book.grade_at, name)
        rows = filled_marks(read_bytes(file), str(file), book.grades(name), earlier)
        changes = [each for each in rows if each.changes]
        for each in changes:
            if not dry_run:
                _record(book, each.grade, each.marks, marker, each.comment)
            click.echo(plain(_filled(each)))  # those told are recorded, also if the next is refused
    click.echo(f"{name}: {counted(len(changes), 'student')} changed.")
    if dry_run:
        click.echo("Dry run — nothing was recorded.")
    if sums := [each.grade.student for each in rows if each.has_other_sum]:
        told = f"not read of {listed(sums)}, since it is the sum of the questions"
        click.echo(plain(f"Warning: the column mark was {told}: change these instead."), err=True)


def _filled(change: FilledMarks) -> str:
    held = {each.key: each.points for each in change.grade.questions}
    held[WHOLE] = change.grade.whole.points if change.grade.whole else None
    parts = [
        f"{key or 'the whole'} {number_text(held[key]) or '-'} -> {number_text(entry.points)}"
        for key, entry in change.marks.items()
    ]
    if change.comment is not None:
        parts.append("comment")
    return f"  {change.grade.student}: {', '.join(parts)}"
