"""``mograder hub return-database``: the database of before an upgrade, for an older version."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option
from mograder.store.database import database_url
from mograder.store.earlier_database import put_back_earlier


@click.command("return-database")
@course_dir_option
@click.pass_obj
def return_database(given: Given, /, course_dir: Path | None) -> None:
    """Put back the hub's database of before an upgrade, while the hub is stopped.

    It does something only where a newer mograder has changed the database. The changed one is kept
    beside the one that is put back. `mograder hub rollback` runs this.
    """
    loaded = load_course(given, course_dir)
    returned = put_back_earlier(database_url(loaded.settings.database.url, loaded.course_dir))
    if returned is None:
        click.echo("The database is as this version needs it.")
        return
    click.echo(
        f"Put back {returned.copy.name}, of {returned.made:%Y-%m-%d %H:%M} UTC; "
        f"the newer database is kept as {returned.kept.name}"
    )
