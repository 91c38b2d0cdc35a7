"""Atomic replacement of files: readers see the old content or the new, also after a crash.

New content goes to a temporary file beside the target, is synced, and takes the target's name in
one step; the directory is synced last, so that a power cut cannot undo the rename.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mograder.core.closing import closing_fd
from mograder.core.disk import DISK, Disk, Place

_LONGEST_NAME = 80
"""Characters of the target's name that the temporary name contains; a name has 255 bytes at
most."""


def write_file(path: Path, data: bytes, mode: int = 0o644, *, disk: Disk = DISK) -> None:
    """Replace a file by ``data`` with this mode; only its owner can read it until it is complete.

    Raises: ``OSError``; then nothing was changed, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name[:_LONGEST_NAME]}.{secrets.token_hex(6)}.tmp")
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with closing_fd(os.open(temporary, create, 0o600)) as fd:
            disk.write(fd, data)
            os.fchmod(fd, mode)
            disk.fsync(fd)
        disk.rename(Place.of(temporary), Place.of(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent, disk=disk)


def move_file(finished: Path, target: Path) -> None:
    """Move a complete file over another one on the same file system, synced.

    Raises: ``OSError``.
    """
    _fsync(finished, os.O_RDONLY, DISK)
    DISK.rename(Place.of(finished), Place.of(target))
    fsync_directory(target.parent)


def fsync_directory(path: Path, *, disk: Disk = DISK) -> None:
    """Sync a directory, so that the names in it survive a power cut."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY, disk)


def _fsync(path: Path, flags: int, disk: Disk) -> None:
    with closing_fd(os.open(path, flags | os.O_CLOEXEC)) as fd:
        disk.fsync(fd)
