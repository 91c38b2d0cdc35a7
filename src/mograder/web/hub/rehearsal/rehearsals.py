"""The hub's rehearsals: one at a time in the course, and what they leave.

A hub that was killed during a rehearsal leaves its sessions and copies: the next hub removes them.
"""

from __future__ import annotations

import asyncio
from functools import partial

from mograder.core.errors import Conflict
from mograder.core.log import get_logger
from mograder.core.tasks.periodic import repeat, running
from mograder.core.tasks.single_flight import Progress
from mograder.sessions.rehearsal import Pace, Rehearsal, Wish, clear, left_over
from mograder.sessions.rehearsal_outcome import Outcome
from mograder.store.copies.rehearsal_copies import RehearsalCopies
from mograder.web.hub.core.feature import Run
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.core.services import Services

_LOOK_SECONDS = 30.0
_PACE = Pace()
_log = get_logger(__name__)


class Rehearsals:
    """The rehearsal that runs here, if any; for one event loop."""

    def __init__(self, services: Services) -> None:
        root = services.loaded.path(services.loaded.settings.hub.notebooks_dir)
        self._services = services
        self._copies = RehearsalCopies(root, services.workspaces)
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Outcome] | None = None
        self.current: Rehearsal | None = None
        """The rehearsal that runs."""

    def make(self, wish: Wish) -> Rehearsal:
        """Return a rehearsal for :meth:`run`."""
        services = self._services
        pool, via, clock = services.pool, services.connections, services.clock
        return Rehearsal(pool, via, self._copies, clock, wish, _PACE)

    async def run(self, rehearsal: Rehearsal, tell: Progress) -> Outcome:
        """Run a rehearsal to its end.

        Raises: :class:`Conflict` while another one runs, or when it is cancelled.
        """
        if self.current is not None:
            raise _running()
        self.current = rehearsal
        try:
            async with self._turn:  # a sweep may be under way
                return await self._run(rehearsal, tell)
        finally:
            self.current = None

    async def _run(self, rehearsal: Rehearsal, tell: Progress) -> Outcome:
        self._task = asyncio.create_task(rehearsal.run(tell))
        try:
            return await self._task
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise Conflict("The rehearsal was cancelled.") from None
        finally:
            self._task = None

    async def cancel(self) -> bool:
        """End the rehearsal that runs, or what one has left; return whether there was one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            return True
        left = left_over(self._services.pool)
        await clear(self._services.pool, left, self._copies)
        return bool(left)

    async def keep_clear(self, stop: asyncio.Event, seconds: float = _LOOK_SECONDS) -> None:
        """Remove what rehearsals of killed hubs left, now and then until ``stop`` is set."""
        first = True

        async def sweep() -> None:
            nonlocal first
            await self._sweep(always=first)
            first = False

        await repeat("what a rehearsal left", sweep, seconds, stop)

    async def _sweep(self, *, always: bool) -> None:
        left = left_over(self._services.pool)
        if not (left or always) or self._turn.locked():
            return
        async with self._turn:
            if left:
                _log.warning("removing %d sessions that a rehearsal left", len(left))
            await clear(self._services.pool, left, self._copies)


def open_rehearsals(hub: HubApp) -> Run:
    """Make the hub's rehearsals; what killed hubs left is removed during the block."""
    rehearsals = hub.add(Rehearsals(hub.services))
    return partial(running, {"rehearsals": rehearsals.keep_clear})


def _running() -> Conflict:
    return Conflict(
        "A rehearsal runs already.", hint="Wait for its end, or cancel it with --cancel."
    )


def _is_cancelled() -> bool:
    """Return whether the task that calls this is to be cancelled itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
