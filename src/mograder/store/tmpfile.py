"""New files that have no name until they are whole, so that a crash leaves nothing of them.

Where the file system has such files (``O_TMPFILE``), the directory does not even change before a
file gets its name. Elsewhere it grows under a name that nobody looks for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mograder.core.disk import UNSUPPORTED, Disk, Place

_NONE = UNSUPPORTED | {errno.EISDIR, errno.ENOENT}
"""What kernels and file systems say that have no unnamed files."""


class Unnamed:
    """Bytes that are on the disk and wait for their name; made by :func:`written`."""

    def __init__(self, fd: int, temporary: Path | None, disk: Disk) -> None:
        self._fd = fd
        self._temporary = temporary
        self._disk = disk

    def place(self, name: str, directory: int) -> None:
        """Give it a name in its directory, which is open as ``directory``, if nothing has it.

        Raises: ``FileExistsError``.
        """
        target = Place(name, directory)
        if self._temporary is None:
            self._disk.name(self._fd, target)
        else:
            self._disk.place(Place(self._temporary.name, directory), target)


@contextlib.contextmanager
def written(directory: Path, data: bytes, disk: Disk, *, mode: int = 0o600) -> Iterator[Unnamed]:
    """Put bytes on the disk, synced, in the directory where their name will be."""
    fd, temporary = _opened(directory, mode, disk)
    try:
        disk.write(fd, data)
        disk.fsync(fd)
        yield Unnamed(fd, temporary, disk)
    finally:
        os.close(fd)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _opened(directory: Path, mode: int, disk: Disk) -> tuple[int, Path | None]:
    if disk.has_unnamed():
        try:
            return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode), None
        except OSError as error:
            if error.errno not in _NONE:
                raise
    temporary = directory / f".{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(temporary, flags, mode), temporary
