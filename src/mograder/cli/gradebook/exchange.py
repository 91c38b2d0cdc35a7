"""Exchanging marks: ``gradebook export``, and ``import-0316`` and ``export-0316``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import click

from mograder.cli.files import print_file, write_private
from mograder.cli.gradebook.book import assignment_named, existing_book, viewed_or_empty
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import EXISTING_FILE, FILE, output_file_option
from mograder.cli.shared.released import warn_of_reservations
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.errors import NotFound
from mograder.core.name_lookup import counted, listed
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import (
    as_json,
    assignment_csv,
    course_csv,
    moodle_csv,
    question_csv,
    server_csv,
)
from mograder.grading.course_late import CourseLate
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.gradebook_0316 import Outcome, Told
from mograder.store.gradebook.grading_records import StudentGrade

_BY_QUESTION, _BY_ASSIGNMENT = "question", "assignment"
_CSV, _MOODLE, _HTTPS, _JSON = "csv", "moodle", "https", "json"
_Render = Callable[[Sequence[StudentGrade]], str]
_RENDERERS: Mapping[tuple[str, str], _Render] = MappingProxyType(
    {
        (_CSV, _BY_QUESTION): question_csv,
        (_CSV, _BY_ASSIGNMENT): assignment_csv,
        (_MOODLE, _BY_ASSIGNMENT): moodle_csv,
        (_HTTPS, _BY_ASSIGNMENT): server_csv,
    }
)

_dry_run = click.option(
    "--dry-run", is_flag=True, help="Tell what would change, and change nothing."
)


@click.command("export")
@click.argument("assignment", required=False)
@click.option(
    "--by",
    type=click.Choice([_BY_QUESTION, _BY_ASSIGNMENT]),
    help="One mark for each question, or one for each assignment.  [default: question for csv "
    "and json of one assignment, else assignment]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([_CSV, _MOODLE, _HTTPS, _JSON]),
    default=_CSV,
    show_default=True,
    help="moodle and https: the columns that the uploads to these need.",
)
@output_file_option
@course_option
def export(
    *,
    assignment: str | None,
    by: str | None,
    form: str,
    output: Path | None,
    loaded: LoadedSettings,
) -> None:
    """Write marks into a file.

    Without ASSIGNMENT there is a row for each student and a column for each assignment, with the
    mark that counts. `mograder moodle upload-feedback`, `mograder moodle export` and
    `mograder https upload-grades` read the files of one assignment by --grades-csv.
    """
    if by is None:
        detailed = assignment is not None and form in (_CSV, _JSON)
        by = _BY_QUESTION if detailed else _BY_ASSIGNMENT
    if form in (_MOODLE, _HTTPS) and (assignment is None or by == _BY_QUESTION):
        raise click.UsageError(
            f"--format {form} is for the marks of one ASSIGNMENT, --by assignment."
        )
    if form == _CSV and assignment is None and by == _BY_QUESTION:
        raise click.UsageError("--by question is for the marks of one ASSIGNMENT.")
    with viewed_gradebook(loaded.gradebook_path) as book:
        known = [each.name for each in book.assignments()]
        names = known if assignment is None else [assignment_named(book, assignment)]
        late = CourseLate(loaded)
        course = {name: late.grades(book, name) for name in names}
    for name, grades in course.items():
        warn_of_reservations(name, grades)
    if form == _JSON:
        told = [
            as_json(each, questions=by == _BY_QUESTION)
            for grades in course.values()
            for each in grades
        ]
        text = json.dumps(told, ensure_ascii=False, indent=1) + "\n"
    elif assignment is None:
        text = course_csv(course)
    else:
        text = _RENDERERS[form, by](course[names[0]])
    if output is None:
        print_file(text)
        return
    rows = sum(len(grades) for grades in course.values())
    content = f"the marks of {counted(rows, 'submission')}"
    write_private(output, text, content, for_spreadsheet=form == _CSV)


@click.command("import-0316")
@click.argument("file", required=False, type=EXISTING_FILE)
@click.option(
    "--replace",
    is_flag=True,
    help="Where both have changed a mark, let that of 0.3.16 count.",
)
@_dry_run
@course_option
def import_0316(*, file: Path | None, replace: bool, dry_run: bool, loaded: LoadedSettings) -> None:
    """Take over marks from the gradebook of mograder 0.3.16.

    FILE is that gradebook; by default it is the course's own, of which the first command that needs
    marks imports everything. Later only what 0.3.16 has changed since is taken: marks, comments and
    deductions; its grading counts for work that was never graded here. Marks of here stay in the
    history. Where people have marked the same work here, nothing is taken, and the command ends
    with 1.
    """
    path, at = loaded.gradebook_path, SystemClock().now()
    other = _other(file, path)
    if not path.is_file():
        if other is None:
            hint = "Give the gradebook of mograder 0.3.16, or the course by -C."
            raise NotFound(f"There is no gradebook {path}.", hint=hint)
        with viewed_or_empty(path) as book:  # a wrong FILE is refused before ours is made
            book.import_0316(other, at)
    # The marks of 0.3.16 in it are left to this command.
    opening: AbstractContextManager[Gradebook] = (
        viewed_or_empty(path, trial=True) if dry_run else Gradebook(path, imports=False)
    )
    with opening as book:
        told = book.import_0316(other, at, replaces=replace)
        differing = _other_deductions(loaded, book, other)
    _tell(told, "imported", differing, dry_run=dry_run)


@click.command("export-0316")
@click.argument("file", required=False, type=FILE)
@click.option(
    "--replace", is_flag=True, help="Write over what 0.3.16 has changed and is not imported."
)
@_dry_run
@course_option
def export_0316(*, file: Path | None, replace: bool, dry_run: bool, loaded: LoadedSettings) -> None:
    """Write the marks into a gradebook that mograder 0.3.16 reads.

    FILE is made or changed; by default it is the course's own gradebook. A row that 0.3.16 has
    changed since it was imported or exported last stays as it is, and the command ends with 1:
    import it first. [gradebook] export_0316 = true does this after each command that changes marks.
    """
    with existing_book(loaded, writes=not dry_run) as book:
        told = book.export_0316(
            _other(file, loaded.gradebook_path),
            CourseLate(loaded).deductions,
            SystemClock().now(),
            replaces=replace,
            dry_run=dry_run,
        )
    _tell(told, "exported", dry_run=dry_run)


def _other(file: Path | None, own: Path) -> Path | None:
    """Return the file, None if it is the course's own gradebook."""
    return None if file is None or file.resolve() == own.resolve() else file


def _other_deductions(loaded: LoadedSettings, book: Gradebook, file: Path | None) -> list[str]:
    """Return the marks that are others than 0.3.16's only after the deductions for lateness."""
    rows = {row.key: row for row, _ in book.marks_0316(file).submissions}
    late, found = CourseLate(loaded, lenient=True), []
    for each in chain.from_iterable(late.course(book).values()):
        grade = each.grade
        row = rows.get((grade.assignment, grade.student))
        if row is None or grade.total is None or row.total_mark != grade.total:
            continue
        theirs = row.total_mark if row.penalised_mark is None else row.penalised_mark
        if theirs != grade.final:
            ours = number_text(grade.final)
            found.append(f"{row.assignment} {row.student} {ours} (0.3.16: {number_text(theirs)})")
    return found


def _tell(told: Sequence[Told], done: str, differing: Sequence[str] = (), *, dry_run: bool) -> None:
    for each in told:
        sign = "LEFT: " if each.outcome is Outcome.CONFLICT else ""
        click.echo(plain(f"  {each.assignment}, {each.student}: {sign}{each.text}"))
    counts = Counter(each.outcome for each in told)
    left = counts[Outcome.CONFLICT]
    more = f", {left} left: give --replace, or mark them on one side only" if left else ""
    click.echo(f"{counted(counts[Outcome.DONE], 'row')} {done}{more}.")
    if differing:
        differ = "differs" if len(differing) == 1 else "differ"
        marks, names = counted(len(differing), "mark"), listed(differing, 5)
        click.echo(plain(f"{marks} after deductions {differ} from 0.3.16's: {names}."))
    if dry_run:
        click.echo("Dry run — nothing was changed.")
    if left:
        raise click.exceptions.Exit(1)
