"""``mograder feedback``: a page for each student, and deductions for late submissions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click

from mograder.cli.files import save_file
from mograder.cli.gradebook.book import existing_book, marker_name
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.named_assignments import assignment_named, course_of, named_files
from mograder.cli.shared.options import DIRECTORY, FILE
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput
from mograder.core.item_dates import END_OF_DAY, given_zone, read_moment
from mograder.core.name_lookup import counted, listed
from mograder.core.names import nfc
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import assignment_csv
from mograder.grading.course_late import CountedGrade, CourseLate
from mograder.grading.late_work import NO_DEDUCTION, Basis
from mograder.grading.release.feedback import WrittenPage, works_of, write_pages
from mograder.grading.release.feedback_view import Disclosure, GradedWork
from mograder.grading.submissions.grading_result import grading_key
from mograder.store.course.course import refuse_to_replace, shown
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.gradebook import Gradebook, OneTransaction
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import LateFacts, LateWork, PolicyChange
from mograder.store.submissions.submitted_files import reads_as_a_submission


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
    "-o", "--output-dir", type=DIRECTORY, help="Where the pages go.  [default: feedback/ASSIGNMENT]"
)
@click.option(
    "--grades-csv", type=FILE, help="Write the marks into this file, as the uploads read it."
)
@click.option("--timeout", type=int, default=300, help="Has no effect: no notebook is run.")
@click.option("-j", "--jobs", type=int, default=4, help="Has no effect.")
@click.option(
    "--no-penalties",
    is_flag=True,
    help="Deduct nothing for lateness, until the next run without this option.",
)
@click.option(
    "--due-date",
    metavar="TIME",
    help="As 2026-11-22T18:00+01:00 (without an offset: in the course's timezone, else UTC), "
    "2026-11-22 for the whole day, or seconds since 1970.  It counts until the next run.  "
    "[default: the due date that is set]",
)
@course_option
def feedback(
    assignments: tuple[str, ...],
    *,
    output_dir: Path | None,
    grades_csv: Path | None,
    timeout: int,
    jobs: int,
    no_penalties: bool,
    due_date: str | None,
    loaded: LoadedSettings,
) -> None:
    """Write a page of feedback for each student.

    It has the mark with the reason for each point, what markers say, the deduction for lateness
    ([penalties] in mograder.toml) and the notebook as it ran. ASSIGNMENTS are names in the course's
    directory of graded submissions, or their beginnings up to a dash, or paths (in another course:
    with its settings and gradebook). The uploads send the same marks, with the same deductions.
    Exits with 1 if a page could not be written.
    """
    del timeout, jobs  # 0.3.16 ran notebooks here
    chosen = _choose(assignments, loaded)
    if len(chosen) > 1 and (output_dir or grades_csv):
        raise click.UsageError("--output-dir and --grades-csv are for one assignment at a time.")
    if (no_penalties or due_date) and not all(each.whole for each in chosen):
        raise click.UsageError("Name the assignment: --no-penalties and --due-date are for all.")
    loaded = course_of((each.directory for each in chosen), "autograded", loaded)
    settings = loaded.settings
    given = None if due_date is None else read_moment(due_date, given_zone(settings), END_OF_DAY)
    failed = 0
    with existing_book(loaded) as book:
        click.echo(f"Reading grades from {shown(loaded.gradebook_path)}")
        for each in chosen:
            output = output_dir or loaded.path(settings.dirs.feedback) / each.assignment
            refuse_to_replace(output, each.directory)
            late = CourseLate(loaded, submitted=loaded.path(settings.dirs.submitted))
            terms = late.terms(each.assignment, _record_terms(book, each, given, off=no_penalties))
            if terms.rule.enabled and not (terms.due.general or terms.due.extensions):
                click.echo("WARNING: no due date found — skipping penalties", err=True)
            now = SystemClock().now()
            disclosure = Disclosure.of(settings, each.assignment, due=terms.due.last, now=now)
            found, works = _read(each, book, late, grading_key(loaded))
            _tell_counted(found)
            for page in write_pages(works, disclosure, each.directory, output):
                failed += bool(page.problem)
                _tell_page(page)
            if grades_csv is not None:
                _write_csv(grades_csv, [counted.grade for counted in found])
    if failed:
        raise click.exceptions.Exit(1)


def _tell_page(page: WrittenPage) -> None:
    path = plain(shown(page.path))
    if page.problem:
        click.echo(f"  FAILED: {path} — {plain(page.problem)}", err=True)
    else:
        click.echo(f"  Exported: {path}")


def _tell_counted(found: Sequence[CountedGrade]) -> None:
    graded = sum(each.grade.total is not None for each in found)
    click.echo(f"{graded}/{len(found)} notebooks have been graded")
    late = sum(bool(each.grade.penalty_pct) for each in found)
    if late:
        click.echo(f"Late penalties applied to {counted(late, 'submission')}")
    unknown = [
        each.grade.student
        for each in found
        if each.deduction.basis is Basis.NO_TIME and each.deduction.due is not None
    ]
    if unknown:
        names = plain(listed(unknown))
        click.echo(f"WARNING: no time of submission is known of {names}", err=True)


def _write_csv(path: Path, grades: Sequence[StudentGrade]) -> None:
    with suppress(OSError):  # told when the file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    save_file(path, assignment_csv(list(grades), filled=True))
    click.echo(f"Grades written to {path}")


def _record_terms(
    book: Gradebook, chosen: _Chosen, due: datetime | None, *, off: bool
) -> LateFacts:
    """Record the due date and whether there are deductions, as this run was told; return all.

    Every later computation of marks uses them, until the next run for the whole assignment. A run
    for some students changes nothing: these count for the others, too.

    Raises: InvalidInput for a directory whose name is no assignment's.
    """
    work = LateWork(book)
    facts = work.facts()
    if not chosen.whole:
        return facts
    known = {each.name for each in book.assignments()}
    if known and chosen.assignment not in known:  # as after `mograder autograde -o`
        raise InvalidInput(
            f"The gradebook has no assignment {chosen.assignment}.",
            hint=f"Name one of {', '.join(sorted(known))}, or a directory of this name.",
        )
    held = facts.policy(chosen.assignment)
    change = PolicyChange(chosen.assignment, replace(held, due=due, off=off))
    if change.policy != held:
        work.record([change], by=marker_name(), at=SystemClock().now(), version=facts.version)
    return facts.after([change])


def _choose(arguments: Sequence[str], loaded: LoadedSettings) -> tuple[_Chosen, ...]:
    """Raise InvalidInput for an argument that means nothing, or several things."""
    base = loaded.path(loaded.settings.dirs.autograded)

    def by_name(named: str) -> Path:
        empty = "Nothing is graded yet: `mograder autograde`."
        return entry_named(base, assignment_named(named, [base], empty))

    return tuple(_chosen(*place) for place in named_files(arguments, by_name).items())


def _chosen(directory: Path, files: Sequence[Path] | None) -> _Chosen:
    copies = (
        nfc(path.stem)
        for path in directory.glob("*.py")
        if path.name[0] != "." and not reads_as_a_submission(path.stem)
    )
    every = tuple(sorted(copies))
    if not every:
        raise InvalidInput(
            f"No .py files in {shown(directory)}", hint="Grade first: `mograder autograde`."
        )
    students = tuple(dict.fromkeys(nfc(path.stem) for path in files or ()))
    # All copies of an assignment, as by ``autograded/A1/*.py``, are the whole of it.
    whole = files is None or set(every) <= set(students)
    return _Chosen(nfc(directory.name), directory, every if whole else students, whole)


def _read(
    chosen: _Chosen, book: Gradebook, late: CourseLate, key: bytes
) -> tuple[Sequence[CountedGrade], Sequence[GradedWork]]:
    """Return marks and works of one time: no grading comes between them."""
    with book.reading() as connection:
        at_once = OneTransaction(connection)
        found = _counted(chosen, at_once, late)
        return found, works_of(key, at_once, chosen.assignment, found)


def _counted(chosen: _Chosen, book: Gradebook, late: CourseLate) -> tuple[CountedGrade, ...]:
    """Return the marks of the students; one without a row in the gradebook has none."""
    known = {nfc(each.grade.student): each for each in late.counted(book, chosen.assignment)}
    wanted = sorted({*chosen.students, *known}) if chosen.whole else chosen.students
    return tuple(
        known.get(name) or CountedGrade(StudentGrade(chosen.assignment, name), NO_DEDUCTION)
        for name in wanted
    )
