"""``mograder hub move-database``: go on with the hub's state on PostgreSQL."""

from __future__ import annotations

import click

from mograder.cli.shared.course_settings import course_option
from mograder.core.settings import LoadedSettings
from mograder.store.migrations.moving import move_database as move


@click.command("move-database")
@course_option
def move_database(*, loaded: LoadedSettings) -> None:
    """Copy the hub's state from hub.db to PostgreSQL.

    It goes to the database that [database] url names. Stop the hub before. The database must be
    new: a hub that finds it so refuses to start beside hub.db, since revoked tokens would count
    again. hub.db stays as it is.
    """
    copied = move(loaded)
    click.echo(f"Copied {copied} rows. Start the hub, and remove hub.db when all is well.")
