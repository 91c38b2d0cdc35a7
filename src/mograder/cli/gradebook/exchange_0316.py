"""``mograder gradebook import-0316`` and ``export-0316``: marks from and for mograder 0.3.16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from mograder.cli.gradebook.book import existing_book, viewed_or_empty
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import EXISTING_FILE, FILE
from mograder.core.clock import SystemClock
from mograder.core.name_lookup import counted
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import CourseLate
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_0316 import Outcome, Told

_dry_run = click.option(
    "--dry-run", is_flag=True, help="Tell what would change, and change nothing."
)


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
    path = loaded.gradebook_path
    # The marks of 0.3.16 in it are left to this command.
    opening: AbstractContextManager[Gradebook] = (
        viewed_or_empty(path, imports=False) if dry_run else Gradebook(path, imports=False)
    )
    with opening as book:
        told = book.import_0316(
            _other(file, path), SystemClock().now(), replaces=replace, dry_run=dry_run
        )
    _tell(told, "imported", dry_run=dry_run)


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
            CourseLate(loaded).deductions(book),
            SystemClock().now(),
            replaces=replace,
            dry_run=dry_run,
        )
    _tell(told, "exported", dry_run=dry_run)


def _other(file: Path | None, own: Path) -> Path | None:
    """Return the file, None if it is the course's own gradebook."""
    return None if file is None or file.resolve() == own.resolve() else file


def _tell(told: Sequence[Told], done: str, *, dry_run: bool) -> None:
    for each in told:
        sign = "LEFT: " if each.outcome is Outcome.CONFLICT else ""
        click.echo(plain(f"  {each.assignment}, {each.student}: {sign}{each.text}"))
    counts = Counter(each.outcome for each in told)
    left = counts[Outcome.CONFLICT]
    more = f", {left} left: give --replace, or mark them on one side only" if left else ""
    click.echo(f"{counted(counts[Outcome.DONE], 'row')} {done}{more}.")
    if dry_run:
        click.echo("Dry run — nothing was changed.")
    if left:
        raise click.exceptions.Exit(1)
