"""Fences against a hub or a node that goes on beyond its time: epochs of hubs, a node's lease.

Of several hubs only the one at work may use a supervisor: the one with the highest epoch. A hub
that hung, and whose place another one has taken, may still send calls when it goes on, or have
calls on their way. They are refused here, where sessions are started.

The lease of a node's supervisor is the time until which sessions and runs may go on there. A hub
that cannot reach a node starts a student's session on another machine once the node's lease
is over. So the node kills its sessions at the end of its lease, and the kernel kills the node if it
does not. Times are of CLOCK_BOOTTIME, which goes on while the machine sleeps, and absolute, so that
a message that waited on its way does not prolong the lease. A supervisor that was never given a
lease has none, and its sessions go on for ever: that of a hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mograder.core.clock import boot_time
from mograder.core.errors import Conflict, SandboxUnavailable
from mograder.core.log import log_before_exit
from mograder.sandbox.inside.enter_sandbox import check, libc

_log = logging.getLogger("mograder.supervisor")


class HubEpochs:
    """The epochs of the connected hubs. Mutable state: the highest one, and each connection's."""

    def __init__(self) -> None:
        self._highest = 0
        self._hubs: dict[asyncio.StreamWriter, int] = {}

    def greet(self, hub: asyncio.StreamWriter, epoch: int) -> None:
        """Note a hub's epoch, 0 for a program that is no hub. Raises: as :meth:`see`."""
        self.see(epoch)
        if epoch:
            self._hubs[hub] = epoch

    def see(self, epoch: int) -> None:
        """Note an epoch; if it is a higher one, close the connections of earlier hubs.

        Raises: :class:`Conflict` for a lower one, unless it is 0.
        """
        if not epoch:
            return
        if epoch < self._highest:
            raise _replaced()
        self._highest = epoch
        for hub in [each for each, other in self._hubs.items() if other < epoch]:
            _log.warning("another hub is at work: the connection of an earlier one is closed")
            hub.transport.abort()

    def demand(self, hub: asyncio.StreamWriter) -> None:
        """Refuse a hub that another one has replaced. Raises: :class:`Conflict`."""
        if self._hubs.get(hub, self._highest) < self._highest:
            raise _replaced()

    def forget(self, hub: asyncio.StreamWriter) -> None:
        self._hubs.pop(hub, None)


def _replaced() -> Conflict:
    return Conflict("Another hub is at work on this course.", hint="This one has to start again.")


_LOOK_SECONDS = 0.2
"""How often the end of the lease is looked at: waiting does not count the time of a sleep."""

_LOOP_SECONDS = 1.0
"""How long the event loop may take to kill the sessions, before the whole process is ended."""
_STOPPED_SECONDS = 2.0
"""How long after the end of the lease the kernel ends a process that has not killed the sessions by
then: it is stopped, say. A hub takes the lease as over three seconds after that end."""
_TIMER_ABSTIME = 1


class _Event(ctypes.Structure):
    """``struct sigevent`` of Linux; the padding is that of its 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Setting(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = (
        ("again_seconds", ctypes.c_long),
        ("again_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class KillTimer:
    """A timer of the kernel that kills this process, also while it is stopped.

    The sandboxes end with it, as their parent.
    """

    def __init__(self) -> None:
        """Make it; it is not set. Raises: ``OSError``."""
        self._timer = ctypes.c_void_p()
        event = _Event(None, signal.SIGKILL, 0)
        place = ctypes.byref(self._timer)
        made = libc.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), place)
        check(made, "timer_create")

    def set(self, until: float) -> None:
        """Have the process killed at this :func:`boot_time`; 0 has it never killed."""
        seconds = int(until)
        setting = _Setting(0, 0, seconds, int((until - seconds) * 1e9))
        result = libc.timer_settime(self._timer, _TIMER_ABSTIME, ctypes.byref(setting), None)
        check(result, "timer_settime")


class Lease:
    """Kills all sessions at the end of the lease, from a thread of its own.

    The thread is started by the first :meth:`hold`. Mutable state: the end of the lease, and the
    number of the term, which changes at each lapse.
    """

    def __init__(self, kill_sessions: Callable[[], None]) -> None:
        """``kill_sessions`` is called in the event loop; it must not block.

        If the loop does not do so within a second, the thread calls :func:`end_process`.
        """
        self._kill_sessions = kill_sessions
        self._until = 0.0
        self._term = 0
        self._held = False
        self._changed = threading.Condition()
        self.on_over: Callable[[], None] = lambda: None
        """Called in the event loop when the sessions of a lease that is over were killed."""
        self.timer: KillTimer | None = None
        """What ends this process if it is stopped or hangs; None in tests."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def demand(self, term: int | None = None) -> int:
        """Return the number of the current term.

        Raises: :class:`SandboxUnavailable` if the lease has lapsed, or lapsed since ``term``.
        """
        with self._changed:
            if self._thread is None:
                return self._term
            over = not self._held or boot_time() >= self._until
            if over or term not in {None, self._term}:
                raise SandboxUnavailable(
                    "This machine has lost its connection to the hub, and starts no sessions.",
                    hint="Try again: another machine is used, or this one once it is connected.",
                )
            return self._term

    def hold(self, until: float) -> None:
        """Let sessions run until this :func:`boot_time`; never shortens the lease.

        Sessions of a lease that is over already are killed nevertheless.
        """
        with self._changed:
            if self._thread is None:
                self._loop = asyncio.get_running_loop()
                self._thread = threading.Thread(target=self._watch, name="lease", daemon=True)
                self._thread.start()
            if self._held and boot_time() >= self._until:
                self._lapse()
            self._held = self._held or until > boot_time()
            self._until = max(self._until, until)
            if self._held and self.timer is not None:
                self.timer.set(self._until + _STOPPED_SECONDS)
            self._changed.notify()

    def seconds_left(self) -> float:
        """Return the seconds until the end, 0 if there is no lease."""
        return max(0.0, self._until - boot_time()) if self._held else 0.0

    def _watch(self) -> None:
        try:
            with self._changed:
                while True:
                    self._look()
        except BaseException:  # such as no memory for a thread: the lease would not be kept
            end_process()
            raise

    def _look(self) -> None:
        """Wait for the next look at the lease, or end it; called with the lock held."""
        if not self._held:
            self._changed.wait()
        elif (left := self._until - boot_time()) > 0:
            self._changed.wait(min(left, _LOOK_SECONDS))
        else:
            self._lapse()

    def _lapse(self) -> None:
        """End the term; called with the lock held.

        The log may be on a disk that hangs, so nothing is logged before the sessions are killed.
        """
        self._held = False
        self._term += 1
        done = threading.Event()
        assert self._loop is not None, "hold has set it"

        def kill() -> None:
            self._kill_sessions()
            if self.timer is not None and not self._held:
                self.timer.set(0.0)
            self.on_over()
            done.set()

        try:
            self._loop.call_soon_threadsafe(kill)
        except RuntimeError:  # the loop is closed: the supervisor has ended
            return
        # Another thread, since this one holds the lock, and hold() runs in the loop.
        threading.Thread(target=self._expect, args=(done,), daemon=True).start()

    def _expect(self, done: threading.Event) -> None:
        if not done.wait(_LOOP_SECONDS):
            log_before_exit(_log, "the supervisor hangs, and is ended with all its sessions")
            end_process()
        else:
            _log.error("the lease of this node is over: its sessions were killed")


def end_process() -> None:
    """Kill every child of this process, then the process; sandboxes end with them.

    The children are killed as well, since a main thread that hangs in the kernel (on a share whose
    server is gone) ends later than this, and the sandboxes wait for the end of that thread.
    """
    pids: list[str] = []
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            pids += children.read_text().split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
