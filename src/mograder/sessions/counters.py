"""Counters of session starts and ends since the hub started; ``/metrics`` renders them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from mograder.sessions.end_reasons import EndReason

Kind = Literal["warm", "cold", "unknown"]
"""How a session started; "unknown" until the launcher reports it."""
Outcome = Literal["ok", "failed", "refused"]

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds; a warm start takes about 0.1, waiting in the queue up to minutes."""

_REASONS = 50


class Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        """Per bucket, not cumulative; the last bucket is for values above every bound."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, then infinity, with the number of values that do not exceed it."""
        so_far = 0
        for bound, count in zip((*BUCKETS, float("inf")), self.counts, strict=True):
            so_far += count
            yield bound, so_far


@dataclass(slots=True)
class Counters:
    """Counters; sessions that an earlier hub started are not included.

    ``start_seconds`` is the time from a student's request until the server answers, including the
    wait in the queue. ``fallbacks`` counts cold starts that should have been warm, by reason.
    """

    starts: Counter[tuple[Kind, Outcome]] = field(default_factory=Counter)
    start_seconds: Histogram = field(default_factory=Histogram)
    fallbacks: Counter[str] = field(default_factory=Counter)
    endings: Counter[EndReason] = field(default_factory=Counter)
    queue_length: int = 0

    def started(self, warm: bool | None, seconds: float) -> None:
        self.starts[kind_of(warm), "ok"] += 1
        self.start_seconds.observe(seconds)

    def fell_back(self, reason: str) -> None:
        """Count a cold start that should have been warm, by at most 50 different reasons."""
        known = reason in self.fallbacks or len(self.fallbacks) < _REASONS
        self.fallbacks[reason if known else "other"] += 1


def kind_of(warm: bool | None) -> Kind:
    """Return the label of a start; ``warm`` is None while the launcher has not reported it."""
    if warm is None:
        return "unknown"
    return "warm" if warm else "cold"
