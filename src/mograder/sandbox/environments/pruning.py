"""Removal of environments that no published item, session or zygote uses.

An environment is kept for an hour after its last preparation, so that a start has time to reach
the supervisor, which then keeps it by a lock.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import LOCK, REQUESTS, request_name
from mograder.sandbox.environments.record import RECORD, find_interpreter, read_record, take
from mograder.sandbox.environments.static_assets import ASSETS, SET_NAME
from mograder.sandbox.limits.disk_usage import tree_size

GRACE_SECONDS = 3600.0
"""How long after its last use an environment is kept."""

_PRUNED = ".pruned-"
_NO_BOUND = 1 << 60


@dataclass(frozen=True, slots=True)
class Unneeded:
    """An unneeded environment; ``size`` in bytes, ``used`` its last preparation in Unix seconds."""

    path: Path
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """The removed environments (in a dry run, to be removed), and the unneeded ones in use."""

    removed: tuple[Unneeded, ...]
    in_use: tuple[str, ...]
    freed: int
    """Bytes, including those of static files that no environment uses any more."""


async def needed_environments(root: Path, wheel: str, scripts: Iterable[Script]) -> frozenset[str]:
    """Return the names of the environments that were built for these headers.

    ``wheel`` is the file name of the hub's runtime wheel, which is a part of each environment.
    """
    needed = set()
    for script in scripts:
        try:
            interpreter = await find_interpreter(script.requires_python)
            request = root / REQUESTS / request_name(script, interpreter.version, wheel)
            needed.add(request.read_text())
        except (MograderError, OSError):
            continue  # it was not built
    return frozenset(needed)


def finished_environments(root: Path) -> list[Path]:
    """Return the directories of finished environments, sorted by name."""
    try:
        found = [path for path in root.iterdir() if (path / RECORD).is_file()]
    except OSError:
        return []
    return sorted(path for path in found if not path.name.startswith(".") and path.name != ASSETS)


def unneeded_environments(root: Path, needed: frozenset[str]) -> list[Unneeded]:
    """Return the environments that are not ``needed``, least recently used first."""
    found = [
        Unneeded(path, tree_size(path, _NO_BOUND), last_use(path))
        for path in finished_environments(root)
        if path.name not in needed
    ]
    return sorted(found, key=lambda each: each.used)


def prune_environments(
    root: Path,
    needed: frozenset[str],
    *,
    used: Collection[str] = (),
    keep: int = 0,
    dry_run: bool = False,
) -> Pruned:
    """Remove unneeded environments, least recently used first, until ``keep`` bytes are left.

    Those in use stay, which have a lock here or are in ``used``. It blocks.
    """
    unneeded = unneeded_environments(root, needed)
    names = [each.path.name for each in unneeded]
    in_use = tuple(name for name in names if name in used or _is_in_use(root / name))
    left = sum(each.size for each in unneeded)
    removed: list[Unneeded] = []
    for each in unneeded:
        if left <= keep:
            break
        if each.path.name in in_use or time.time() - each.used < GRACE_SECONDS:
            continue
        if dry_run or _remove(each):
            removed.append(each)
            left -= each.size
    freed = sum(each.size for each in removed) + (0 if dry_run else _sweep(root))
    return Pruned(tuple(removed), in_use, freed)


def _remove(unneeded: Unneeded) -> bool:
    """Remove an environment unless it was used meanwhile; return whether it was removed."""
    aside = unneeded.path.with_name(f"{_PRUNED}{secrets.token_hex(8)}")
    taken = take(unneeded.path)
    if taken is None:
        return False
    try:
        if last_use(unneeded.path) > unneeded.used:
            return False
        unneeded.path.rename(aside)
    except OSError:  # another user's
        return False
    finally:
        os.close(taken)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _is_in_use(environment: Path) -> bool:
    taken = take(environment)
    if taken is not None:
        os.close(taken)
    return taken is None


def last_use(environment: Path) -> float:
    """Return the time of the last preparation in Unix seconds, 0 if it is gone."""
    try:
        return (environment / LOCK).stat().st_mtime
    except OSError:
        return 0.0


def _sweep(root: Path) -> int:
    """Remove what refers to removed environments; return the freed bytes.

    What a killed prune has left the next build removes (``EnvironmentRoot.sweep``).
    """
    requests = tuple((root / REQUESTS).glob("[!.]*"))
    remaining = finished_environments(root)
    names = {path.name for path in remaining}
    for request in requests:
        with suppress(OSError):  # another process has removed it
            if request.read_text() not in names:
                request.unlink()
    freed = 0
    try:
        named = {read_record(path).assets for path in remaining}
    except MograderError:
        return 0
    for path in (root / ASSETS).glob("[!.]*"):
        if not SET_NAME.fullmatch(path.name) or path.name in named:
            continue
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > GRACE_SECONDS:
                freed += tree_size(path, _NO_BOUND)
                shutil.rmtree(path, ignore_errors=True)
    return freed
