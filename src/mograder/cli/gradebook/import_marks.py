"""``mograder gradebook import``: marks by question from a CSV file."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.gradebook.book import account_name, assignment_named, existing_book
from mograder.cli.gradebook.mark import marker_option
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import plain
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.name_lookup import counted
from mograder.core.settings import LoadedSettings
from mograder.exchange.gradebook_import import FilledMarks, filled_marks


@click.command("import")
@click.argument("assignment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@marker_option
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@course_option
def import_marks(
    *, assignment: str, file: Path, marker: str | None, dry_run: bool, loaded: LoadedSettings
) -> None:
    """Take marks by question from a CSV file.

    FILE is one that `mograder gradebook export ASSIGNMENT` wrote, in which people have filled in or
    changed marks and comments. Only what differs is recorded, and all rows are checked first.
    """
    with existing_book(loaded) as book:
        name = assignment_named(book, assignment)
        changes = filled_marks(read_bytes(file), str(file), book.grades(name))
        for each in changes:
            click.echo(plain(_told(each)))
            if not dry_run:
                book.record_marks(
                    name,
                    each.grade.student,
                    each.marks,
                    marker=marker or account_name(),
                    at=SystemClock().now(),
                    comment=each.comment,
                    version=each.grade.version,
                )
    click.echo(f"{name}: {counted(len(changes), 'student')} changed.")
    if dry_run:
        click.echo("Dry run — nothing was recorded.")


def _told(change: FilledMarks) -> str:
    held = {each.key: each.points for each in change.grade.questions}
    parts = [
        f"{key} {number_text(held[key]) or '-'} -> {number_text(entry.points)}"
        for key, entry in change.marks.items()
    ]
    if change.comment is not None:
        parts.append("comment")
    return f"  {change.grade.student}: {', '.join(parts)}"
