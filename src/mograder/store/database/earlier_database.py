"""Restoring the SQLite database from before an upgrade, for an older version of the program.

``database.upgrade`` makes a copy ``hub.db.before-REVISION`` before it changes the tables.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.atomic_file import move_file
from mograder.core.clock import from_unix
from mograder.core.errors import Busy, Conflict, NotFound
from mograder.store.database.database import (
    MIGRATIONS,
    copy_sqlite,
    known_versions,
    open_engine,
    schema_version,
    sqlite_file,
    sqlite_url,
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The newest readable ``copy`` of the database ``path``, which is too new for this program."""

    path: Path
    copy: Path
    version: str
    """The revision of the newer database's tables."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The restored ``copy``, made at ``made`` (UTC); ``kept`` is a copy of the newer database."""

    copy: Path
    made: datetime
    kept: Path


def find_earlier(
    url: str, *, migrations: Path = MIGRATIONS, private: bool = True
) -> Earlier | None:
    """Return the copy to restore; None if this program can read the database as it is.

    ``private`` as in :func:`~mograder.store.database.database.open_engine`.

    Raises: :class:`Conflict` for a database on a server, :class:`NotFound` if there is no readable
    copy, :class:`Busy` while a program has the database open.
    """
    known = known_versions(migrations)
    version = _version(url, private=private)
    if version is None or version in known:
        return None
    path = sqlite_file(url)
    if path is None:
        raise Conflict(
            f"A newer mograder has changed the database (its tables are at {version!r}).",
            hint="Restore the dump of [database] url that you made before the upgrade.",
        )
    earlier = Earlier(path, _newest_copy(path, known), version)
    _demand_unused(path)
    return earlier


def put_back(earlier: Earlier) -> Returned:
    """Replace the newer database by the copy, after copying the newer one beside itself.

    The replacement is atomic.

    Raises: :class:`Busy` while a program has the database open.
    """
    path, copy, version = earlier.path, earlier.copy, earlier.version
    made = from_unix(copy.stat().st_mtime)
    kept = path.with_name(f"{path.name}.after-{version}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    copy_sqlite(path, kept)
    _demand_unused(path)
    temporary = path.with_name(f"{path.name}.returning")
    temporary.unlink(missing_ok=True)
    copy_sqlite(copy, temporary)
    shutil.copymode(path, temporary)
    move_file(temporary, path)
    return Returned(copy, made, kept)


def _version(url: str, *, private: bool = True) -> str | None:
    engine = open_engine(url, private=private)
    try:
        return schema_version(engine)
    finally:
        engine.dispose()


def _newest_copy(path: Path, known: frozenset[str]) -> Path:
    copies = [copy for copy in path.parent.glob(f"{path.name}.before-*") if copy.suffix != ".tmp"]
    for copy in sorted(copies, key=lambda each: each.stat().st_mtime, reverse=True):
        if _version_of_copy(copy) in known:
            return copy
    raise NotFound(
        f"Beside {path} is no copy of the database that this version of mograder can read.",
        hint="Install the newer version again, or restore a backup made before the upgrade.",
    )


def _version_of_copy(copy: Path) -> str | None:
    """Return the revision of a copy; read from a duplicate, since opening changes journal mode."""
    duplicate = copy.with_name(f"{copy.name}.tmp")
    duplicate.unlink(missing_ok=True)
    try:
        copy_sqlite(copy, duplicate)
        return _version(sqlite_url(duplicate))
    finally:
        for suffix in ("", "-wal", "-shm"):
            duplicate.with_name(duplicate.name + suffix).unlink(missing_ok=True)


def _demand_unused(path: Path) -> None:
    """Raise Busy if a -wal file exists: the last program to close a database removes it."""
    if path.with_name(f"{path.name}-wal").exists():
        raise Busy(
            f"A program still has {path.name} open.",
            hint="Stop the hub and its socket: systemctl stop mograder-hub.socket mograder-hub",
        )
