"""Append-only files of JSON lines, written by several processes at once.

A crash may leave the last line incomplete: readers skip it, and the next write starts a new line.
Lines are never changed, so a reader only has to read those added since its last call.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mograder.core.files import file_lock, open_flags
from mograder.core.files.disk import (
    DISK,
    Disk,
    SharedFile,
    again_if_stale,
    closing_fd,
    explained_when_full,
)
from mograder.core.log import get_logger

LOCK = ".lock"
"""The name of the lock file in a directory on a share."""

_LIMIT = 256 * 1024 * 1024
_log = get_logger(__name__)


class Records:
    """One append-only file; not thread-safe.

    Mutable state: ``_seen``, the inode of the file and the number of bytes read; ``whole``, whether
    the lines that :meth:`fresh` returned last are all of the file.
    """

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._path = path
        self._disk = disk
        self._file = SharedFile(path, disk=disk)
        self._seen = (0, 0)
        self.whole = True

    def stamp(self, *, now: bool = False) -> tuple[int, int]:
        """Return inode and size; ``now``: also what other machines added within a second."""
        try:
            status = self._file.status(now=now)
        except FileNotFoundError:
            return (0, 0)
        return (status.st_ino, status.st_size)

    def fresh(self) -> tuple[bytes, ...]:
        """Return the complete lines added since the last call; all of a file that was replaced."""
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
        self.whole = offset == 0
        content = again_if_stale(partial(self._read, offset, size))
        whole = content.rfind(b"\n") + 1
        self._seen = (inode, offset + whole)
        return tuple(line for line in content[:whole].splitlines() if line.strip())

    def _read(self, start: int, end: int) -> bytes:
        flags = os.O_RDONLY | open_flags.CLOEXEC | open_flags.BINARY
        with closing_fd(os.open(self._path, flags)) as fd:
            os.lseek(fd, start, os.SEEK_SET)
            pieces = []
            while start < end and (piece := os.read(fd, end - start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)

    def add(self, lines: Sequence[bytes], *, durable: bool) -> None:
        """Append lines in one write, synced on return if ``durable``. Raises: Busy (disk full)."""
        with self.alone() as add:
            add(lines, durable)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[Sequence[bytes], bool], None]]:
        """Lock the file, so that :meth:`fresh` returns all; yield :meth:`add`. Raises: Busy."""
        flags = os.O_RDWR | os.O_APPEND | open_flags.CLOEXEC | open_flags.BINARY
        with explained_when_full(), ExitStack() as held:
            try:
                fd = held.enter_context(closing_fd(os.open(self._path, flags)))
            except FileNotFoundError:
                make_directories(self._path.parent, disk=self._disk)
                made = os.open(self._path, flags | os.O_CREAT, 0o600)
                fd = held.enter_context(closing_fd(made))
                self._disk.fsync_directory(self._path.parent)
            held.enter_context(locked(fd))
            self.stamp(now=True)

            def add(lines: Sequence[bytes], durable: bool) -> None:
                torn = False
                if os.lseek(fd, 0, os.SEEK_END):
                    os.lseek(fd, -1, os.SEEK_END)
                    torn = os.read(fd, 1) != b"\n"
                text = b"".join(line + b"\n" for line in lines)
                self._disk.write(fd, b"\n" + text if torn else text)
                if durable:
                    self._disk.fsync(fd)

            yield add


def make_directories(path: Path, *, mode: int = 0o700, disk: Disk = DISK) -> None:
    """Create a directory and its parents, with ``mode`` each, synced. Raises: Busy (disk full)."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    with explained_when_full():
        for each in reversed(missing):
            each.mkdir(mode=mode, exist_ok=True)
            disk.fsync_directory(each.parent)


@contextlib.contextmanager
def locked_directory(path: Path, *, disk: Disk = DISK) -> Iterator[int]:
    """Open a directory and lock it against other processes; yield its descriptor.

    On a share the lock is a file ``.lock`` in the directory: a directory itself would be locked on
    this machine only. Students must not be able to write the directory.

    Raises: ``OSError``.
    """
    flags = os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC
    with closing_fd(os.open(path, flags)) as directory:
        if not disk.is_shared(directory):
            with locked(directory):
                yield directory
            return
        with closing_fd(_open_lock(directory)) as lock, locked(lock):
            # The machine that had the lock before may have replaced files meanwhile.
            disk.look_again(".", directory)
            yield directory


def _open_lock(directory: int) -> int:
    """Open a directory's lock file to write; all who may write the directory may lock it."""
    flags = os.O_RDWR | os.O_CREAT | open_flags.NOFOLLOW | open_flags.CLOEXEC
    lock = os.open(LOCK, flags, 0o600, dir_fd=directory)
    status, above = os.fstat(lock), os.fstat(directory)
    wanted = above.st_mode & 0o666
    if sys.platform != "win32":
        is_own = status.st_uid == os.geteuid()
        if is_own and stat.S_IMODE(status.st_mode) != wanted:
            os.fchmod(lock, wanted)
    return lock


@contextlib.contextmanager
def locked(fd: int) -> Iterator[None]:
    """Lock the file or directory ``fd`` against other processes, if the file system can."""
    try:
        file_lock.acquire(fd, seconds=None)
    except OSError as error:
        # Some network file systems cannot lock directories; go on without a lock then.
        _log.debug("The file system cannot lock this file or directory: %s", error)
        yield
        return
    try:
        yield
    finally:
        file_lock.release(fd)
