"""A small process that leads programs into namespaces on behalf of the supervisor.

To enter takes three forks, and each copies the page tables of who forks: 7 ms of processor time
for one session where the supervisor does it, and its loop stands still meanwhile; 2 ms here, where
little is in memory. It decides nothing and holds nothing between two requests, and it ends with
the supervisor. Whoever wants it asks by :class:`Porter`; :func:`main` is the other end. Only the
standard library is imported, since what is imported is what is copied.
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
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mograder.sandbox.namespaces import Executable, Joined, Standard, enter

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mograder.sandbox.porter import main; main(*map(int, sys.argv[2:]))"
)
_PACKAGES = Path(__file__).parent.parent.parent
_REQUEST_BYTES = 128 << 10
_ANSWER_BYTES = 4096
_MOST_DESCRIPTORS = 32
_SECONDS = 10.0
"""How long one request may take: the supervisor waits for it."""

_PR_SET_PDEATHSIG = 1
_DONE, _REFUSED = b"+", b"-"


class _Request(TypedDict):
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


class Porter:
    """The supervisor's end; on one thread only. One that died is replaced at the next request.

    Mutable state: ``_control``, the line to the process, and ``_process``.
    """

    def __init__(self) -> None:
        """Start it. Raises: :class:`OSError`."""
        self._control, self._process = _start()

    def enter(
        self, place: Joined, launch: Executable, variables: Mapping[str, str], streams: Standard
    ) -> int:
        """Start a program in its place; returns a pidfd of it.

        Raises: :class:`OSError` when the kernel refuses that, or no answer comes.
        """
        entry = () if launch.entry is None else (launch.entry,)
        handed = [place.pidfd, streams.stdin, streams.output, *launch.descriptors, *entry]
        words = json.dumps(_request(place, launch, variables)).encode()
        try:
            socket.send_fds(self._control, [words], handed)
        except (BrokenPipeError, ConnectionError):  # it was killed; nothing was begun
            self._renew()
            socket.send_fds(self._control, [words], handed)
        try:
            said, found, _, _ = socket.recv_fds(
                self._control, _ANSWER_BYTES, 1, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            self._renew()  # whatever it is still at must not be taken for the next answer
            raise
        if said[:1] == _DONE and found:
            return found[0]
        if not said:
            self._renew()
        raise PermissionError(said[1:].decode("utf-8", "replace") or "the porter has gone")

    def close(self) -> None:
        """End it."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _renew(self) -> None:
        self.close()
        self._control, self._process = _start()


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_SECONDS)
    with theirs:
        numbers = (str(theirs.fileno()), str(os.getpid()))
        command = [sys.executable, "-I", "-S", "-c", _BOOT, str(_PACKAGES), *numbers]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    return ours, process


def _request(place: Joined, launch: Executable, variables: Mapping[str, str]) -> _Request:
    return {
        "flags": place.flags,
        "uid": place.uid,
        "capabilities": list(place.capabilities),
        "program": base64.b64encode(place.program).decode(),
        "argv": list(launch.argv),
        "variables": dict(variables),
        "directory": launch.directory,
        "umask": launch.umask,
        "numbers": list(launch.descriptors),
        "entry": launch.entry is not None,
    }


@dataclass(frozen=True, slots=True)
class _Errand:
    """What to execute, as :class:`~mograder.sandbox.namespaces.Executable` has it."""

    argv: Sequence[str]
    directory: str
    descriptors: Sequence[int]
    umask: int
    entry: int | None


def main(control: int, supervisor: int) -> None:
    """Do what is asked, one after the other, until the supervisor hangs up or dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it has died before we asked for that
        return
    line = socket.socket(fileno=control)
    line.set_inheritable(False)
    while True:
        words, given, _, _ = socket.recv_fds(
            line, _REQUEST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not words:
            return
        request: _Request = json.loads(words)
        floor = max((2, *request["numbers"])) + 1
        line = _above(line, floor)
        _serve(line, request, [_lifted(descriptor, floor) for descriptor in given])


def _above(line: socket.socket, floor: int) -> socket.socket:
    """Keep our own line away from the numbers that a program expects."""
    if line.fileno() >= floor:
        return line
    return socket.socket(fileno=_lifted(line.detach(), floor))


def _lifted(descriptor: int, floor: int) -> int:
    lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)
    os.close(descriptor)
    return lifted


def _serve(line: socket.socket, request: _Request, held: list[int]) -> None:
    """The arguments name descriptors by the supervisor's numbers, so they get those here."""
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
        _answer(line, _REFUSED + str(error).encode(), [])
    else:
        _answer(line, _DONE, [found])
        os.close(found)
    finally:
        for descriptor in (*held, *placed):
            os.close(descriptor)


def _answer(line: socket.socket, words: bytes, descriptors: list[int]) -> None:
    with contextlib.suppress(ConnectionError):  # it has hung up, as the next request will tell
        socket.send_fds(line, [words[:_ANSWER_BYTES]], descriptors)
