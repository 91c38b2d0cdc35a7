"""The pipes by which the checks of running notebooks report to the hub.

An editor's session inherits the write end of a pipe, and has no other way to its read end than to
write. A pipe carries bytes in one direction and no descriptors: a socket would deliver those that
student code attaches to a message, and closing them can block this process for as long as that code
likes (``SO_LINGER``). Writes to a full pipe fail at once, so a reader that pauses costs nothing.

What is read is a claim of student code. It is bounded here, and validated by the hub.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable
from contextlib import suppress

from mograder.core.rate_limit import Rate, TokenBucket
from mograder.sandbox.protocol import LONGEST_REPORT, MOST_REPORTS, Checked, SessionChecks

_log = logging.getLogger("mograder.supervisor")

_TELL_SECONDS = 0.2
"""The shortest time between two messages, each of at most ``MOST_REPORTS`` reports."""
_PIPE_BYTES = 16_384
"""The size of a pipe, and of one read: a session may enlarge its pipe, which does not matter."""
_MOST_LINES = 25
"""The reports that one read passes on, the newest; the rest of a flood is dropped."""
_REPORTS = Rate(burst=100, per_second=5)
"""The reports of one session: all of a notebook that runs at once, then as fast as a person."""
_WRITE_ONLY = 0o222
"""The pipe's mode: every uid may open its write end, if it can reach it at all (by ``/proc``)."""
_FIRST_PRINTABLE = 0x20


class CheckPipes:
    """The pipes of a supervisor's sessions. ``tell`` is called with their reports.

    Mutable state: the open pipes, the reports that were not told yet, both by session, and the
    pipes that wait until they are told.
    """

    def __init__(self, tell: Callable[[Checked], None]) -> None:
        self._tell = tell
        self._open: dict[str, _Pipe] = {}
        self._found: dict[str, list[str]] = {}
        self._count = 0
        self._waiting: list[_Pipe] = []
        self._telling = False

    def open(self, session_id: str) -> tuple[int, ...]:
        """Make a session's pipe, and return its write end, which the caller closes.

        Without a free descriptor the result is empty, and the session starts without reports.
        """
        try:
            read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            _log.warning("session %s cannot report its checks: %s", session_id, error)
            return ()
        os.fchmod(write_end, _WRITE_ONLY)
        with suppress(PermissionError):  # this user has many pipes; the size is only memory
            fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._open[session_id] = _Pipe(read_end, session_id, self)
        return (write_end,)

    def close(self, session_id: str) -> None:
        if (pipe := self._open.pop(session_id, None)) is not None:
            pipe.close()

    def note(self, session_id: str, reports: list[str]) -> None:
        """Tell these reports soon, together with those of other sessions."""
        if not reports:
            return
        self._found.setdefault(session_id, []).extend(reports)
        self._count += len(reports)
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell_found)

    def is_full(self, pipe: _Pipe) -> bool:
        """Return whether a pipe must wait for the next message, after which it reads again."""
        if self._count + _MOST_LINES <= MOST_REPORTS:
            return False
        self._waiting.append(pipe)
        return True

    def _tell_found(self) -> None:
        found, self._found = self._found, {}
        waiting, self._waiting = self._waiting, []
        self._count, self._telling = 0, False
        sessions = (SessionChecks(session_id=k, reports=tuple(v)) for k, v in found.items())
        self._tell(Checked(sessions=tuple(sessions)))
        for pipe in waiting:
            pipe.read_on()


class _Pipe:
    """The read end of one session's pipe, which is read while its rate allows that.

    It closes itself when no process has the write end any more: the start may have failed.
    """

    def __init__(self, descriptor: int, session_id: str, pipes: CheckPipes) -> None:
        self._descriptor = descriptor
        self._session_id = session_id
        self._pipes = pipes
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._bucket = TokenBucket(_REPORTS, self._loop.time())
        self.read_on()

    def read_on(self) -> None:
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Close the read end; writes fail from now on."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def _read(self) -> None:
        if self._pipes.is_full(self):
            self._loop.remove_reader(self._descriptor)
            return
        try:
            data = os.read(self._descriptor, _PIPE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a page of a file that was spliced into the pipe has vanished
            data = b""
        if not data:
            self._pipes.close(self._session_id)
            return
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: LONGEST_REPORT + 1]
        lines = lines[-_MOST_LINES:]
        self._pipes.note(self._session_id, [each.decode() for each in lines if _is_text(each)])
        pause = self._bucket.take(max(1, len(lines)), self._loop.time())
        if pause:
            self._loop.remove_reader(self._descriptor)
            self._loop.call_later(pause, self.read_on)


def _is_text(line: bytes) -> bool:
    """Return whether a line may be passed on: of bounded size, also when it is quoted in JSON."""
    if not 0 < len(line) <= LONGEST_REPORT or min(line) < _FIRST_PRINTABLE:
        return False
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
