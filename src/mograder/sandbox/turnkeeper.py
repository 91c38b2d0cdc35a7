"""Keeps giving turns, apart from the measuring of memory, which waits for processes that fork."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor

from mograder.sandbox.roster import Roster
from mograder.sandbox.turns import Turns

_log = logging.getLogger("mograder.supervisor")

_CONTESTED_SECONDS, _CALM_CONTESTED_SECONDS = 0.1, 0.25
"""Between two times while somebody starts beside others, on a busy machine and on another one."""

_PRESSING_SECONDS, _SECONDS = 0.3, 1.0
"""And else, while sessions work on a busy machine: who takes too much is to stand back soon."""


class TurnKeeper:
    """Gives turns as often as it takes, and at once when somebody comes."""

    def __init__(
        self,
        turns: Turns,
        roster: Roster,
        full: Callable[[], Collection[str]],
        threads: Executor,
    ) -> None:
        """``full`` tells which sessions have all their processes."""
        self._turns, self._roster, self._full = turns, roster, full
        self._threads = threads
        self._arrived = asyncio.Event()

    def expect(self, session_id: str, weight: int, now: float, *, cold: bool) -> None:
        """Somebody starts: see :meth:`mograder.sandbox.turns.Turns.expect`."""
        self._turns.expect(session_id, weight, now, cold=cold)
        self._arrived.set()

    async def keep(self) -> None:
        """Give turns until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._pause()
            try:
                await loop.run_in_executor(self._threads, self._give)
            except Exception:  # noqa: BLE001 - a loop that must outlive whatever /proc shows
                _log.exception("no turns could be given")

    async def _pause(self) -> None:
        """Until the next time: a while, or until somebody comes; for ever while nobody is here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds()):
                await self._arrived.wait()
        self._arrived.clear()

    def _seconds(self) -> float | None:
        turns = self._turns
        if turns.contested:
            return _CONTESTED_SECONDS if turns.busy or turns.holds else _CALM_CONTESTED_SECONDS
        if turns.pressing or turns.holds:
            return _PRESSING_SECONDS
        return _SECONDS if turns.some else None

    def _give(self) -> None:
        """In a thread, and soon done."""
        self._roster.catch_up()
        now = time.monotonic()
        self._turns.look(now)
        self._turns.give(now, self._full())
