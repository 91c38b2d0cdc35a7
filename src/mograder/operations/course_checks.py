"""Checks of a course's own files: secrets that other users can read, unneeded environments."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.settings import FILE_NAME, LoadedSettings
from mograder.operations.pruning import needed_here
from mograder.operations.report import Line, note, ok, problem
from mograder.sandbox.client.environment_pruning import finished_environments, unneeded_environments
from mograder.sandbox.environments.record import read_record

SECRET_FILE = Path("/etc/mograder/hub-secret")
"""The file in which a deployment stores the hub's secret (B11)."""

_ENVIRONMENT_FILE = Path("/etc/mograder/env")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SHOWN = 3


def secret_lines(
    loaded: LoadedSettings, *, kept: tuple[Path, ...] = (SECRET_FILE, _ENVIRONMENT_FILE)
) -> Iterator[Line]:
    """Yield a line for every file with a secret that users other than its owner may read."""
    private = [*kept, loaded.course_dir / ".mograder-secret", loaded.state_dir / "hub.db"]
    if _has_secret(loaded):
        private.append(loaded.course_dir / FILE_NAME)
    open_ones = [path for path in private if _is_open(path)]
    for path in open_ones:
        text = f"{path} can be read by other users of this machine"
        yield problem("secret-file", text, f"chmod 600 {path}")
    if not open_ones:
        yield ok("secret-file", "files with secrets: for their owner only")


def _has_secret(loaded: LoadedSettings) -> bool:
    password = "@" in loaded.settings.database.url
    return password or bool(loaded.settings.https.token.get_secret_value())


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


async def environment_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Report environments that can no longer run, and the disk space of unneeded ones."""
    root = loaded.path(loaded.settings.hub.environments_dir)
    built = finished_environments(root)
    if not built:
        return (ok("environments", "environments: none yet"),)
    broken = [path for path in built if not _runs(path)]
    lines = []
    if broken:
        text = f"environments: the Python of {_listed(broken)} is gone"
        hint = "They are built again at their next use; mograder hub prune removes the others."
        lines.append(note("environments", text, hint))
    needed = await needed_here(loaded)
    if needed is not None:
        unneeded = await asyncio.to_thread(unneeded_environments, root, needed)
        if unneeded:
            size = sum(each.size for each in unneeded) / 1_000_000
            text = f"environments: {len(unneeded)} of {len(built)} belong to no published item"
            hint = f"Those that no session uses can go: mograder hub prune (up to {size:.0f} MB)"
            lines.append(note("environments", text, hint))
    return tuple(lines) or (ok("environments", f"environments: {len(built)}, all in use"),)


def _runs(environment: Path) -> bool:
    try:
        read_record(environment)
    except MograderError:
        return False
    return os.access(environment / "env" / "bin" / "python", os.X_OK)


def _listed(paths: list[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(path.name for path in paths[:_SHOWN]) + more
