"""``mograder hub return-database``: put back the database from before an upgrade."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.options import Given, course_dir_option
from mograder.store.database.database import database_url, sqlite_url
from mograder.store.database.earlier_database import find_earlier, put_back
from mograder.store.gradebook.gradebook import GRADEBOOK_MIGRATIONS


@click.command("return-database")
@course_dir_option
@click.pass_obj
def return_database(given: Given, /, course_dir: Path | None) -> None:
    """Restore the databases as they were before an upgrade, while the hub is stopped.

    These are the hub's, and the marks if they are kept here. It does something only where a newer
    mograder has changed one. The changed one is kept beside the one that is put back. `mograder
    hub rollback` runs this.
    """
    loaded = load_course(given, course_dir)
    # Find both before changing either.
    found = [find_earlier(database_url(loaded.settings.database.url, loaded.course_dir))]
    gradebook = loaded.gradebook_path
    if gradebook.is_file():
        url = sqlite_url(gradebook)
        found.append(find_earlier(url, migrations=GRADEBOOK_MIGRATIONS, private=False))
    changed = [each for each in found if each is not None]
    if not changed:
        click.echo("The database is as this version needs it.")
    for each in changed:
        returned = put_back(each)
        click.echo(
            f"Put back {returned.copy.name}, of {returned.made:%Y-%m-%d %H:%M} UTC; "
            f"the newer database is kept as {returned.kept.name}"
        )
