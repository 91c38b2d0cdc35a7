"""The keeping of a hub's data: ``mograder hub rotate-audit``, ``move-database`` and ``prune``."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

import click

from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.hub_database import current_hub_state
from mograder.cli.shared.options import PATH
from mograder.cli.shared.result import Result, json_option
from mograder.core.clock import SystemClock, from_unix
from mograder.core.errors import Conflict, NotFound
from mograder.core.files.disk import DISK
from mograder.core.settings import LoadedSettings
from mograder.operations.pruning import prune as prune_course
from mograder.sandbox.environments.pruning import Pruned
from mograder.store.hub.hub_state import rotate_audit as rotate
from mograder.store.hub.hub_tables import AuditRow
from mograder.store.migrations.moving import move_database as move


@click.command("rotate-audit")
@click.argument("file", type=PATH)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 100_000),
    default=365,
    show_default=True,
    help="How much of the log stays in the database.",
)
@course_option
def rotate_audit(*, file: Path, keep_days: int, loaded: LoadedSettings) -> None:
    """Move old lines of the audit log into a file, while the hub runs.

    FILE is new; each line of it is one line of the log as JSON, the oldest first.
    """
    before = SystemClock().now() - timedelta(days=keep_days)
    moved = 0
    with current_hub_state(loaded) as state, _new(file) as target:
        DISK.fsync_directory(file.absolute().parent)
        while count := rotate(state.engine, before, lambda rows: _keep(target, rows)):
            moved += count
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


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
@course_option
def prune(*, dry_run: bool, loaded: LoadedSettings) -> Result:
    """Remove the environments that nothing needs.

    The hub may run. Those of published items stay, and those that a session or a process prepared
    for one uses, and those that were used within the last hour. An environment that is needed
    again later is built again. Run it as the hub's user, with the hub's environment.
    """
    pruned = asyncio.run(prune_course(loaded, dry_run=dry_run))
    removed = [
        {"name": each.path.name, "bytes": each.size, "used": round(each.used)}
        for each in pruned.removed
    ]
    told = {
        "dry_run": dry_run,
        "removed": removed,
        "in_use": list(pruned.in_use),
        "freed": pruned.freed,
    }
    return Result(told, _lines(pruned, dry_run=dry_run))


def _lines(pruned: Pruned, *, dry_run: bool) -> Iterator[str]:
    for each in pruned.removed:
        last = from_unix(each.used).astimezone()
        yield f"  {each.path.name}: {_megabytes(each.size)}, used last {last:%Y-%m-%d}"
    if pruned.in_use:
        yield f"Kept, since sessions use them: {', '.join(pruned.in_use)}"
    verb = "Would free" if dry_run else "Freed"
    yield f"{verb} {_megabytes(pruned.freed)}: {len(pruned.removed)} environments"


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
