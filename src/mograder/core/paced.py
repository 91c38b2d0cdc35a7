"""Calls that are worth making a few times a second, whatever asks for them how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Paced:
    """Makes a call when asked to: at once, and at most once in so many seconds.

    What is asked for meanwhile is one call when the time is over, so that the last request is never
    without one. For use on the event loop only; the owner calls :meth:`close`.
    """

    def __init__(self, call: Callable[[], object], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._next = 0.0
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Ask for the call."""
        if self._waiting is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._next:
            self._waiting = loop.call_at(self._next, self.now)
        else:
            self.now()

    def now(self) -> None:
        """Make the call at once, which is also the one that may be waited for."""
        self.close()
        self._next = asyncio.get_running_loop().time() + self._seconds
        self._call()

    def close(self) -> None:
        """Make no call that was asked for before."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
