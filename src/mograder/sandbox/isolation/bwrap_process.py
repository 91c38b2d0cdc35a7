"""A running sandbox, as seen from the supervisor: bubblewrap outside, its processes inside.

It is ended by SIGKILL to its first process through a pidfd: student code can stop every other
process, but not that one.
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
    """A warm start failed; the message names the step. The caller starts the session cold."""


class ZygoteGoneError(NotJoinedError):
    """The zygote died before it answered; a retry with the next one may work.

    ``asked`` is whether it died while it handled this request.
    """

    def __init__(self, *, asked: bool) -> None:
        super().__init__("zygote died")
        self.asked = asked


class BwrapProcess:
    """bwrap's monitor outside, its first process inside, the program below that.

    It has ended when the first process has ended: the kernel then kills every process in its pid
    namespace. The monitor's exit alone does not guarantee that.
    """

    def __init__(
        self,
        child: Child,
        info: int | None,
        settle: Callable[[int], None] = lambda _: None,
        gate: int = -1,
    ) -> None:
        """``settle`` is called with the first process's pid before the program runs.

        The program waits until ``gate`` is closed. If ``settle`` raises OSError, the sandbox is
        killed first. ``info`` is the read end of bwrap's ``--info-fd``.
        """
        loop = asyncio.get_running_loop()
        self._settle = settle
        self._gate = gate
        self.exited: asyncio.Future[int] = loop.create_future()
        self._child = child
        self._info = -1 if info is None else info
        self._told = b""
        self._first = -1
        self.first_pid = 0
        """The host pid of the sandbox's first process, 0 while it is not known."""
        self._unwanted = False
        if info is not None:
            os.set_blocking(info, False)
            loop.add_reader(info, self._read_info)
        child.exited.add_done_callback(lambda _: self._monitor_gone())

    def _read_info(self) -> None:
        """Read the first process's pid, which bwrap writes as soon as that process exists.

        bwrap writes more after that, so the pipe is read to its end.
        """
        try:
            data = os.read(self._info, _INFO_LIMIT)
        except BlockingIOError:
            return
        self._told += data[: _INFO_LIMIT - len(self._told)]
        found = _CHILD_PID.search(self._told)
        if found and self._first < 0:
            self.first_pid = int(found[1])
            with contextlib.suppress(ProcessLookupError):
                self._first = os.pidfd_open(self.first_pid)
            if self._unwanted or not self._settled():
                self.end()
            self._open_gate()
        if not data:
            self._stop_reading()

    def _settled(self) -> bool:
        try:
            self._settle(self.first_pid)
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
        # A pid may be reused between lookup and signal: open the pidfd first, then check that
        # the pid is still a child of the first process.
        programs = children_of(self.first_pid) if self._first >= 0 else []
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                if pid in children_of(self.first_pid):
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                os.close(descriptor)
        if self._first < 0:
            # Do not kill the monitor: a first process not known yet would survive it.
            self._unwanted = True
        elif not programs:  # no program runs inside that could save its state
            self.end()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._first >= 0:
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            else:  # no first process was reported; killing the monitor ends the rest
                self._child.signal(signal.SIGKILL)

    def _monitor_gone(self) -> None:
        if self._info >= 0:
            self._read_info()  # the rest of the pipe, if the loop has not read it yet
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
        with contextlib.suppress(ChildProcessError):  # adopted from the monitor
            os.waitpid(self.first_pid, os.WNOHANG)
        self.exited.set_result(self._child.exited.result())


class Echo:
    """Removes the placeholder's echoed byte from a sandbox's output and passes the rest on."""

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_output = on_output

    def hear(self, data: bytes) -> None:
        """Process a chunk of output."""
        if not self.heard.done() and data.startswith(_ECHO):
            self.heard.set_result(None)
            data = data[len(_ECHO) :]
        if data:
            self._on_output(data)


class Held(BwrapProcess):
    """A sandbox with only a placeholder process, which a session can join.

    The placeholder echoes a byte once all is mounted. The echo is not trusted once student code
    runs beside it.
    """

    def __init__(self, child: Child, told: int, echo: Echo) -> None:
        super().__init__(child, None)
        self._told_holder = told
        self._echo = echo
        self.holder = -1
        """A pidfd of the placeholder, between :meth:`stand` and :meth:`let_go`; else -1."""
        self.exited.add_done_callback(lambda _: self._put_away())

    @property
    def output(self) -> int:
        """The descriptor for a joining process's output; open until :meth:`let_go`."""
        return self._child.lent

    def end(self) -> None:
        self._look_inside()
        super().end()

    async def stand(self) -> None:
        """Wait up to 5 s until the sandbox can be joined. Raises: :class:`NotJoinedError`."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._told_holder, _ECHO)
        either: tuple[asyncio.Future[Any], ...] = (self._echo.heard, self.exited)
        await asyncio.wait(either, timeout=_STAND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self._echo.heard.done():
            raise NotJoinedError("sandbox")
        self._look_inside()
        holders = children_of(self.first_pid) if self._first >= 0 else []
        if not holders:
            raise NotJoinedError("holder")
        # No other process is inside yet, so the pid has not been reused.
        self.holder = os.pidfd_open(holders[0])

    def let_go(self) -> None:
        """Close the descriptors needed only for joining; the placeholder keeps running."""
        self._child.end_loan()
        if self.holder >= 0:
            os.close(self.holder)
            self.holder = -1

    def _put_away(self) -> None:
        self.let_go()
        os.close(self._told_holder)

    def _look_inside(self) -> None:
        """Find the first process: bubblewrap in a zygote group does not know its host pid.

        It is the monitor's only child, and the monitor lives until the sandbox has ended.
        """
        if self._first >= 0:
            return
        self.first_pid = next(iter(children_of(self._child.pid)), 0)
        with contextlib.suppress(ProcessLookupError):
            self._first = os.pidfd_open(self.first_pid) if self.first_pid else -1


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children; an empty list if it has ended."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
