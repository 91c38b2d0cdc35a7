"""Checks of names and files in a directory that students control, and their error messages.

For ``store.filesystem.untrusted_dir`` only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.files.windows_files import FileHeld

REMEDY = "Rename or remove it in the workspace, then try again."
"""The hint of most of these errors."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def checked(relative: str) -> str:
    """Return a relative path unchanged. Raises: :class:`InvalidInput` if it may lead outside."""
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"The path {relative!r} does not stay below its directory.")
    try:
        os.fsencode(relative)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The path {relative!r} cannot be a file's name.") from error
    return relative


def check_regular(fd: int, relative: str) -> os.stat_result:
    """Return an open file's status. Raises: :class:`InvalidInput` if it is not a regular file."""
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        kind = next((words for test, words in _KINDS if test(info.st_mode)), "a device")
        raise InvalidInput(f"{relative!r} is {kind}, not a file.", hint=REMEDY)
    return info


def check_sole(info: os.stat_result, relative: str) -> None:
    """Raise :class:`InvalidInput` for a file with several hard links."""
    if info.st_nlink != 1:
        raise InvalidInput(f"{relative!r} is a hard link, not a file of its own.", hint=REMEDY)


def too_large(relative: str, limit: int) -> TooLarge:
    """Return the error for a file of more than ``limit`` bytes."""
    return TooLarge(f"{relative!r} is larger than the {limit} bytes allowed.")


@contextlib.contextmanager
def explained(relative: str) -> Iterator[None]:
    """Convert an ``OSError`` that a student's file can cause; other errors are raised unchanged.

    That another program holds a file is among those others: see
    ``core.files.disk.explained_when_full``.
    """
    try:
        yield
    except FileHeld:
        raise
    except OSError as error:
        explanation = _explanation(error, relative)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(error: OSError, relative: str) -> MograderError | None:
    shown = repr(relative) if relative else "the directory"
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"{shown} does not exist.")
        case errno.ELOOP | errno.EXDEV:
            return InvalidInput(
                f"{shown} leads through a link or another file system.", hint=REMEDY
            )
        case errno.ENOTDIR:
            return InvalidInput(f"A part of {shown} is a link or a file.", hint=REMEDY)
        case errno.ENXIO | errno.ENODEV:
            return InvalidInput(
                f"{shown} is a pipe, a socket or a device, not a file.", hint=REMEDY
            )
        case errno.EISDIR | errno.ENOTEMPTY:
            return InvalidInput(f"{shown} is a directory, not a file.", hint=REMEDY)
        case errno.EACCES | errno.EPERM:
            return InvalidInput(
                f"The hub is not permitted to use {shown}.",
                hint="Give its owner read and write permission again, then try again.",
            )
        case errno.ENAMETOOLONG:
            return InvalidInput(f"The path {shown[:60]} is too long.")
        case errno.ESTALE:  # on a share, after a second attempt
            return Conflict(
                f"{shown} is being replaced at the moment.", hint="Try again in a minute."
            )
        case errno.EAGAIN | errno.ETXTBSY:
            return Conflict(f"{shown} is held by a running program.", hint="Try again in a minute.")
        case _:
            return None
