"""The database driver's errors, as errors for users."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mograder.core.errors import Busy, Conflict, InvalidInput, MograderError
from mograder.core.files.disk import space_of
from mograder.core.log import get_logger

_FULL_BYTES = 1 << 20
"""With less free space than this, in bytes, an I/O error is reported as a full disk."""

_log = get_logger(__name__)


def in_words(error: DBAPIError | PoolTimeout | sqlite3.Error, path: Path | None) -> MograderError:
    """Return the error for users; ``path`` is the SQLite file, None for a server.

    Raises: ``error`` itself if it tells of a mistake in the program.
    """
    cause = str(error.orig if isinstance(error, DBAPIError) else error)
    if isinstance(error, IntegrityError):
        return Conflict("This is recorded already, or what it belongs to is gone.")
    named = "The database file" if path is None else f"The database {path.name}"
    if "not a database" in cause or "malformed" in cause:
        return InvalidInput(
            f"{named} is damaged or is no database.",
            hint="Put it back from a backup, or move it away to start with an empty one.",
        )
    if "unable to open database file" in cause or "readonly database" in cause:
        return InvalidInput(
            f"{named} cannot be opened for writing.",
            hint="See that it is a file in a directory that the hub's account may write.",
        )
    if path is not None and "is locked" in cause:
        _log.error("The database %s is locked by another program", path)
        hint = "Wait until the other program has finished writing, then try again."
        text = f"The database {path.name} is locked by another program."
        return Busy(text, hint=hint, retry_after=5)
    if path is not None and ("is full" in cause or "disk I/O error" in cause):
        _log.error("The database %s cannot be written: %s", path, cause)
        # SQLite reports a full disk as an I/O error when it cannot create -wal and -shm files.
        if "is full" in cause or space_of(path.parent).free < _FULL_BYTES:
            text = f"The disk is full: the database {path} cannot be written."
            hint = f"Free some space on the file system of {path.parent}: df -h {path.parent}"
        else:
            text = f"The disk does not read or write the database {path}: {cause}."
            hint = "The kernel's log tells why: journalctl -k. Copy the course elsewhere meanwhile."
        return Busy(text, hint=hint, retry_after=60)
    # An internal error, as libpq names it: a server that has become a read-only standby.
    silent = OperationalError | InterfaceError | InternalError | PoolTimeout | sqlite3.Error
    if isinstance(error, silent) or "idle-in-transaction" in cause:
        return no_answer(cause)
    raise error


def no_answer(cause: str) -> Busy:
    """Log why the database does not answer, and return the error for users."""
    _log.error("The database does not answer: %s", cause)
    return Busy(
        "The hub's database does not answer.",
        hint="Try again in a moment; if it lasts, look at [database] url and its server.",
        retry_after=5,
    )
