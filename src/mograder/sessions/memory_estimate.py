"""What sessions use, as the supervisor measures it, and what the next one will probably need.

A start is let in by the memory that is *expected* of it, since it has used nothing yet; a session
that runs counts with what was *measured*.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from mograder.core.clock import Clock
from mograder.sandbox.protocol import Arrived, SessionUse
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.counters import ItemMemory
from mograder.sessions.session import LiveSession, SessionKey, Usage

UNKNOWN = 150 * MEGABYTE
"""What a session of an unknown item is taken to need: marimo with pandas, started cold (160), or
three warm ones (48 each, sessions.md)."""

YOUNG_SECONDS = 20.0
"""For so long a session counts with what is expected if it uses less: its page has yet to open,
its kernel to start, its cells to run. Three hundred who come within a minute must fit: longer, and
half of them would wait for memory that nobody uses."""

BUSY_SHARE = 0.05
"""Of one processor; an open editor at rest takes less than a hundredth."""

_BUSY_WINDOW = 5.0
"""Seconds over which a share of a processor is judged."""
_STALE_WINDOW = 3 * _BUSY_WINDOW

_ENOUGH = 4
"""How many sessions of an item tell what the next one needs."""
_MARGIN = 1.5
"""What the sessions of an item may still grow by."""


class MemoryLedger:
    """The memory of all sessions that start, run or end, by session id.

    Mutable state: ``_usages``, and ``_overhead``, what is used besides (zygotes).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usages: dict[str, Usage] = {}
        self._overhead = 0

    def open(self, session_id: str, expected: int) -> Usage:
        """Count a session from now on."""
        usage = Usage(expected=expected, born=self._clock.steady())
        self._usages[session_id] = usage
        return usage

    def close(self, session_id: str) -> None:
        """Count a session no more: its last process is gone."""
        self._usages.pop(session_id, None)

    def used(self) -> int:
        """Return what all of it together counts with, in bytes."""
        now = self._clock.steady()
        return self._overhead + sum(weight(usage, now) for usage in self._usages.values())

    def measured(self, uses: Iterable[SessionUse], overhead: int) -> None:
        """Note what was measured; sessions that nobody knows any more are left out."""
        self._overhead = overhead
        now = self._clock.steady()
        for use in uses:
            usage = self._usages.get(use.session_id)
            if usage is not None:
                note_use(usage, use, now)

    def arrived(self, news: Arrived) -> None:
        """Note how a session started."""
        usage = self._usages.get(news.session_id)
        if usage is not None:
            usage.warm = news.warm

    def __len__(self) -> int:
        """How many sessions count."""
        return len(self._usages)


def expected_memory(key: SessionKey, running: Iterable[LiveSession], now: float) -> int:
    """Return the bytes that a new session of an item and mode will probably use.

    That is half as much again as the median of those that run for 20 seconds or more, which does
    not follow a single student's memory bomb; :data:`UNKNOWN` while there are fewer than four.
    """
    same = (live for live in running if (live.key.item, live.key.mode) == (key.item, key.mode))
    grown = [live.memory for live in same if live.memory and not young(live.usage, now)]
    return round(median(grown) * _MARGIN) if len(grown) >= _ENOUGH else UNKNOWN


def weight(usage: Usage, now: float) -> int:
    """Return the bytes that a session counts with."""
    if not usage.memory:
        return usage.expected
    return max(usage.memory, usage.expected) if young(usage, now) else usage.memory


def young(usage: Usage, now: float) -> bool:
    """Tell whether a session has probably not yet used what it needs."""
    return now - usage.born < YOUNG_SECONDS


def note_use(usage: Usage, use: SessionUse, now: float) -> None:
    """Take over a measurement; whether it computes is judged over some seconds."""
    usage.memory = use.memory
    usage.cpu = use.cpu
    usage.processes = use.processes
    if usage.marked is None or now - usage.marked > _STALE_WINDOW:
        # News come of what changes only: over a long silence the mean says nothing of now.
        usage.mark, usage.marked = use.cpu, now
        return
    span = now - usage.marked
    if span >= _BUSY_WINDOW:
        usage.busy = use.cpu - usage.mark > BUSY_SHARE * span
        usage.mark, usage.marked = use.cpu, now


def rest(usage: Usage, now: float) -> None:
    """Take a session of which nothing was heard for a while for one that does not compute."""
    if usage.busy and (usage.marked is None or now - usage.marked > _STALE_WINDOW):
        usage.busy = False


def by_item(sessions: Iterable[LiveSession]) -> list[ItemMemory]:
    """Add up what sessions use, per item and mode."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for live in sessions:
        name = (live.key.item, live.key.mode.value)
        count, total = sums.get(name, (0, 0))
        sums[name] = (count + 1, total + live.memory)
    return [ItemMemory(*name, *sums[name]) for name in sorted(sums)]
