"""The process that enters namespaces for the supervisor (``namespace_helper``).

It keeps no state between two requests, and it ends with the supervisor. Imported modules cost
time at each fork (page tables), so it imports only a little of the standard library.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from mograder.sandbox.isolation.namespaces import Joined, Standard, enter

ANSWER_BYTES = 4096
DONE, REFUSED = b"+", b"-"
_REQUEST_BYTES = 128 << 10
_MOST_DESCRIPTORS = 32
_PR_SET_PDEATHSIG = 1


class Request(TypedDict):
    """A program to start and its namespaces; the descriptors are passed with the message."""

    flags: int
    uid: int
    capabilities: list[int]
    program: str
    argv: list[str]
    variables: dict[str, str]
    directory: str
    umask: int
    numbers: list[int]
    entry: bool


@dataclass(frozen=True, slots=True)
class _Errand:
    """A program to execute (:class:`~mograder.sandbox.isolation.namespaces.Executable`)."""

    argv: Sequence[str]
    directory: str
    descriptors: Sequence[int]
    umask: int
    entry: int | None


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
        request: Request = json.loads(words)
        floor = max((2, *request["numbers"])) + 1
        line = _above(line, floor)
        _serve(line, request, [_lifted(descriptor, floor) for descriptor in given])


def _above(line: socket.socket, floor: int) -> socket.socket:
    """Move our socket above the descriptor numbers that a program expects."""
    if line.fileno() >= floor:
        return line
    return socket.socket(fileno=_lifted(line.detach(), floor))


def _lifted(descriptor: int, floor: int) -> int:
    lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)
    os.close(descriptor)
    return lifted


def _serve(line: socket.socket, request: Request, held: list[int]) -> None:
    """Start the program and answer; dup its descriptors to the numbers its arguments name."""
    pidfd, stdin, output, *rest = held
    numbers = request["numbers"]
    entry = rest[-1] if request["entry"] else None
    placed = [
        os.dup2(descriptor, number, inheritable=False)
        for number, descriptor in zip(numbers, rest, strict=False)
    ]
    place = Joined(
        pidfd,
        request["flags"],
        request["uid"],
        tuple(request["capabilities"]),
        base64.b64decode(request["program"]),
    )
    errand = _Errand(request["argv"], request["directory"], numbers, request["umask"], entry)
    try:
        found = enter(place, errand, request["variables"], Standard(stdin, output))
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
