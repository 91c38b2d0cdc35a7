"""``mograder feedback``: a page for each student, and deductions for late submissions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click

from mograder.cli.gradebook.book import existing_book
from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.formatting import plain
from mograder.cli.shared.named_assignments import assignment_named, path_named
from mograder.cli.shared.options import Given, course_dir_option
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.name_lookup import listed, nfc
from mograder.core.settings import LoadedSettings
from mograder.exchange.collecting import read_numbers
from mograder.exchange.gradebook_export import assignment_csv
from mograder.grading.feedback.due_dates import DueDates, due_dates
from mograder.grading.feedback.feedback import (
    FeedbackRequest,
    record_deductions,
    works_of,
    write_pages,
)
from mograder.grading.feedback.late_policy import parse_due
from mograder.grading.results.result_signature import grading_key
from mograder.store.assignments import MANIFEST_FILE, Catalogue
from mograder.store.course import shown
from mograder.store.files import atomic_write, entry_named
from mograder.store.gradebook import Gradebook
from mograder.store.grading_records import StudentGrade
from mograder.store.history import reads_as_a_submission

_SUFFIX = ".py"
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The students of one assignment; ``directory`` has the copies of their submissions.

    ``whole`` is whether they are all of them.
    """

    assignment: str
    directory: Path
    students: tuple[str, ...]
    whole: bool


@click.command("feedback")
@click.argument("assignments", nargs=-1, required=True)
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pages go.  [default: feedback/ASSIGNMENT]",
)
@click.option(
    "--grades-csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the marks into this file, as the uploads read it.",
)
@click.option("--timeout", type=int, default=300, help="Has no effect: no notebook is run.")
@click.option("-j", "--jobs", type=int, default=4, help="Has no effect.")
@click.option("--no-penalties", is_flag=True, help="Deduct nothing for lateness.")
@click.option(
    "--due-date",
    metavar="TIME",
    help="Seconds since 1970, or as 2026-11-22T18:00+01:00 (without an offset: UTC).  "
    "[default: duedate in [[assignments]]]",
)
@course_dir_option
def feedback(
    assignments: tuple[str, ...],
    *,
    output_dir: Path | None,
    grades_csv: Path | None,
    timeout: int,
    jobs: int,
    no_penalties: bool,
    due_date: str | None,
    course_dir: Path | None,
) -> None:
    """Write a page of feedback for each student.

    It has the mark with the reason for each point, what markers say, the deduction for lateness
    ([penalties] in mograder.toml) and the notebook as it ran. ASSIGNMENTS are names in the course's
    directory of graded submissions, or their beginnings up to a dash, or paths. The uploads send
    the same marks. Exits with 1 if a page could not be written.
    """
    del timeout, jobs  # 0.3.16 ran notebooks here
    loaded = load_course(Given(), course_dir)
    chosen = _choose(assignments, loaded)
    if len(chosen) > 1 and (output_dir or grades_csv):
        raise click.UsageError("--output-dir and --grades-csv are for one assignment at a time.")
    given = None if due_date is None else parse_due(due_date)
    failed = 0
    with existing_book(loaded) as book:
        click.echo(f"Reading grades from {shown(loaded.gradebook_path)}")
        for each in chosen:
            request = _request(each, loaded, output_dir, given, penalties=not no_penalties)
            failed += _write(each, request, book, grades_csv)
    if failed:
        raise click.exceptions.Exit(1)


def _write(
    chosen: _Chosen, request: FeedbackRequest, book: Gradebook, grades_csv: Path | None
) -> int:
    """Write the pages and the CSV of an assignment; return the number of pages that failed."""
    before = works_of(request, book, _grades(chosen, book))
    graded = sum(each.work.grade.total is not None for each in before)
    click.echo(f"{graded}/{len(before)} notebooks have been graded")
    _tell_unknown_due(request)
    deductions = record_deductions(request, book, before)
    if deductions.late:
        click.echo(f"Late penalties applied to {deductions.late} submission(s)")
    if deductions.withdrawn:
        click.echo(f"Late penalties taken back from {deductions.withdrawn} submission(s)")
    if deductions.unknown:
        names = plain(listed(deductions.unknown))
        click.echo(f"WARNING: no time of submission is known of {names}", err=True)
    grades = {each.student: each for each in _grades(chosen, book)}
    works = (
        replace(each, work=replace(each.work, grade=grades[each.work.grade.student]))
        for each in before
    )
    failed = 0
    for page in write_pages(request, works):
        failed += bool(page.problem)
        path = plain(shown(page.path))
        if page.problem:
            click.echo(f"  FAILED: {path} — {plain(page.problem)}", err=True)
        else:
            click.echo(f"  Exported: {path}")
    if grades_csv is not None:
        grades_csv.parent.mkdir(parents=True, exist_ok=True)
        text = assignment_csv(list(grades.values()), filled=True)
        atomic_write(grades_csv, text.encode(), _PRIVATE)
        click.echo(f"Grades written to {grades_csv}")
    return failed


def _tell_unknown_due(request: FeedbackRequest) -> None:
    if request.penalties and request.due.last is None:
        click.echo("WARNING: no due date found — skipping penalties", err=True)


def _choose(arguments: Sequence[str], loaded: LoadedSettings) -> tuple[_Chosen, ...]:
    """Return the students that the arguments mean, by assignment.

    Raises:
        InvalidInput: An argument means nothing, or several things.
    """
    found: dict[Path, _Chosen] = {}
    for argument in arguments:
        each = _named(argument, loaded)
        known = found.get(each.directory)
        if known is not None and not known.whole and not each.whole:
            each = replace(known, students=tuple(dict.fromkeys(known.students + each.students)))
        if known is None or not known.whole:
            found[each.directory] = each
    return tuple(found.values())


def _named(argument: str, loaded: LoadedSettings) -> _Chosen:
    at_path = path_named(argument)
    if at_path is None:
        base = loaded.path(loaded.settings.dirs.autograded)
        name = assignment_named(argument, [base], "Nothing is graded yet: `mograder autograde`.")
        return _all(entry_named(base, name))
    directory, notebook = at_path
    if notebook is None:
        return _all(directory)
    return _Chosen(nfc(directory.name), directory, (nfc(notebook.stem),), whole=False)


def _all(directory: Path) -> _Chosen:
    copies = (
        nfc(path.stem)
        for path in directory.glob(f"*{_SUFFIX}")
        if path.name[0] != "." and not reads_as_a_submission(path.stem)
    )
    students = tuple(sorted(copies))
    if not students:
        raise InvalidInput(
            f"No .py files in {shown(directory)}", hint="Grade first: `mograder autograde`."
        )
    return _Chosen(nfc(directory.name), directory, students, whole=True)


def _grades(chosen: _Chosen, book: Gradebook) -> tuple[StudentGrade, ...]:
    """Return the marks of the students; one without a row in the gradebook has none."""
    known = {nfc(each.student): each for each in book.grades(chosen.assignment)}
    wanted = sorted({*chosen.students, *known}) if chosen.whole else chosen.students
    return tuple(known.get(name) or StudentGrade(chosen.assignment, name) for name in wanted)


def _request(
    chosen: _Chosen,
    loaded: LoadedSettings,
    output: Path | None,
    given: datetime | None,
    *,
    penalties: bool,
) -> FeedbackRequest:
    settings = loaded.settings
    base = chosen.directory.parent.parent
    own = loaded.path(settings.dirs.autograded)
    inside = chosen.directory.parent in (own, own.absolute())
    submitted = loaded.path(settings.dirs.submitted) if inside else base / settings.dirs.submitted
    pages = loaded.path(settings.dirs.feedback) if inside else base / settings.dirs.feedback
    return FeedbackRequest(
        assignment=chosen.assignment,
        autograded=chosen.directory,
        output=output or pages / chosen.assignment,
        settings=settings,
        key=grading_key(loaded),
        now=SystemClock().now(),
        due=_due(chosen.assignment, loaded, given),
        received=read_numbers(entry_named(submitted, chosen.assignment)),
        penalties=penalties and settings.penalties.enabled,
    )


def _due(name: str, loaded: LoadedSettings, given: datetime | None) -> DueDates:
    """Return the due dates; those of an assignment server if the course is one's."""
    served = None
    if (loaded.course_dir / MANIFEST_FILE).is_file():
        try:
            served = Catalogue(loaded.course_dir, None).find(name)
        except NotFound:
            served = None
        except MograderError as error:
            click.echo(f"WARNING: {plain(error.message)}", err=True)
    return due_dates(name, loaded.settings.assignments, served, given)
