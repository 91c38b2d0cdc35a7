"""New files that get their name when they are complete, so that a crash leaves no partial file.

Where the file system supports it (``O_TMPFILE``), the directory does not change before a file gets
its name. Elsewhere the file is written under a random hidden name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mograder.core.files import open_flags
from mograder.core.files.disk import UNSUPPORTED, Disk, Place

_NONE = UNSUPPORTED | {errno.EISDIR, errno.ENOENT}
"""The errors of kernels and file systems without unnamed files."""


class Unnamed:
    """A synced file without its final name; made by :func:`written`."""

    def __init__(self, fd: int, temporary: Path | None, disk: Disk) -> None:
        self._fd = fd
        self._temporary = temporary
        self._disk = disk

    def place(self, name: str, directory: int) -> None:
        """Give the file a name in its directory, which is open as descriptor ``directory``.

        Raises: ``FileExistsError`` if the name is in use.
        """
        target = Place(name, directory)
        if self._temporary is None:
            self._disk.name(self._fd, target)
        else:
            self._disk.place(Place(self._temporary.name, directory), target)


@contextlib.contextmanager
def written(directory: Path, data: bytes, disk: Disk) -> Iterator[Unnamed]:
    """Write ``data``, synced, to a file in ``directory``; yield it to get its name."""
    fd, temporary = _opened(directory, disk)
    try:
        disk.write(fd, data)
        disk.fsync(fd)
        yield Unnamed(fd, temporary, disk)
    finally:
        os.close(fd)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _opened(directory: Path, disk: Disk) -> tuple[int, Path | None]:
    if disk.has_unnamed():
        try:
            return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), None
        except OSError as error:
            if error.errno not in _NONE:
                raise
    temporary = directory / f".{secrets.token_hex(8)}.tmp"
    return os.open(temporary, open_flags.CREATE, 0o600), temporary
