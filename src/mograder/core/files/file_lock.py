"""Locks between processes, which the system releases when the holder ends.

They are ``flock``'s; on Windows those of its C library, which lock a byte of a file. Other programs
there cannot read a byte that is locked, so it is one far behind the file's end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path

from mograder.core.files import open_flags
from mograder.core.operating_system import SYSTEM

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BETWEEN_TRIES = 0.05
_LOCKED_BYTE = 0x7FFF_FFFE
"""Its place: files that are locked are smaller, and Windows locks no byte behind 2 GiB."""


def open_lock(path: Path) -> int:
    """Open a lock file that only its owner may read; return its descriptor. Raises: ``OSError``."""
    flags = os.O_RDWR | os.O_CREAT | open_flags.NOFOLLOW | open_flags.CLOEXEC
    return os.open(path, flags | open_flags.BINARY, 0o600)


def acquire(fd: int, *, seconds: float | None = 0, shared: bool = False) -> bool:
    """Lock an open file or directory until it is released or its descriptor closed.

    Wait at most ``seconds`` for another holder, without limit if None; then return False. A shared
    lock excludes exclusive ones only, except on Windows.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    # flock waits without a timeout or not at all, and Windows for ten seconds.
    while not _taken(fd, shared=shared, wait=seconds is None):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(_BETWEEN_TRIES)
    return True


class LockFile:
    """A lock by a file that exists only while it is held, or after a crash; not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Lock it; return False if another process has it. Raises: ``OSError``."""
        while self._fd is None:
            fd = open_lock(self._path)
            if not acquire(fd):
                os.close(fd)
                return False
            if self._is_still(fd):
                self._fd = fd
            else:
                os.close(fd)
        return True

    def drop(self) -> None:
        """Release it and remove the file; do nothing if it is not held."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        if SYSTEM != "windows":
            self._path.unlink(missing_ok=True)
        os.close(fd)
        if SYSTEM == "windows":
            with contextlib.suppress(OSError):  # another process has opened it meanwhile
                self._path.unlink()

    def _is_still(self, fd: int) -> bool:
        """Return whether no other process has removed the file between our two calls."""
        try:
            return SYSTEM == "windows" or os.path.samestat(self._path.lstat(), os.fstat(fd))
        except FileNotFoundError:
            return False


if sys.platform == "win32":

    def release(fd: int) -> None:
        """Release a lock while the descriptor stays open."""
        _at_locked_byte(fd, msvcrt.LK_UNLCK)

    def _taken(fd: int, *, shared: bool, wait: bool) -> bool:
        """Try to lock a file; return False if another holder has the lock."""
        try:
            _at_locked_byte(fd, msvcrt.LK_NBLCK)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
        return True

    def _at_locked_byte(fd: int, mode: int) -> None:
        before = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, mode, 1)
        finally:
            os.lseek(fd, before, os.SEEK_SET)

else:

    def release(fd: int) -> None:
        """Release a lock while the descriptor stays open."""
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _taken(fd: int, *, shared: bool, wait: bool) -> bool:
        """Lock a file, if told to as soon as it is free; return False if another has the lock."""
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
