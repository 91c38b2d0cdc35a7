"""CPU time: a boost for a session that starts, and a cap on others meanwhile.

On cgroup v2 each session has a ``cpu.weight``. A starting session has a higher one until it has
answered, and until then other sessions that use more than their share of the CPUs are capped by
``cpu.max``. The cap is needed because weights alone do not keep hundreds of processes that wake
each other continuously from delaying others. Without cgroup v2, sessions only get a higher
niceness.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.limits.cgroup2 import SessionGroup

_log = logging.getLogger("mograder.supervisor")

_BESIDE_A_START = 0.25
"""The fraction of all CPUs that computing sessions share while another one starts."""

_LEAST = 0.1
"""CPUs. A session that uses less is never capped, and no cap is lower."""

_BOOST, _MOST_WEIGHT = 32, 10_000
"""A starting session's weight is multiplied by the first, up to the second."""

_START_SECONDS = 15.0
"""Seconds after which a start ends if the hub does not report that the session has answered."""

_FIRST_CELLS_SECONDS = 1.0
"""Seconds from the first answer to the end of the start, for the kernel and the first cells."""

_LOOK_SECONDS = 0.1
_SHORTEST_SECONDS = 0.5
"""Shortest time over which use is averaged, so that a short cell run does not lead to a cap."""

_SESSION_NICENESS, _OWN_NICENESS = 5, -10
_USUAL_WEIGHT, _STEP = 100, 1.25
"""The default of ``[limits] cpu_weight``, and the factor between two steps of niceness."""


@dataclass(slots=True, eq=False)
class _Session:
    leaf: SessionGroup
    weight: int
    cpu: float
    at: float
    """Time (monotonic) at which ``cpu``, the CPU seconds so far, was noted."""
    end_of_start: asyncio.TimerHandle | None = None
    cap: float | None = None

    def note(self, cpu: float) -> None:
        self.cpu, self.at = cpu, time.monotonic()

    def used(self) -> float:
        """Return the average number of CPUs used since the last note; 0 if it has ended."""
        with contextlib.suppress(OSError):
            passed = time.monotonic() - self.at
            return (self.leaf.cpu() - self.cpu) / max(passed, _SHORTEST_SECONDS)
        return 0.0


class Processors:
    """The division of CPU time among the sessions that have a cgroup."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._watching: asyncio.Task[None] | None = None

    def add(self, session_id: str, leaf: SessionGroup, weight: int, *, boost: bool) -> None:
        """Add a session; with ``boost`` it starts now, and a user waits for it."""
        session = self._sessions[session_id] = _Session(leaf, weight, 0.0, time.monotonic())
        if not boost:
            return
        leaf.weigh(min(_MOST_WEIGHT, weight * _BOOST))
        self._end_start_in(_START_SECONDS, session)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def answered(self, session_id: str) -> None:
        """End a session's start in a second, since its server has answered."""
        session = self._sessions.get(session_id)
        if session is not None and session.end_of_start is not None:
            session.end_of_start.cancel()
            self._end_start_in(_FIRST_CELLS_SECONDS, session)

    def note(self, session_id: str, cpu: float) -> None:
        """Note the CPU seconds that a session has used so far; callable from any thread."""
        session = self._sessions.get(session_id)
        if session is not None and session.cap is None:
            session.note(cpu)

    def forget(self, session_id: str) -> None:
        """Remove a session that ends, and its cap: ending takes CPU time as well."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        if session.end_of_start is not None:
            session.end_of_start.cancel()
        _lift(session)

    async def close(self) -> None:
        for session_id in tuple(self._sessions):
            self.forget(session_id)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    def _end_start_in(self, seconds: float, session: _Session) -> None:
        def end() -> None:
            session.end_of_start = None
            session.leaf.weigh(session.weight)
            with contextlib.suppress(OSError):
                session.note(session.leaf.cpu())

        session.end_of_start = asyncio.get_running_loop().call_later(seconds, end)

    async def _watch(self) -> None:
        """Cap sessions while another one starts, then lift all caps."""
        while any(each.end_of_start is not None for each in self._sessions.values()):
            try:
                await asyncio.to_thread(_cap, tuple(self._sessions.values()))
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                _log.exception("sessions could not be capped")
            await asyncio.sleep(_LOOK_SECONDS)
        for session in self._sessions.values():
            _lift(session)


def _cap(sessions: Collection[_Session]) -> None:
    """Cap sessions above their share; :meth:`Processors._watch` lifts the caps."""
    use = {each: each.used() for each in sessions if each.end_of_start is None}
    busy = [each for each, used in use.items() if each.cap is not None or used > _LEAST]
    whole = _BESIDE_A_START * (os.cpu_count() or 1) / (sum(each.weight for each in busy) or 1)
    for session in busy:
        share = max(_LEAST, whole * session.weight)
        if session.cap is not None or use[session] > share:
            if session.cap != share:
                session.leaf.cap(share)
            session.cap = share


def _lift(session: _Session) -> None:
    if session.cap is not None:
        session.leaf.cap(None)
        session.cap = None


def put_back(pid: int, weight: int = _USUAL_WEIGHT) -> None:
    """Raise the niceness of a session's first process, and so of its forks (without a cgroup)."""
    with contextlib.suppress(OSError):  # it has ended, or has changed its user
        niceness = os.getpriority(os.PRIO_PROCESS, pid) + niceness_of(weight)
        os.setpriority(os.PRIO_PROCESS, pid, niceness)


def niceness_of(weight: int) -> int:
    """Return the niceness to add for a CPU weight: more for one below the usual weight.

    The kernel gives a process a quarter more CPU time for each step of niceness.
    """
    steps = math.log(_USUAL_WEIGHT / min(weight, _USUAL_WEIGHT), _STEP)
    return _SESSION_NICENESS + round(steps)


def put_first() -> None:
    """Prefer this thread to sessions by a lower niceness, if this process is root.

    Child processes get the default niceness.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _OWN_NICENESS)
        Path("/proc/self/autogroup").write_text(str(_OWN_NICENESS))
