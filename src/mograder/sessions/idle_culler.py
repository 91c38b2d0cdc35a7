"""Puts away what nobody uses, on time, and sooner when others wait for the memory.

:mod:`.culling` decides; this acts. A round costs a look at what is in memory: a session's server
is asked only when it is about to end, and the database only told what changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.idle_rules import (
    attend,
    idle,
    page_known,
    pressed,
    relief,
)
from mograder.sessions.memory_estimate import rest
from mograder.sessions.probe import Census
from mograder.sessions.session import LiveSession
from mograder.sessions.start_queue import StartQueue

_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 15.0
_PRESSED_SECONDS = 5.0
"""How long until the next look for sessions that may go, while some wait and none does."""
_AT_ONCE = 8
"""Sessions asked and ended at a time: what they save must not end all the others' turns."""


class CullableSessions(Protocol):
    """What the keeper asks of the pool."""

    def all(self) -> list[LiveSession]: ...

    async def end(self, live: LiveSession, reason: EndReason) -> None: ...

    def note_down(self) -> None:
        """Write down what changed; blocks."""
        ...


class IdleCuller:
    """The two loops of a pool that end sessions unasked; the pool owns their tasks."""

    def __init__(
        self, sessions: CullableSessions, line: StartQueue, clock: Clock, census: Census, ttl: float
    ) -> None:
        self._sessions = sessions
        self._line = line
        self._clock = clock
        self._census = census
        self._ttl = timedelta(seconds=ttl)
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def keep_house(self) -> None:
        """Look after all sessions every few seconds; ends by being cancelled."""
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING_SECONDS, self._ttl.total_seconds() / 4))
            try:
                self._take_stock()
                await self._cull()
                self._line.pump()  # those that were young count with less by now
                await asyncio.to_thread(self._sessions.note_down)
            except Exception:  # noqa: BLE001 - a loop: what failed now is tried again
                _log.exception("the housekeeping failed")

    async def relieve(self) -> None:
        """Make room whenever somebody waits for memory; ends by being cancelled."""
        while True:
            await self._line.pressed.wait()
            try:
                if await self._make_room():
                    continue
            except Exception:  # noqa: BLE001 - a loop: those who wait still do
                _log.exception("no room could be made for those who wait")
            await asyncio.sleep(min(_PRESSED_SECONDS, self._ttl.total_seconds() / 4))
            self._line.pump()

    def _take_stock(self) -> None:
        for live in self._sessions.all():
            rest(live.usage, self._clock.steady())
        attend(self._sessions.all(), self._clock.now())

    async def _cull(self) -> None:
        found = idle(self._sessions.all(), self._clock.now(), self._ttl)
        await self._end_all(found, EndReason.IDLE, self._stays_idle)

    async def _make_room(self) -> bool:
        """End sessions for those who wait; false when there is none that may go."""
        self._take_stock()
        may_go = pressed(self._sessions.all(), self._clock.now())
        chosen = relief(may_go, self._line.shortage())
        await self._end_all(chosen, EndReason.PRESSURE, self._stays_free_to_go)
        self._line.pump()
        return bool(chosen)

    async def _end_all(
        self,
        sessions: Sequence[LiveSession],
        reason: EndReason,
        still: Callable[[LiveSession, datetime], bool],
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for live in sessions:
                group.create_task(self._end(live, reason, still))

    async def _end(
        self,
        live: LiveSession,
        reason: EndReason,
        still: Callable[[LiveSession, datetime], bool],
    ) -> None:
        key = live.key
        async with self._asking:
            await self._ask(live, reason)
            if not still(live, self._clock.now()):
                return
            _log.info("ending %s of %s for %s: %s", key.mode, key.item, key.user, reason)
            try:
                await self._sessions.end(live, reason)
            except MograderError as error:
                _log.warning("the end of session %s is not complete: %s", live.id, error)

    async def _ask(self, live: LiveSession, reason: EndReason) -> None:
        """Ask a server about its pages: on a front's fast path the hub sees none of them.

        No sensible answer is no page after an idle hour. When others wait it is one: a server
        that is short of processor time must not cost its student the page.
        """
        under_pressure = reason is EndReason.PRESSURE
        if live.connections or (under_pressure and page_known(live, self._clock.now())):
            return
        pages = await self._census(live.endpoint, live.base_url)
        if under_pressure if pages is None else pages > 0:
            live.paged = self._clock.now()

    def _stays_idle(self, live: LiveSession, now: datetime) -> bool:
        return bool(idle([live], now, self._ttl))

    def _stays_free_to_go(self, live: LiveSession, now: datetime) -> bool:
        return bool(pressed([live], now))
