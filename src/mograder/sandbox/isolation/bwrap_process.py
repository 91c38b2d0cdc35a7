"""A running sandbox, as seen from the supervisor: bubblewrap outside, its processes inside.

bubblewrap is started from the main thread, since the kernel ties ``--die-with-parent`` to the
thread that forked, and watched through a pidfd, since one thread per child would not scale. A
sandbox is ended by SIGKILL to its first process through a pidfd: student code can stop every other
process, but not that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from mograder.core.files.disk import closing_fd
from mograder.core.rate_limit import Rate, TokenBucket
from mograder.core.tasks import first_of
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
from mograder.sandbox.isolation.namespaces import UMASK, Launch, Started, start_in

_READ_BYTES = 65_536
_LAST_READS = 16
"""Reads after the exit: 16 reads of 64 KiB cover a full pipe (1 MiB, fs.pipe-max-size)."""

_GROUP_LOOKS, _GROUP_SECONDS = 40, 0.05
_BURST_SECONDS = 4
"""Seconds' worth of ``output_rate`` that a child may print at once after a silence."""


_ENTER = ("/bin/sh", "-c", 'echo 0 >&0 && exec "$@" </dev/null', "enter")
"""Shell command that enters the cgroup of standard input, then executes its arguments.

It fails if the cgroup cannot be entered. A separate program, since entering may block in the
kernel, and the supervisor blocks until its child has called exec.
"""


Begun = tuple[subprocess.Popen[bytes] | Started, int, int]
"""A process that was started, and the read and the write end of its output pipe."""


class Child:
    """A running child; ``exited`` resolves to its status once it ended and its output was read."""

    def __init__(
        self, launch: Launch, on_output: Callable[[bytes], None], begun: Begun | None = None
    ) -> None:
        """Start the process; ``on_output`` receives standard output and error as they are read.

        ``begun`` is the process if :func:`begin_elsewhere` has already started it.

        Raises: :class:`OSError` when the program cannot be executed.
        """
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._process, read_end, self.lent = begun or _begin(launch)
        if not launch.lend_output:
            self.end_loan()
        self.pid = self._process.pid
        self._output = read_end
        self._on_output = on_output
        rate = Rate(launch.output_rate * _BURST_SECONDS, launch.output_rate)
        self._bucket = TokenBucket(rate, loop.time())
        self._pause: asyncio.TimerHandle | None = None
        self._ours = True
        """Whether we are its parent, so that its pid is not reused before we reap it."""
        if isinstance(self._process, Started):
            self._pidfd, self._ours = self._process.pidfd, self._process.ours
        else:
            self._pidfd = os.pidfd_open(self.pid)
        os.set_blocking(read_end, False)
        loop.add_reader(read_end, self._read_output)
        loop.add_reader(self._pidfd, self._reap)

    def end_loan(self) -> None:
        if self.lent >= 0:
            os.close(self.lent)
            self.lent = -1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; ignored if the process has ended."""
        if not self.exited.done():
            self._process.send_signal(number)

    def _read_output(self) -> None:
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._on_output(data)
            self._pace(len(data))
        else:
            self._close_output()

    def _pace(self, size: int) -> None:
        """Stop reading for a while after too much output: only the writer blocks then."""
        loop = asyncio.get_running_loop()
        wait = self._bucket.take(size, loop.time())
        if wait and self._pause is None:
            loop.remove_reader(self._output)
            self._pause = loop.call_later(wait, self._read_on)

    def _read_on(self) -> None:
        self._pause = None
        if self._output >= 0:
            asyncio.get_running_loop().add_reader(self._output, self._read_output)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # Kill the rest of its process group before the reaping, while the number cannot be reused.
        if self._ours:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        # The last output often explains the exit: read it before resolving `exited`. A grandchild
        # may keep the pipe open and fill it faster than we read, so do not wait for the end of
        # the output or for a pause.
        for _ in range(_LAST_READS):
            if self._output >= 0:
                self._read_output()
        self._close_output()
        if self._ours:
            self._reap_group(_GROUP_LOOKS)
        self.exited.set_result(status)

    def _reap_group(self, looks: int) -> None:
        """Reap processes of its group that became our children (the supervisor adopts orphans)."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
            if looks:  # killed, but not ended yet
                loop = asyncio.get_running_loop()
                loop.call_later(_GROUP_SECONDS, self._reap_group, looks - 1)

    def _close_output(self) -> None:
        self.end_loan()
        if self._pause is not None:
            self._pause.cancel()
        if self._output >= 0:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = -1


async def begin_elsewhere(launch: Launch, helper: NamespaceHelper) -> Begun:
    """Start a process in its place through the helper, without blocking the loop.

    Raises: :class:`OSError` when the program cannot be executed.
    """
    with _pipe() as (read_end, write_end):
        pidfd = await helper.enter(launch, write_end)
        return Started(pidfd, ours=False), read_end, write_end


def _begin(launch: Launch) -> Begun:
    with _pipe() as (read_end, write_end):
        if launch.place is None:
            return _popen(launch, write_end), read_end, write_end
        return start_in(launch.place, launch, write_end), read_end, write_end


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Yield the ends of a pipe, which are closed if the ``with`` block raises."""
    ends = os.pipe()
    try:
        yield ends
    except BaseException:
        for end in ends:
            os.close(end)
        raise


def _popen(launch: Launch, output: int) -> subprocess.Popen[bytes]:
    as_other = launch.uid is not None
    argv, stdin = list(launch.argv), subprocess.DEVNULL
    if launch.entry is not None:
        argv, stdin = [*_ENTER, *argv], launch.entry
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=output,
        stderr=output,
        env=dict(launch.variables),
        cwd=launch.directory,
        pass_fds=tuple(launch.descriptors),
        start_new_session=True,
        umask=UMASK,
        user=launch.uid,
        group=launch.uid,
        extra_groups=[] if as_other else None,
    )


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
            try:
                if not self._unwanted:
                    self._settle(self.first_pid)
            except OSError as error:
                _log.error("a sandbox could not be given its limits, and is ended: %s", error)
                self._unwanted = True
            if self._unwanted:
                self.end()
            self._open_gate()
        if not data:
            self._stop_reading()

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
            with contextlib.suppress(ProcessLookupError), closing_fd(os.pidfd_open(pid)) as found:
                if pid in children_of(self.first_pid):
                    signal.pidfd_send_signal(found, signal.SIGTERM)
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
        await first_of(self._echo.heard, self.exited, seconds=_STAND_SECONDS)
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

        It is the monitor's only child, and the monitor lives until the sandbox has ended. Its pid
        may then be another process's.
        """
        if self._first >= 0 or self._child.exited.done():
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
