"""A small process that starts programs in namespaces on behalf of the supervisor.

Entering takes three forks, and each copies the page tables of the forking process: 7 ms of CPU
time for one session in the supervisor, whose loop blocks meanwhile; 2 ms in a process with little
memory. This is the supervisor's end; ``namespace_helper_process.py`` is the process.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

from mograder.sandbox.isolation.namespace_helper_process import ANSWER_BYTES, DONE
from mograder.sandbox.isolation.namespaces import Joined, Launch

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mograder.sandbox.isolation.namespace_helper_process import main; "
    "main(*map(int, sys.argv[2:]))"
)
_PACKAGES = Path(__file__).parents[3]
_SECONDS = 10.0
"""Timeout of one request, for which the supervisor waits."""


class NamespaceHelper:
    """The supervisor's end. A process that died is replaced at the next request.

    Mutable state: ``_control``, the socket to the process, and ``_process``; ``_turn`` serialises
    the requests.
    """

    def __init__(self) -> None:
        """Start the process. Raises: :class:`OSError`."""
        self._control, self._process = _start()
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def enter(self, launch: Launch, output: int) -> int:
        """Start a program in its place, which is a :class:`Joined`; return a pidfd of it.

        Must not be cancelled.

        A thread waits for the answer. The process itself is only started from the loop's thread,
        since its PDEATHSIG is sent when the thread that forked it ends.

        Raises: :class:`OSError` when the kernel refuses, or no answer arrives.
        """
        assert isinstance(launch.place, Joined)
        given = (fd for fd in (launch.stdin, launch.entry) if fd is not None)
        handed = [launch.place.pidfd, output, *launch.descriptors, *given]
        words = pickle.dumps(launch)
        async with self._turn:
            if self._control.fileno() < 0:  # the one before could not be replaced
                self._renew()
            try:
                await asyncio.to_thread(socket.send_fds, self._control, [words], handed)
            except (BrokenPipeError, ConnectionError):  # it was killed; nothing was started
                self._renew()
                await asyncio.to_thread(socket.send_fds, self._control, [words], handed)
            try:
                said, found = await asyncio.to_thread(_hear, self._control)
            except OSError:
                self._renew()  # a late answer must not be taken for the next request's
                raise
            if said[:1] == DONE and found:
                return found[0]
            if not said:
                self._renew()
        raise PermissionError(
            said[1:].decode("utf-8", "replace") or "the namespace helper has ended"
        )

    def close(self) -> None:
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


def _hear(control: socket.socket) -> tuple[bytes, list[int]]:
    flags = socket.MSG_CMSG_CLOEXEC
    said, found, _, _ = socket.recv_fds(control, ANSWER_BYTES, 1, flags)
    return said, found
