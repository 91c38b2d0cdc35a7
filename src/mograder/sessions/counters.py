"""What the pool has counted since the hub started, as plain numbers; ``/metrics`` renders them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from mograder.sessions.end_reasons import EndReason

Kind = Literal["warm", "cold", "unknown"]
"""How a session started; unknown until its launcher says, which an old supervisor never does."""
Outcome = Literal["ok", "failed", "refused"]

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds; a warm start takes a tenth of one, a wait in line can take minutes."""

_REASONS = 50


class Histogram:
    """How many values there were up to each bound of ``BUCKETS``, and beyond."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        """Per bucket, not cumulative; the last one is what exceeds every bound."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        index = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.counts[index] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, and infinity, with how many values did not exceed it."""
        so_far = 0
        for bound, count in zip((*BUCKETS, float("inf")), self.counts, strict=True):
            so_far += count
            yield bound, so_far


@dataclass(slots=True)
class Counters:
    """Counters; sessions that an earlier hub started are not in them.

    ``start_seconds`` is from a student's request until the server answers, the wait in line
    included. ``fallbacks`` are the reasons for which sessions that should have been warm are not.
    """

    starts: Counter[tuple[Kind, Outcome]] = field(default_factory=Counter)
    start_seconds: Histogram = field(default_factory=Histogram)
    fallbacks: Counter[str] = field(default_factory=Counter)
    endings: Counter[EndReason] = field(default_factory=Counter)
    queue_length: int = 0

    def started(self, warm: bool | None, seconds: float) -> None:
        """Count a session that answers."""
        self.starts[kind_of(warm), "ok"] += 1
        self.start_seconds.observe(seconds)

    def fell_back(self, reason: str) -> None:
        """Count a cold start that should have been warm; the number of reasons is bounded."""
        known = reason in self.fallbacks or len(self.fallbacks) < _REASONS
        self.fallbacks[reason if known else "other"] += 1


@dataclass(frozen=True, slots=True)
class ItemMemory:
    """What the sessions of one item and mode use together now, in bytes."""

    item: str
    mode: str
    sessions: int
    bytes: int


def kind_of(warm: bool | None) -> Kind:
    """Name how a session started."""
    if warm is None:
        return "unknown"
    return "warm" if warm else "cold"
