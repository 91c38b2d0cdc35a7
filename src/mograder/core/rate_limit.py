"""Rate limits: an amount that may pass at once, and an amount per second after that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

_TURNS = 8
"""Messages in a row after which the event loop runs other tasks: a message costs 0.1 ms."""


@dataclass(frozen=True, slots=True)
class Rate:
    burst: float
    per_second: float


class TokenBucket:
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
    def __init__(
        self,
        size: Rate,
        count: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._size = TokenBucket(size, clock())
        self._count = None if count is None else TokenBucket(count, clock())
        self._turns = 0

    def debt(self, size: int) -> float:
        """Count one message that passed; return how many seconds the next one has to wait."""
        now = self._clock()
        wait = self._size.take(size, now)
        return wait if self._count is None else max(wait, self._count.take(1, now))

    async def passed(self, size: int) -> None:
        wait = self.debt(size)
        if wait > 0:
            await asyncio.sleep(wait)
            return
        # Reading data that has already arrived does not suspend, and would block the loop.
        self._turns = (self._turns + 1) % _TURNS
        if self._turns == 0:
            await asyncio.sleep(0)
