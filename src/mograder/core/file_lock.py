"""Locks between processes by ``flock``, which the kernel releases when the holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_BETWEEN_TRIES = 0.05


def open_lock(path: Path) -> int:
    """Open a lock file that only its owner may read, and return the descriptor.

    Raises: ``OSError``.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def acquire(fd: int, *, seconds: float | None = 0, shared: bool = False) -> bool:
    """Lock an open file or directory until it is released or its descriptor closed.

    Wait at most ``seconds`` for another holder, without limit if None. A shared lock excludes
    exclusive ones only. Return False if another holder still has the lock after that time.

    Raises: ``OSError`` where the file system has no locks.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if seconds is None:
        fcntl.flock(fd, operation)
        return True
    deadline = time.monotonic() + seconds
    while True:
        try:
            # flock has no timeout.
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_BETWEEN_TRIES)
        else:
            return True


def release(fd: int) -> None:
    """Release a lock while the descriptor stays open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
