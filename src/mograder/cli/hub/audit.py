"""``mograder hub rotate-audit``: keep the audit log short without losing a line of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

import click

from mograder.cli.shared.course_settings import course_option
from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, NotFound
from mograder.core.files.atomic_file import fsync_directory
from mograder.core.settings import LoadedSettings
from mograder.store.database.database import database_url, open_engine, schema_version
from mograder.store.hub.audit_rotation import rotate_audit as rotate
from mograder.store.hub.hub_tables import AuditRow


@click.command("rotate-audit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    default=365,
    show_default=True,
    help="How much of the log stays in the database.",
)
@course_option
def rotate_audit(*, file: Path, keep_days: int, loaded: LoadedSettings) -> None:
    """Move old lines of the audit log into a file, while the hub runs.

    FILE is new; each line of it is one line of the log as JSON, the oldest first.
    """
    engine = open_engine(database_url(loaded.settings.database.url, loaded.course_dir))
    try:
        if schema_version(engine) is None:
            raise NotFound("No hub has run on this course yet.")
        before = SystemClock().now() - timedelta(days=keep_days)
        moved = 0
        with _new(file) as target:
            while count := rotate(engine, before, lambda rows: _keep(target, rows)):
                moved += count
    finally:
        engine.dispose()
    fsync_directory(file.absolute().parent)
    click.echo(f"Moved {moved} lines to {file}.")


def _new(file: Path) -> IO[str]:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Conflict(f"There is a file {file} already.", hint="Choose another name.") from error
    except FileNotFoundError as error:
        raise NotFound(f"There is no directory {file.parent}.") from error
    return os.fdopen(descriptor, "w", encoding="utf-8")


def _keep(target: IO[str], rows: Sequence[AuditRow]) -> None:
    """Write the rows and sync them to the disk, before they are deleted from the database."""
    for row in rows:
        line = {
            "number": row.number,
            "at": row.at.isoformat(),
            "who": row.who,
            "action": row.action,
            "what": row.what,
            "where": row.origin,
            "outcome": row.outcome,
        }
        target.write(json.dumps(line, ensure_ascii=False) + "\n")
    target.flush()
    os.fsync(target.fileno())
