"""The process of a node: only one in its directory, and signals to it by its number."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.files import file_lock

_LOCK = "agent.lock"
_HOLD_SECONDS = 5.0
_DIGITS = 20


@contextlib.contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the lock of a node's directory, with the number of this process in the file.

    Raises: :class:`Conflict` if another node is at work there, :class:`InvalidInput` for a
    directory in which this user cannot write.
    """
    try:
        lock = file_lock.open_lock(state / _LOCK)
    except OSError as error:
        raise InvalidInput(
            f"The node's directory {state} cannot be written: {error.strerror} ({_LOCK}).",
            hint="Run the node as the user who owns it, or name another one with --state.",
        ) from error
    try:
        if not file_lock.acquire(lock, seconds=_HOLD_SECONDS):
            raise Conflict(
                f"Another node is at work in {state}.",
                hint="Stop it, or give this one a directory of its own with --state.",
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def send(state: Path, number: signal.Signals) -> None:
    """Send a signal to the node of a directory. Raises: :class:`NotFound` if none is at work."""
    absent = NotFound(f"No node is at work in {state}.", hint="Name its directory with --state.")
    try:
        lock = os.open(state / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        raise absent from None
    try:
        text = os.pread(lock, _DIGITS, 0).decode("ascii", "replace")
        if not text.isdecimal() or file_lock.acquire(lock):
            raise absent  # it has ended, and the number may be another process's
        # Opened before the lock is tried again: then the process is the one that holds it.
        process = os.pidfd_open(int(text))
        try:
            if file_lock.acquire(lock):
                raise absent
            signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
    except (ProcessLookupError, PermissionError):
        raise absent from None
    finally:
        os.close(lock)
