"""One child process of the supervisor: its start, its output and its exit status.

It is started from the main thread, since the kernel ties ``--die-with-parent`` to the thread that
forked, and watched through a pidfd, since one thread per child would not scale.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

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
        self._rate = launch.output_rate
        self._allowance = float(self._rate * _BURST_SECONDS)
        self._read_at = loop.time()
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
        """Close our write end of the output, if it is still open."""
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
        now = loop.time()
        earned = self._allowance + (now - self._read_at) * self._rate
        self._allowance = min(earned, self._rate * _BURST_SECONDS) - size
        self._read_at = now
        if self._allowance < 0 and self._pause is None:
            loop.remove_reader(self._output)
            self._pause = loop.call_later(-self._allowance / self._rate, self._read_on)

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
