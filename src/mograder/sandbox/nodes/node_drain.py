"""The drain of a node: no new sessions, and an end when it is empty or its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from mograder.sandbox.supervisor.lease import boot_time


class Drain:
    """Whether a node takes new sessions, and when it ends.

    A hub's wish only keeps new sessions away. A signal to the process also ends it: when no session
    is left, and after ``seconds`` at the latest if that was asked for. Sessions that are left then
    end one after the other over the second half of that time: the other nodes, where they start
    again, would be overloaded by all of them at once. Mutable state: the wishes, and ``_left``, the
    number of sessions at the beginning of the second half.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = boot_time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._wished = False
        self._leaving = False
        self._until: float | None = None
        self._left = 0
        self._news = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""
        return self._wished or self._leaving

    def wish(self, *, draining: bool) -> None:
        """Note the wish of an administrator of the hub."""
        if draining != self._wished:
            self._wished = draining
            self._news.set()

    def leave(self, *, hurry: bool) -> None:
        """End when the node is empty; with ``hurry`` in ``seconds`` at the latest.

        A second call with ``hurry`` ends the node at once.
        """
        if hurry:
            now = self._clock()
            self._until = now if self._until is not None else now + self._seconds
        self._leaving = True
        self._news.set()

    def stay(self) -> None:
        """Take new sessions again, unless the time of the end is set."""
        if self._until is None:
            self._leaving = False
            self._news.set()

    def seconds_left(self) -> float | None:
        """Return the seconds until the end of the sessions that are left, if that is set."""
        return None if self._until is None else max(0.0, self._until - self._clock())

    def seconds_granted(self) -> float | None:
        """Return the seconds that every session may go on for at least, if an end is set."""
        left = self.seconds_left()
        return None if left is None else max(0.0, left - self._seconds / 2)

    def due(self, sessions: int) -> int:
        """Return how many of so many sessions are to be ended now."""
        left = self.seconds_left()
        if left is None or left >= self._seconds / 2:
            return 0
        self._left = max(self._left, sessions)
        return max(0, sessions - math.ceil(self._left * left / (self._seconds / 2)))

    def is_over(self, *, busy: bool) -> bool:
        """Return whether the node is to end now."""
        return self._leaving and (not busy or self.seconds_left() == 0)

    async def changed(self, seconds: float) -> None:
        """Wait for the next change, for ``seconds`` at most and not beyond the end."""
        left = self.seconds_left()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if left is None else min(seconds, left)):
                await self._news.wait()
        self._news.clear()
