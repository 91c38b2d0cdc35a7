"""A byte budget for request bodies in memory.

When it is spent, requests wait in order of arrival and are not refused. Only a person with too many
uploads under way is refused, since slow bodies of one person could hold the whole budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from mograder.web.server.problems import TooManyAttempts

_SMALL = 1024 * 1024
"""Bodies up to this many bytes do not count."""

_AT_ONCE = 4
"""Maximum number of bodies under way for one person."""


class Budget:
    """A number of bytes, lent in the order of requests; for one event loop.

    Mutable state: ``_left``, ``_line`` and ``_sending``.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._left = total
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._sending: Counter[str] = Counter()

    @contextmanager
    def sending(self, user: str) -> Iterator[None]:
        """Count a body under way for this person.

        Raises: :class:`TooManyAttempts` when there are too many already.
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
        """Hold so many bytes; a size above the total counts as the total, a small one as 0."""
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
