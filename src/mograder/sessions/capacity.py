"""The memory that there is for sessions, the memory that they use, and limits on starts and times.

A start is admitted by its *expected* memory, since it has used nothing yet; a running session
counts with its *measured* memory, as the supervisor tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from mograder.core.clock import Clock
from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.limits.procfs import usable_memory, usable_starts
from mograder.sandbox.protocol import Arrived, SessionUse
from mograder.sessions.session import LiveSession, SessionKey, Usage

MEGABYTE = 2**20

_UNBOUNDED = 1 << 60


@dataclass(slots=True)
class CapacityLimits:
    """Limits for all sessions of a hub; times in seconds, memory in bytes.

    ``ttl`` is the idle time after which a session is ended (B77), ``start_timeout`` the time that
    a server has to answer after its start was admitted. ``memory`` is for all sessions together,
    ``starts`` the number of concurrent starts, ``line`` the length of the start queue.

    Where sessions run on nodes, ``memory`` and ``starts`` follow those, and are 0 while there is
    none. ``largest`` is then the memory of the largest node, and ``fits`` returns whether a node
    has that many bytes to spare.
    """

    ttl: float
    start_timeout: float
    memory: int
    starts: int
    line: int
    largest: int = 0
    fits: Callable[[int], bool] = lambda _: True

    @property
    def most_expected(self) -> int:
        """The most memory that a start may be expected to use, in bytes.

        At most half of a machine: a start that needs all of its memory would wait until nothing
        else runs there.
        """
        machine = self.largest or self.memory
        return machine // 2 if machine else _UNBOUNDED


def capacity_limits(ttl: float, limits: LimitsSettings) -> CapacityLimits:
    """Return the limits on this machine; ``ttl`` in seconds. A setting of 0 means a default."""
    return CapacityLimits(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=limits.total_memory_mb * MEGABYTE or usable_memory(),
        starts=limits.starts_at_once or usable_starts(),
        line=limits.line_length,
    )


UNKNOWN = 150 * MEGABYTE
"""Expected bytes of a session of an unknown item: marimo with pandas takes 160 MB started cold,
and 48 MB started warm (sessions.md)."""

YOUNG_SECONDS = 20.0
"""For this time a session that uses less counts with its expected memory: its page has yet to
open, its kernel to start, its cells to run. Three hundred starts within a minute must fit: with a
longer time, half of them would wait for memory that is not in use."""

BUSY_SHARE = 0.05
"""Share of one processor above which a session is busy; an idle editor takes less than 0.01."""

_BUSY_WINDOW = 5.0
"""Seconds over which the processor share is averaged."""
_STALE_WINDOW = 3 * _BUSY_WINDOW

_ENDING_SECONDS = 300.0
"""For this time the memory of a session that is ending is expected to get free. A disk or a
supervisor may hang for minutes; after this, other sessions have to go in its place."""

_ENOUGH = 4
"""Minimum number of sessions of an item from which the next one's memory is estimated."""
_MARGIN = 1.5
"""Factor by which the sessions of an item may still grow."""


class MemoryLedger:
    """The memory of all sessions that start, run or end, by session id, and of notebooks' runs.

    Mutable state: ``_usages``, ``_measured``, the sum of their measured bytes, which is kept since
    nodes report many times a second, ``_overhead``, the bytes used besides sessions (zygotes),
    ``_runs``, what is reserved for runs, and ``_runs_use``, the bytes of all runs together.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usages: dict[str, Usage] = {}
        self._measured = 0
        self._overhead = 0
        self._runs: dict[str, Usage] = {}
        self._runs_use = 0

    def open(self, owner: str, expected: int, age: float = 0.0, *, run: bool = False) -> Usage:
        """Add a session or run by its id; ``expected`` in bytes, ``age`` in seconds."""
        usage = Usage(expected=expected, born=self._clock.steady() - max(0.0, age))
        (self._runs if run else self._usages)[owner] = usage
        return usage

    def close(self, owner: str) -> None:
        usage = self._usages.pop(owner, None)
        self._measured -= 0 if usage is None else usage.memory
        self._runs.pop(owner, None)

    def used(self) -> int:
        """Return the sum of all sessions' weights, of the runs and the overhead, in bytes."""
        now = self._clock.steady()
        sessions = sum(weight(usage, now) for usage in self._usages.values())
        # The measurement is of all runs, also of those that no memory was reserved for.
        runs = max(self._runs_use, sum(usage.expected for usage in self._runs.values()))
        return self._overhead + runs + sessions

    def leaving(self) -> int:
        """Return the sum of the weights of the sessions that are ending, in bytes.

        It is part of :meth:`used`, and gets free soon: sessions on nodes that are cut off or
        drained have no ``ends``. An end that takes longer than five minutes is no longer counted
        on.
        """
        now = self._clock.steady()
        return sum(
            weight(usage, now)
            for usage in self._usages.values()
            if usage.ends is not None and now - usage.ends < _ENDING_SECONDS
        )

    def measured(
        self, uses: Iterable[SessionUse], overhead: int, runs: int = 0, used: int | None = None
    ) -> None:
        """Store measurements; sessions that are no longer in the ledger are ignored.

        If ``used`` is given it is what counts for all sessions and runs, whatever each of them is
        said to use. The overhead is then negative if there are sessions on nodes that are not
        counted: they do not use the memory that others may have.
        """
        now = self._clock.steady()
        for use in uses:
            usage = self._usages.get(use.session_id)
            if usage is not None:
                self._measured += use.memory - usage.memory
                note_use(usage, use, now)
        self._overhead, self._runs_use = overhead, runs
        if used is not None:
            self._overhead = used - runs - self._measured

    def arrived(self, news: Arrived) -> None:
        usage = self._usages.get(news.session_id)
        if usage is not None:
            usage.warm = news.warm

    def expected(self, session_id: str) -> int:
        """Return the bytes with which a session was admitted; :data:`UNKNOWN` if it was not."""
        usage = self._usages.get(session_id)
        return UNKNOWN if usage is None else usage.expected

    def __len__(self) -> int:
        return len(self._usages) + len(self._runs)


def expected_memory(key: SessionKey, running: Iterable[LiveSession], now: float) -> int:
    """Return the bytes that a new session of an item and mode will probably use.

    That is 1.5 times the median of those that have run for 20 seconds or more, which one student's
    memory bomb does not change; :data:`UNKNOWN` while there are fewer than four. ``now`` is the
    steady time in seconds, here and below.
    """
    same = (live for live in running if (live.key.item, live.key.mode) == (key.item, key.mode))
    grown = [live.usage.memory for live in same if live.usage.memory and not young(live.usage, now)]
    return round(median(grown) * _MARGIN) if len(grown) >= _ENOUGH else UNKNOWN


def weight(usage: Usage, now: float) -> int:
    """Return the bytes with which a session counts: measured, expected, or the larger of both."""
    if not usage.memory:
        return usage.expected
    return max(usage.memory, usage.expected) if young(usage, now) else usage.memory


def young(usage: Usage, now: float) -> bool:
    """Return whether a session has started so recently that its memory is still growing."""
    return now - usage.born < YOUNG_SECONDS


def note_use(usage: Usage, use: SessionUse, now: float) -> None:
    """Store a measurement, and update ``busy`` every few seconds."""
    usage.memory = use.memory
    usage.cpu = use.cpu
    usage.processes = use.processes
    if usage.marked is None or now - usage.marked > _STALE_WINDOW:
        # Only changes are reported: a mean over a long gap does not describe the present.
        usage.mark, usage.marked = use.cpu, now
        return
    span = now - usage.marked
    if span >= _BUSY_WINDOW:
        usage.busy = use.cpu - usage.mark > BUSY_SHARE * span
        usage.mark, usage.marked = use.cpu, now


def rest(usage: Usage, now: float) -> None:
    """Set a session to not busy if it has not been measured for a while."""
    if usage.busy and (usage.marked is None or now - usage.marked > _STALE_WINDOW):
        usage.busy = False
