"""``mograder gradebook release`` and ``withdraw``: what students see of their marks."""

from __future__ import annotations

import click

from mograder.cli.gradebook.book import assignment_named, existing_book, marker_name
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import together
from mograder.cli.shared.released import warn_of_reservations
from mograder.core.clock import SystemClock
from mograder.core.item_dates import given_zone, read_moment
from mograder.core.name_lookup import counted, listed
from mograder.core.settings import LoadedSettings
from mograder.grading.late_work import moment
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import Released, chosen_students, take_back
from mograder.grading.release.releasing import release as release_marks
from mograder.grading.release.student_marks import telling, untold_students
from mograder.grading.submissions.grading_result import grading_key

_options = together(
    click.argument("assignment"),
    click.option("--student", "students", multiple=True, help="Only this student; repeatable."),
    click.option("--group", "groups", multiple=True, help="Only the students of this group."),
    click.option("--by", help="Name of the person who does it.  [default: your account's name]"),
    click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing."),
    course_option,
)


@click.command("release")
@click.option(
    "--at",
    "visible",
    metavar="TIME",
    help="From then on, as 2026-12-01T09:00+01:00 (without an offset: in the course's timezone, "
    "else UTC), or seconds since 1970.  [default: now]",
)
@click.option("--note", default="", help="For the staff of the course.")
@_options
def release(  # one argument per option
    *,
    assignment: str,
    students: tuple[str, ...],
    groups: tuple[str, ...],
    visible: str | None,
    note: str,
    by: str | None,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Let students see their marks and feedback.

    They see the marks as they are now until the next release, also if the gradebook changes.
    Students without a mark are left out. From the first release of an assignment on, the uploads
    to Moodle and to an assignment server send released marks only.
    """
    at = None if visible is None else read_moment(visible, given_zone(loaded.settings))
    with existing_book(loaded, writes=not dry_run) as book:
        name = assignment_named(book, assignment)
        now = SystemClock().now()
        chosen = chosen_students(book, name, students, groups)
        feedback = CourseFeedback(loaded, book, name, grading_key(loaded), now)
        warn_of_reservations(name, feedback.grades(chosen))
        done = release_marks(
            feedback, chosen, at=at, by=by or marker_name(), note=note, dry_run=dry_run
        )
        tells = telling(feedback)
        asked = {*done.students, *done.unchanged}
        waiting = [each for each in untold_students(feedback, tells) if each in asked]
    begin = "" if at is None else moment(at, tells.ahead.zone)
    if done.unchanged and not done.students:
        later = f", or will from {begin}" if begin else ""
        seen = f"nothing to change; {_see(len(done.unchanged))} these marks already{later}"
    elif begin:
        seen = f"{counted(len(done.students), 'student')} will see their marks from {begin}"
    else:
        seen = f"{_see(len(done.students))} their marks"
    _tell(done, f"{name}: {seen}.", dry_run=dry_run)
    if waiting and tells.ahead.later is not None:
        until = moment(tells.ahead.later, tells.ahead.zone)
        told = f"Not before {until}, as they tell results of hidden tests: {listed(waiting)}."
        click.echo(plain(told))


@click.command("withdraw")
@click.option("--note", required=True, help="What students read in place of their marks.")
@_options
def withdraw(
    *,
    assignment: str,
    students: tuple[str, ...],
    groups: tuple[str, ...],
    note: str,
    by: str | None,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Take released marks back.

    Students read the note in their place. Marks that were uploaded to Moodle or to an assignment
    server stay there.
    """
    with existing_book(loaded, writes=not dry_run) as book:
        name = assignment_named(book, assignment)
        now = SystemClock().now()
        feedback = CourseFeedback(loaded, book, name, grading_key(loaded), now)
        chosen = chosen_students(book, name, students, groups)
        done = take_back(feedback, chosen, by=by or marker_name(), note=note, dry_run=dry_run)
    _tell(
        done, f"{name}: taken back from {counted(len(done.students), 'student')}.", dry_run=dry_run
    )


def _see(students: int) -> str:
    return counted(students, "student sees", "students see")


def _tell(done: Released, summary: str, *, dry_run: bool) -> None:
    for student in done.students:
        click.echo(plain(f"  {student}"))
    for student, why in done.left_out:
        click.echo(plain(f"  left out: {student}: {why}"))
    click.echo(plain(summary))
    if dry_run:
        click.echo("Dry run — nothing was changed.")
