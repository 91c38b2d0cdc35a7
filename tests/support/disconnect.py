"""Cut the connections of another process at a Unix socket, as a fault would; it goes on.

Its descriptor is duplicated (``pidfd_getfd``), and the socket shut down.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress

from mograder.sandbox.limits.procfs import sockets_of

_log = logging.getLogger("mograder.supervisor")
_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438
"""The system call's number, the same on all architectures."""


def hang_up(pids: Iterable[int], path: str) -> bool:
    """Shut down every connection that these processes have accepted at a Unix socket's path.

    Return whether the descriptors of each process could be read. Blocks for some milliseconds.
    """
    done = [_hang_up(pid, path) for pid in pids]
    return all(done)


def _hang_up(pid: int, path: str) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        for number in sockets_of(pid):
            borrowed = _borrow(process, number)
            if borrowed is not None:
                _cut(borrowed, path)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError as error:
        _log.error("the connections of process %d cannot be shut down: %s", pid, error)
        return False
    finally:
        os.close(process)
    return True


def _borrow(process: int, number: int) -> socket.socket | None:
    """Return a duplicate of another process's socket; None if it was closed or replaced meanwhile.

    ``process`` is a pidfd. Raises: :class:`OSError`.
    """
    descriptor: int = _libc.syscall(_PIDFD_GETFD, process, number, 0)
    if descriptor < 0:
        error = ctypes.get_errno()
        if error == errno.EBADF:
            return None
        raise OSError(error, os.strerror(error))
    try:
        return socket.socket(fileno=descriptor)
    except OSError:  # the number was reused for a file that is not a socket
        os.close(descriptor)
        return None


def _cut(borrowed: socket.socket, path: str) -> None:
    """Shut down a socket if it is a connection that was accepted at this path; close ours."""
    with suppress(OSError), borrowed:
        # getpeername fails on the listening socket; other sockets have another name.
        if borrowed.family == socket.AF_UNIX and borrowed.getsockname() == path:
            borrowed.getpeername()
            borrowed.shutdown(socket.SHUT_RDWR)
