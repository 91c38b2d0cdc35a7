"""Files to which lines are only ever added, by several processes at once.

Each line is one JSON object. A crash may leave the last one torn: it is passed over by whoever
reads, and the next one begins on a line of its own. Nobody rewrites such a file, so what was read
once stays true and only the new end has to be read again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mograder.core import file_lock
from mograder.core.atomic_file import fsync_directory
from mograder.core.disk import DISK, Disk, explained_when_full
from mograder.core.log import get_logger

_LIMIT = 256 * 1024 * 1024
_log = get_logger(__name__)


class Records:
    """One such file; its owner calls from one thread at a time.

    Mutable state: ``_seen``, how much of which file was read.
    """

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._path = path
        self._disk = disk
        self._seen = (0, 0)

    def stamp(self) -> tuple[int, int]:
        """What differs after every addition: the inode and the size."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - every request asks; a Path costs more
        except FileNotFoundError:
            return (0, 0)
        return (status.st_ino, status.st_size)

    def fresh(self) -> tuple[bytes, ...]:
        """Return the whole lines that were added since the last call, or since the beginning.

        A file that was replaced or cut by hand is read again from its beginning.
        """
        inode, size = self.stamp()
        known, offset = self._seen
        if inode != known or size < offset:
            offset = 0
        if size == offset:
            self._seen = (inode, offset)
            return ()
        if size > _LIMIT:
            _log.error("%s is larger than %d bytes and is not read.", self._path.name, _LIMIT)
            return ()
        content = self._read(offset, size)
        whole = content.rfind(b"\n") + 1
        self._seen = (inode, offset + whole)
        return tuple(line for line in content[:whole].splitlines() if line.strip())

    def _read(self, start: int, end: int) -> bytes:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces = []
            while start < end and (piece := os.pread(fd, end - start, start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def add(self, lines: Sequence[bytes], *, durable: bool) -> None:
        """Add lines, all in one write; ``durable`` ones survive a power cut when it returns.

        Raises: :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with self.alone() as add:
            add(lines, durable)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[Sequence[bytes], bool], None]]:
        """Keep other processes from adding, and return what adds; for who looks before it writes.

        Raises: as :meth:`add`.
        """
        with explained_when_full(), self._opened() as fd, locked(fd):

            def add(lines: Sequence[bytes], durable: bool) -> None:
                end = os.lseek(fd, 0, os.SEEK_END)
                torn = end > 0 and os.pread(fd, 1, end - 1) != b"\n"
                text = b"".join(line + b"\n" for line in lines)
                self._disk.write(fd, b"\n" + text if torn else text)
                if durable:
                    self._disk.fsync(fd)

            yield add

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            make_directories(self._path.parent, disk=self._disk)
            fd = os.open(self._path, flags | os.O_CREAT, 0o600)
            fsync_directory(self._path.parent, disk=self._disk)
        try:
            yield fd
        finally:
            os.close(fd)


def make_directories(path: Path, *, mode: int = 0o700, disk: Disk = DISK) -> None:
    """Make a directory and those above it where they are missing, for good; ours alone."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        each.mkdir(mode=mode, exist_ok=True)
        fsync_directory(each.parent, disk=disk)


@contextlib.contextmanager
def locked(fd: int) -> Iterator[None]:
    """Keep other processes out of what ``fd`` stands for, where the file system can do that."""
    try:
        file_lock.acquire(fd, seconds=None)
    except OSError as error:
        # Some network file systems lock no directories; then only what is atomic by itself helps.
        _log.debug("no lock here: %s", error)
        yield
        return
    try:
        yield
    finally:
        file_lock.release(fd)
