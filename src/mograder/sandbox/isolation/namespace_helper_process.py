"""The process that enters namespaces for the supervisor (``namespace_helper``).

It keeps no state between two requests, and it ends with the supervisor. Imported modules cost
time at each fork (page tables), so it imports only a little of the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle
import signal
import socket
from dataclasses import replace

from mograder.sandbox.isolation.namespaces import Joined, Launch, enter

ANSWER_BYTES = 4096
DONE, REFUSED = b"+", b"-"
_REQUEST_BYTES = 128 << 10
_MOST_DESCRIPTORS = 32
_PR_SET_PDEATHSIG = 1


def main(control: int, supervisor: int) -> None:
    """Serve requests one after the other until the supervisor closes the socket or dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before PDEATHSIG was set
        return
    line = socket.socket(fileno=control)
    line.set_inheritable(False)
    while True:
        words, given, _, _ = socket.recv_fds(
            line, _REQUEST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not words:
            return
        launch: Launch = pickle.loads(words)  # noqa: S301 - only the supervisor has the other end
        floor = max((2, *launch.descriptors)) + 1
        line = _above(line, floor)
        _serve(line, launch, [_lifted(descriptor, floor) for descriptor in given])


def _above(line: socket.socket, floor: int) -> socket.socket:
    """Move our socket above the descriptor numbers that a program expects."""
    if line.fileno() >= floor:
        return line
    return socket.socket(fileno=_lifted(line.detach(), floor))


def _lifted(descriptor: int, floor: int) -> int:
    lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)
    os.close(descriptor)
    return lifted


def _serve(line: socket.socket, launch: Launch, held: list[int]) -> None:
    """Start the program and answer; dup its descriptors to the numbers its arguments name."""
    pidfd, output, *rest = held
    numbers = launch.descriptors
    placed = [
        os.dup2(descriptor, number, inheritable=False)
        for number, descriptor in zip(numbers, rest, strict=False)
    ]
    given = iter(rest[len(numbers) :])
    stdin = None if launch.stdin is None else next(given)
    entry = None if launch.entry is None else next(given)
    assert isinstance(launch.place, Joined)
    place = replace(launch.place, pidfd=pidfd)
    try:
        found = enter(place, replace(launch, stdin=stdin, entry=entry), output)
    except OSError as error:
        _answer(line, REFUSED + str(error).encode(), [])
    else:
        _answer(line, DONE, [found])
        os.close(found)
    finally:
        for descriptor in (*held, *placed):
            os.close(descriptor)


def _answer(line: socket.socket, words: bytes, descriptors: list[int]) -> None:
    with contextlib.suppress(ConnectionError):  # closed: the next receive returns nothing
        socket.send_fds(line, [words[:ANSWER_BYTES]], descriptors)
