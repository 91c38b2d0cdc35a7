"""Atomic replacement of files: readers see the old content or the new, also after a crash.

New content goes to a temporary file beside the target, is synced, and takes the target's name in
one step; the directory is synced last, so that a power cut cannot undo the rename.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from mograder.core.closing import closing_fd
from mograder.core.files import open_flags
from mograder.core.files.disk import DISK, Disk, Place
from mograder.core.files.long_paths import reachable
from mograder.core.system import SYSTEM

_LONGEST_NAME = 80
"""Characters of the target's name that the temporary name contains; a name has 255 bytes at
most."""

_SYNCED = os.O_RDWR if SYSTEM == "windows" else os.O_RDONLY
"""The mode of opening a file to sync it: Windows syncs only files that are open for writing."""


def write_file(path: Path, data: bytes, mode: int = 0o644, *, disk: Disk = DISK) -> None:
    """Replace a file by ``data`` with this mode; only its owner can read it until it is complete.

    Raises: ``OSError``; then nothing was changed, and no temporary file is left. It is
    :class:`~mograder.core.files.held_files.FileHeld` on Windows while another program has it open.
    """
    path = reachable(path)
    temporary = path.with_name(f".{path.name[:_LONGEST_NAME]}.{secrets.token_hex(6)}.tmp")
    try:
        with closing_fd(os.open(temporary, open_flags.CREATE, 0o600)) as fd:
            disk.write(fd, data)
            set_mode(fd, mode)
            disk.fsync(fd)
        disk.rename(Place.of(temporary), Place.of(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    disk.fsync_directory(path.parent)


def move_file(finished: Path, target: Path) -> None:
    """Move a complete file over another one on the same file system, synced.

    Raises: ``OSError``.
    """
    finished, target = reachable(finished), reachable(target)
    with closing_fd(os.open(finished, _SYNCED | open_flags.CLOEXEC | open_flags.BINARY)) as fd:
        DISK.fsync(fd)
    DISK.rename(Place.of(finished), Place.of(target))
    DISK.fsync_directory(target.parent)


def set_mode(fd: int, mode: int) -> None:
    """Set an open file's mode; Windows has no modes, but the access lists of a folder."""
    if sys.platform != "win32":  # mypy knows no fchmod there
        os.fchmod(fd, mode)
