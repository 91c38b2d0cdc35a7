"""The work of LTI that goes on in the background: sending marks, and reading rosters."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from anyio import CapacityLimiter, to_thread

from mograder.core.log import get_logger
from mograder.core.tasks.periodic import repeat

_EVERY_SECONDS = 60.0
_log = get_logger(__name__)

Pass = Callable[[Callable[[], bool]], None]
"""One pass of some work, which blocks; it asks its argument whether to end early."""


@dataclass(slots=True)
class BackgroundPasses:
    """Runs passes every minute, and after :meth:`wake`; for one event loop.

    A pass runs in a thread and is not cancelled, since its database would be closed during it:
    :meth:`close` lets it end, after the request to a platform that is under way. Mutable state: the
    tasks, and the events that wake and stop them.
    """

    passes: tuple[Pass, ...]
    seconds: float = _EVERY_SECONDS
    _stop: threading.Event = field(default_factory=threading.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _wakes: list[asyncio.Event] = field(default_factory=list)

    async def open(self) -> None:
        """Begin."""
        limiter = CapacityLimiter(len(self.passes))
        for each in self.passes:
            wake = asyncio.Event()
            self._wakes.append(wake)
            self._tasks.append(asyncio.create_task(self._repeat(each, wake, limiter)))

    def wake(self) -> None:
        """Run the passes now instead of within a minute."""
        for each in self._wakes:
            each.set()

    async def close(self) -> None:
        """Stop, and wait for passes that run."""
        self._stop.set()
        self._ended.set()
        self.wake()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, work: Pass, wake: asyncio.Event, limiter: CapacityLimiter) -> None:
        job = partial(to_thread.run_sync, work, self._stop.is_set, limiter=limiter)
        await repeat("learning platforms", job, self.seconds, self._ended, wake=wake)
