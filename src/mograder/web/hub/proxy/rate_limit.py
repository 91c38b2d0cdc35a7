"""How fast one session may go through the hub, so that a flood holds up only its own student.

A kernel that prints without end fills a WebSocket as fast as the hub can pass it on. So each
session has an allowance that ordinary use never exhausts; beyond it the hub reads more slowly, and
the socket's own backpressure holds up the session's server (security.md, "The session's server is
theirs too").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

_TURNS = 8
"""After how many messages in a row others get their turn: a message costs 0.1 ms."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What may pass at once, and per second from then on."""

    burst: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Allowances:
    """The rates of one session, in each direction on its own; sizes are in bytes."""

    socket_bytes: Rate = Rate(64 * 2**20, 8 * 2**20)
    socket_messages: Rate = Rate(10_000, 500)
    stream_bytes: Rate = Rate(2**30, 64 * 2**20)
    """Answers over HTTP: downloads are large and wanted, so this only tames endless ones."""


class _TokenBucket:
    """Fills steadily up to its brim. It may be overdrawn: what came in one piece passes."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._filled_at = now

    def take(self, amount: float, now: float) -> float:
        """Take out an amount; returns the seconds until the bucket is out of its debt."""
        gained = (now - self._filled_at) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained) - amount
        self._filled_at = now
        return max(0.0, -self._level / self._rate.per_second)


class RateLimit:
    """Lets pass what comes within all of some rates, and makes the rest wait."""

    def __init__(
        self,
        size: Rate,
        count: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._size = _TokenBucket(size, clock())
        self._count = None if count is None else _TokenBucket(count, clock())
        self._turns = 0

    def debt(self, size: int) -> float:
        """Note one message that passed; returns how many seconds the next one has to wait."""
        now = self._clock()
        wait = self._size.take(size, now)
        return wait if self._count is None else max(wait, self._count.take(1, now))

    async def passed(self, size: int) -> None:
        """Note one message that passed; returns when the next one may."""
        wait = self.debt(size)
        if wait > 0:
            await asyncio.sleep(wait)
            return
        # What has arrived already is read without a pause, and would keep the loop to itself.
        self._turns = (self._turns + 1) % _TURNS
        if self._turns == 0:
            await asyncio.sleep(0)


class RateLimits:
    """The three ways through one session."""

    def __init__(self, allowances: Allowances) -> None:
        self.to_client = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.to_session = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.stream = RateLimit(allowances.stream_bytes)
