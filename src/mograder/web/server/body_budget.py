"""Memory for bodies under way: who comes when it is taken waits in line, and no class is refused.

Only one person who sends much at once is: slow bodies cost nothing but memory, and nobody should
hold all of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from mograder.web.server.problems import TooManyAttempts

_SMALL = 1024 * 1024
"""Up to here nobody waits for anybody."""

_AT_ONCE = 4
"""Bodies for one person."""


class Budget:
    """So many bytes, lent and given back in the order of asking; for one event loop.

    Mutable state: ``_left``, ``_line`` and ``_sending``.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._left = total
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._sending: Counter[str] = Counter()

    @contextmanager
    def sending(self, user: str) -> Iterator[None]:
        """Note that a body comes for this person.

        Raises: :class:`TooManyAttempts` when many do already.
        """
        if self._sending[user] >= _AT_ONCE:
            raise TooManyAttempts(
                f"{_AT_ONCE} submissions of yours are under way.", hint="Wait for them."
            )
        self._sending[user] += 1
        try:
            yield
        finally:
            self._sending[user] -= 1
            if not self._sending[user]:
                del self._sending[user]

    @asynccontextmanager
    async def lend(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes; more than there ever are counts as all of them, little as none."""
        size = 0 if size <= _SMALL else min(size, self._total)
        await self._take(size)
        try:
            yield
        finally:
            self._left += size
            self._serve()

    async def _take(self, size: int) -> None:
        if size == 0 or (not self._line and size <= self._left):
            self._left -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._left += size
            self._serve()
            raise

    def _serve(self) -> None:
        while self._line:
            size, turn = self._line[0]
            if not turn.cancelled() and size > self._left:
                return
            self._line.popleft()
            if not turn.cancelled():
                self._left -= size
                turn.set_result(None)
