"""``mograder hub prune``: removes the environments that nothing needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import click

from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.result import Result, json_option
from mograder.core.clock import from_unix
from mograder.core.settings import LoadedSettings
from mograder.operations.pruning import prune as prune_course
from mograder.sandbox.environments.pruning import Pruned


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
    return Result(_as_json(pruned, dry_run=dry_run), _lines(pruned, dry_run=dry_run))


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


def _as_json(pruned: Pruned, *, dry_run: bool) -> dict[str, object]:
    removed = [
        {"name": each.path.name, "bytes": each.size, "used": round(each.used)}
        for each in pruned.removed
    ]
    return {
        "dry_run": dry_run,
        "removed": removed,
        "in_use": list(pruned.in_use),
        "freed": pruned.freed,
    }
