"""Takes turns at a student's copy: while it changes no session of it runs, starts or changes it.

A session that was open would save the old text over the new one; one that starts in the middle
would show the old one. So whoever changes a copy ends its session first, and starts wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from mograder.sessions.live import SessionKey

_LOOK_SECONDS = 0.5


class Stops(Protocol):
    """Ends sessions; :class:`~mograder.sessions.pool.SessionPool` does."""

    async def stop(self, key: SessionKey) -> bool: ...


@dataclass(slots=True, eq=False)
class _Turn:
    """Who is at one copy now; ``visits`` counts those who use this object."""

    visits: int = 0
    starts: int = 0
    changing: bool = False
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def stirred(self) -> None:
        """Return when something has ended."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            await future
        finally:
            with suppress(ValueError):
                self.waiting.remove(future)

    def stir(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)


class Turns:
    """Mutable state: ``_turns``, one for each copy that somebody is at; of one event loop."""

    def __init__(self) -> None:
        self._turns: dict[SessionKey, _Turn] = {}

    @asynccontextmanager
    async def starting(self, key: SessionKey) -> AsyncIterator[None]:
        """Hold off changes while a session starts; wait for one that is going on."""
        with _Visit(self._turns, key) as turn:
            while turn.changing:
                await turn.stirred()
            turn.starts += 1
            try:
                yield
            finally:
                turn.starts -= 1
                turn.stir()

    @asynccontextmanager
    async def changing(self, key: SessionKey, pool: Stops) -> AsyncIterator[None]:
        """Have the copy for oneself: its session is ended, and none starts until this is over."""
        with _Visit(self._turns, key) as turn:
            while turn.changing:
                await turn.stirred()
            turn.changing = True
            try:
                await _empty(turn, key, pool)
                yield
            finally:
                turn.changing = False
                turn.stir()


class _Visit:
    """Keeps a turn for as long as somebody uses it."""

    def __init__(self, turns: dict[SessionKey, _Turn], key: SessionKey) -> None:
        self._turns, self._key = turns, key

    def __enter__(self) -> _Turn:
        turn = self._turns.setdefault(self._key, _Turn())
        turn.visits += 1
        return turn

    def __exit__(self, *_: object) -> None:
        turn = self._turns[self._key]
        turn.visits -= 1
        if not turn.visits:
            del self._turns[self._key]


async def _empty(turn: _Turn, key: SessionKey, pool: Stops) -> None:
    """End the session, also one that is just starting: it leaves the line or starts to its end."""
    await pool.stop(key)
    while turn.starts:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await turn.stirred()
        await pool.stop(key)
