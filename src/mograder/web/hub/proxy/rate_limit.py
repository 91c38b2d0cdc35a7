"""Rate limits on one session's traffic through the hub, so that a flood slows only its own student.

A kernel that prints without end fills a WebSocket as fast as the hub can relay it. So each session
has an allowance that ordinary use never exhausts; beyond it the hub reads more slowly, and the
socket's own backpressure slows the session's server (security.md, "The session's server is theirs
too").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

_TURNS = 8
"""Messages in a row after which the event loop runs other tasks: a message costs 0.1 ms."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An amount that may pass at once, and the amount per second after that."""

    burst: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Allowances:
    """The rates of one session, for each direction separately; sizes are in bytes."""

    socket_bytes: Rate = Rate(64 * 2**20, 8 * 2**20)
    socket_messages: Rate = Rate(10_000, 500)
    stream_bytes: Rate = Rate(2**30, 64 * 2**20)
    """Responses over HTTP: large downloads are legitimate, so this only slows endless ones."""


class _TokenBucket:
    """A token bucket. Its level may become negative, so that a message is never split."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._filled_at = now

    def take(self, amount: float, now: float) -> float:
        """Take an amount; return the seconds until the level is no longer negative."""
        gained = (now - self._filled_at) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained) - amount
        self._filled_at = now
        return max(0.0, -self._level / self._rate.per_second)


class RateLimit:
    """Delays traffic that exceeds any of some rates."""

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
        """Count one message that passed; return how many seconds the next one has to wait."""
        now = self._clock()
        wait = self._size.take(size, now)
        return wait if self._count is None else max(wait, self._count.take(1, now))

    async def passed(self, size: int) -> None:
        """Count one message that passed, and wait until the next one may."""
        wait = self.debt(size)
        if wait > 0:
            await asyncio.sleep(wait)
            return
        # Reading data that has already arrived does not suspend, and would block the loop.
        self._turns = (self._turns + 1) % _TURNS
        if self._turns == 0:
            await asyncio.sleep(0)


class RateLimits:
    """The rate limits of one session's three kinds of traffic."""

    def __init__(self, allowances: Allowances) -> None:
        self.to_client = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.to_session = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.stream = RateLimit(allowances.stream_bytes)
