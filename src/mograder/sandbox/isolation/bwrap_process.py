"""A sandbox that runs, as seen from the supervisor: bubblewrap outside, the rest inside.

It ends by SIGKILL to its first process through a pidfd: student code can stop everything else, but
not that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mograder.sandbox.isolation.child_process import Child

_log = logging.getLogger("mograder.supervisor")

_INFO_LIMIT = 4096
_CHILD_PID = re.compile(rb'"child-pid": (\d+)\b[^\d]')
_STAND_SECONDS = 5.0
_ECHO = b"\n"


class NotJoinedError(Exception):
    """A warm start failed on the way; its words name the step. Whoever asked starts cold."""


class ZygoteGoneError(NotJoinedError):
    """The zygote died before it answered; the next one may do better.

    ``asked`` tells whether it did so over this very request.
    """

    def __init__(self, *, asked: bool) -> None:
        super().__init__("zygote died")
        self.asked = asked


class BwrapProcess:
    """bwrap's monitor outside, its first process inside, the program below that.

    It has ended when the first process is gone, and with it, by the kernel's rule for pid
    namespaces, everything that was in there; the monitor's end alone promises nothing.
    """

    def __init__(
        self,
        child: Child,
        info: int | None,
        settle: Callable[[int], None] = lambda _: None,
        gate: int = -1,
    ) -> None:
        """``settle`` gets the first process's pid before the program runs.

        The program waits for ``gate`` to be closed. Whoever could not be settled is ended first.
        """
        loop = asyncio.get_running_loop()
        self._settle = settle
        self._gate = gate
        self.exited: asyncio.Future[int] = loop.create_future()
        self._child = child
        self._info = -1 if info is None else info
        self._told = b""
        self._first = -1
        self._first_pid = 0
        self._unwanted = False
        if info is not None:
            os.set_blocking(info, False)
            loop.add_reader(info, self._read_info)
        child.exited.add_done_callback(lambda _: self._monitor_gone())

    @property
    def first_pid(self) -> int:
        """The host's pid of the sandbox's first process, 0 while it is not known."""
        return self._first_pid

    def _read_info(self) -> None:
        """bwrap tells the pid of the sandbox's first process as soon as it exists.

        It goes on writing after that, so the pipe is read to its end.
        """
        try:
            data = os.read(self._info, _INFO_LIMIT)
        except BlockingIOError:
            return
        self._told += data[: _INFO_LIMIT - len(self._told)]
        found = _CHILD_PID.search(self._told)
        if found and self._first < 0:
            self._first_pid = int(found[1])
            with contextlib.suppress(ProcessLookupError):
                self._first = os.pidfd_open(self._first_pid)
            if self._unwanted or not self._settled():
                self.end()
            self._open_gate()
        if not data:
            self._stop_reading()

    def _settled(self) -> bool:
        try:
            self._settle(self._first_pid)
        except OSError as error:
            _log.error("a sandbox could not be given its limits, and is ended: %s", error)
            return False
        return True

    def _open_gate(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def _stop_reading(self) -> None:
        if self._info >= 0:
            asyncio.get_running_loop().remove_reader(self._info)
            os.close(self._info)
            self._info = -1

    def end_gently(self) -> None:
        # A pid may have been reused between looking and signalling: the pidfd is taken first,
        # and what it names must still be the first process's child.
        programs = children_of(self._first_pid) if self._first >= 0 else []
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                if pid in children_of(self._first_pid):
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                os.close(descriptor)
        if self._first < 0:
            # Not by its monitor's death: a first process that nobody knows yet would stay.
            self._unwanted = True
        elif not programs:  # nothing runs in there that could have something to save
            self.end()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._first >= 0:
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            else:  # it never came up; its monitor takes what there is of it along
                self._child.signal(signal.SIGKILL)

    def _monitor_gone(self) -> None:
        if self._info >= 0:
            self._read_info()  # the last words, if the loop has not come to them yet
            self._stop_reading()
        self._open_gate()
        if self._first < 0:
            self.exited.set_result(self._child.exited.result())
            return
        self.end()
        asyncio.get_running_loop().add_reader(self._first, self._first_gone)

    def _first_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._first)
        os.close(self._first)
        self._first = -1
        with contextlib.suppress(ChildProcessError):  # ours since its monitor is gone
            os.waitpid(self._first_pid, os.WNOHANG)
        self.exited.set_result(self._child.exited.result())


class Echo:
    """Takes the holder's answer out of what a sandbox prints, and passes on the rest."""

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_output = on_output

    def hear(self, data: bytes) -> None:
        """Take what was printed."""
        if not self.heard.done() and data.startswith(_ECHO):
            self.heard.set_result(None)
            data = data[len(_ECHO) :]
        if data:
            self._on_output(data)


class Held(BwrapProcess):
    """A sandbox with a holder in it, which waits to be joined.

    The holder echoes a byte once all is mounted. Nobody relies on it once student code runs
    beside it.
    """

    def __init__(self, child: Child, told: int, echo: Echo) -> None:
        super().__init__(child, None)
        self._told_holder = told
        self._echo = echo
        self.holder = -1
        """A pidfd of the holder, from :meth:`stand` to :meth:`let_go`."""
        self.exited.add_done_callback(lambda _: self._put_away())

    @property
    def output(self) -> int:
        """Where what joins writes its output; open until :meth:`let_go`."""
        return self._child.lent

    def end(self) -> None:
        self._look_inside()
        super().end()

    async def stand(self) -> None:
        """Wait until the sandbox can be joined. Raises: :class:`NotJoinedError`."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._told_holder, _ECHO)
        either: tuple[asyncio.Future[Any], ...] = (self._echo.heard, self.exited)
        await asyncio.wait(either, timeout=_STAND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self._echo.heard.done():
            raise NotJoinedError("sandbox")
        self._look_inside()
        holders = children_of(self._first_pid) if self._first >= 0 else []
        if not holders:
            raise NotJoinedError("holder")
        # Nothing else is in there yet, so the number is still its own.
        self.holder = os.pidfd_open(holders[0])

    def let_go(self) -> None:
        """Close what only the joining needed; the holder stays where it is."""
        self._child.end_loan()
        if self.holder >= 0:
            os.close(self.holder)
            self.holder = -1

    def _put_away(self) -> None:
        self.let_go()
        os.close(self._told_holder)

    def _look_inside(self) -> None:
        """Find the first process: in a zygote group, bubblewrap does not know what we call it.

        It is the monitor's only child, and the monitor lives until the sandbox has ended.
        """
        if self._first >= 0:
            return
        self._first_pid = next(iter(children_of(self._child.pid)), 0)
        with contextlib.suppress(ProcessLookupError):
            self._first = os.pidfd_open(self._first_pid) if self._first_pid else -1


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children; none if it is gone."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
