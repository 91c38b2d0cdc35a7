"""Cut the connections to a session's server without its help, and without ending the session.

A web server on the fast path holds a WebSocket to the session that the hub has no part in. When its
viewer signs out it has to end (security.md), and only the session's own process holds the other
end, which student code may own. So the supervisor borrows that end and shuts it down. Pages of
other viewers connect again.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger("mograder.supervisor")
_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438
"""The same number on every architecture that Linux has had since it exists."""


def hang_up(pids: Iterable[int], path: str) -> bool:
    """Shut down every connection that these processes have accepted at a Unix socket's path.

    Returns whether each process could be looked into. Blocks for some milliseconds.
    """
    done = [_hang_up(pid, path) for pid in pids]
    return all(done)


def _hang_up(pid: int, path: str) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        for number in _sockets_of(pid):
            _cut(_borrow(process, number), path)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError as error:
        _log.error("the connections of process %d cannot be cut: %s", pid, error)
        return False
    finally:
        os.close(process)
    return True


def _sockets_of(pid: int) -> list[int]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(entry.readlink()).startswith("socket:"):
                found.append(int(entry.name))
    return found


def _borrow(process: int, number: int) -> int | None:
    """Return our own descriptor of another process's socket; None if it was closed meanwhile."""
    descriptor: int = _libc.syscall(_PIDFD_GETFD, process, number, 0)
    if descriptor >= 0:
        return descriptor
    error = ctypes.get_errno()
    if error == errno.EBADF:
        return None
    raise OSError(error, os.strerror(error))


def _cut(descriptor: int | None, path: str) -> None:
    """Shut down a socket if it is a connection accepted at this path, whoever holds it by now."""
    if descriptor is None:
        return
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:  # its number is another file by now, and no socket
        os.close(descriptor)
        return
    with suppress(OSError), borrowed:
        # One that listens has no peer, and any other socket another name.
        if borrowed.family == socket.AF_UNIX and borrowed.getsockname() == path:
            borrowed.getpeername()
            borrowed.shutdown(socket.SHUT_RDWR)
