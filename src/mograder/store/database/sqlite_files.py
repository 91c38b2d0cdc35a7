"""The file of an SQLite database: made, locked, copied, and checked for damage."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.files import file_lock, open_flags
from mograder.core.files.disk import DISK
from mograder.core.operating_system import SYSTEM
from mograder.store.database.database_errors import in_words

BUSY_MS = 5000
"""Milliseconds for which a connection waits for one that holds the file."""

_PRIVATE = 0o600

_INSTRUCTIONS = 10_000
"""SQLite virtual-machine instructions between two checks of the deadline."""

_MOST_FINDINGS = 5


def make_private(path: Path, *, mend: bool = True) -> None:
    """Create the file with mode 0600 before SQLite does, so that others can never open it.

    An existing file gets this mode with ``mend``, but is not opened: closing it would drop the
    locks that SQLite holds on it elsewhere in this process.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | open_flags.CLOEXEC, 0o600))
    except FileExistsError:
        if mend and path.is_file() and stat.S_IMODE(path.stat().st_mode) != _PRIVATE:
            path.chmod(_PRIVATE)
    except OSError as error:
        raise InvalidInput(
            f"The database {path.name} cannot be made: {error.strerror}.",
            hint=f"Look at {path.parent}.",
        ) from error


def set_journal(path: Path) -> None:
    """Switch the file's journal permanently, before any other use of it.

    It is WAL, or on a share a rollback journal: WAL needs memory that all its users share, and
    another machine would get a failing or damaged file.

    A file lock serialises this: if two programs switch a new file at once, SQLite does not wait,
    and one of them fails with "database is locked".
    """
    try:
        with (
            file_turn(path),
            contextlib.closing(sqlite3.connect(path, timeout=BUSY_MS / 1000)) as connection,
        ):
            wanted = "DELETE" if DISK.is_shared(path.parent) else "WAL"
            connection.execute(f"PRAGMA journal_mode = {wanted}")
    except sqlite3.Error as error:
        raise in_words(error, path) from error


@contextlib.contextmanager
def file_turn(path: Path) -> Iterator[None]:
    """Lock the directory of an SQLite file, while its journal is set or its tables upgraded.

    Windows opens no directories, so a file beside the database is locked there.
    """
    if SYSTEM == "windows":
        turn = file_lock.open_lock(path.with_name(f".{path.name}.journal-lock"))
    else:
        turn = os.open(path.parent, os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC)
    try:
        file_lock.acquire(turn, seconds=None)
        yield
    finally:
        os.close(turn)


def copy_sqlite(path: Path, target: Path) -> None:
    """Copy a consistent snapshot of an SQLite file; other processes may write to it meanwhile.

    The copy is complete and synced when this returns; ``target`` must not exist before.
    Raises: :class:`InvalidInput` if the file is not a database, :class:`Busy` if it is locked.
    """
    make_private(target)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=BUSY_MS / 1000)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy, progress=_patience())
            # No -wal and -shm files, so that the copy can be read without write permission.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise in_words(error, target if "is full" in str(error) else path) from error
    with target.open("r+b") as file:  # Windows syncs only files that are open for writing
        os.fsync(file.fileno())


def may_write_beside(path: Path) -> bool:
    """Whether SQLite can open a file where it is: also to read it, it writes to logs beside it."""
    path = path.resolve()
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def openable(path: Path, aside: Path) -> Path:
    """Return an SQLite file, or a copy of it and its log in ``aside`` if SQLite cannot open it.

    Such is one on a disk that had errors, in a snapshot, or in a directory that this process's
    account may only read. A copy is not used if the files changed while it was made: another
    machine, container or account writes to them then.
    """
    path = path.resolve()  # SQLite keeps the log beside the file, not beside a link to it
    if may_write_beside(path):
        return path
    try:
        aside.mkdir()
        before = files_of(path)
        for file in before:
            shutil.copyfile(file, aside / file.name)
        return aside / path.name if files_of(path) == before else path
    except OSError:
        return path  # SQLite tells why it cannot be read


def files_of(path: Path) -> dict[Path, tuple[int, int]]:
    files = (path.with_name(path.name + end) for end in ("", "-wal", "-journal"))
    found = {each: each.stat() for each in files if each.is_file()}
    return {each: (status.st_size, status.st_mtime_ns) for each, status in found.items()}


def check_sqlite(path: Path) -> None:
    """Check an SQLite file that no other process writes to. Raises: InvalidInput if damaged."""
    found = sqlite_damage(path, math.inf, "quick_check", "&immutable=1")
    if found:
        raise InvalidInput(f"The database {path.name} is damaged: {found[0]}.")


def sqlite_damage(
    path: Path, seconds: float, check: str = "integrity_check", how: str = ""
) -> tuple[str, ...] | None:
    """Check an SQLite file for damage without changing it; a hub may have it open.

    Return SQLite's messages about damaged pages, about five lines at most; None if the check
    took longer than ``seconds``.
    Raises: :class:`InvalidInput` if the file is not a database, :class:`Busy` if it is locked or
    cannot be read.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{how}"
    deadline = time.monotonic() + seconds
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000)) as opened:
            opened.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
            found = list(_findings(opened, f"PRAGMA {check}({_MOST_FINDINGS})"))
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise in_words(error, path) from error
    except sqlite3.DatabaseError as error:
        raise in_words(error, path) from error
    return () if found == ["ok"] else tuple(found)


def _patience() -> Callable[[int, int, int], None]:
    """Return what ends a copy of a locked file, for which SQLite would wait without end."""
    deadline = time.monotonic() + BUSY_MS / 1000

    def demand_time(status: int, _remaining: int, _pages: int) -> None:
        locked = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if locked and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")

    return demand_time


def _findings(opened: sqlite3.Connection, check: str) -> Iterator[str]:
    try:
        for (text,) in opened.execute(check):
            yield from str(text).splitlines()
    except sqlite3.DatabaseError as error:
        if "malformed" not in str(error):
            raise
        # The damage stops the check itself: report at least which tables are unreadable.
        yield str(error)
    else:
        return
    names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            opened.execute(f"SELECT count(*) FROM {quoted} NOT INDEXED").fetchall()  # noqa: S608
        except sqlite3.DatabaseError:
            yield f"the table {name} has damaged pages"
