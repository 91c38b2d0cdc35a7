"""Locks between processes, by ``flock``: the kernel gives one back when its holder is gone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_BETWEEN_TRIES = 0.05


def open_lock(path: Path) -> int:
    """Open a lock file, which only its owner may read; return the descriptor.

    Raises: ``OSError``.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def acquire(fd: int, *, seconds: float | None = 0, shared: bool = False) -> bool:
    """Lock an open file or directory until it is released or its descriptor closed.

    ``seconds`` is how long to wait for another holder, None for any time; a shared lock keeps out
    exclusive ones only. Returns False when another one held the lock to the end of that time.

    Raises: ``OSError`` where the file system has no locks.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if seconds is None:
        fcntl.flock(fd, operation)
        return True
    deadline = time.monotonic() + seconds
    while True:
        try:
            # There is no flock with a timeout.
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_BETWEEN_TRIES)
        else:
            return True


def release(fd: int) -> None:
    """Give a lock back while the descriptor stays open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
