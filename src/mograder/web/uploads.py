"""Limits on uploads at once, since each is in memory until it is stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from mograder.core.closing import under_way
from mograder.web.problems import TooManyAttempts

T = TypeVar("T")

_SMALL = 1024 * 1024
"""Bodies up to this many bytes do not count as uploads."""

_LARGE_AT_ONCE = 8
"""Each has at most 32 MB and is in memory."""

_OF_ONE_PERSON = 4


class Uploads:
    """Bounds the bodies in memory: large ones wait in the order of their arrival; none is refused.

    Only a person with too many uploads under way is refused, since slow bodies of one person could
    hold all places. Mutable state: ``_large`` and ``_sending``; for one event loop.
    """

    def __init__(self, at_once: int = _LARGE_AT_ONCE) -> None:
        self._large = asyncio.Semaphore(at_once)
        self._sending: Counter[str] = Counter()

    @contextmanager
    def sending(self, user: str) -> Iterator[None]:
        """Count a body under way for this person.

        Raises: :class:`TooManyAttempts` when there are too many already.
        """
        if self._sending[user] >= _OF_ONE_PERSON:
            raise TooManyAttempts(
                f"{_OF_ONE_PERSON} uploads of yours are under way.", hint="Wait for them."
            )
        with under_way(self._sending, user):
            yield

    async def received(
        self, user: str, read: Callable[[], Awaitable[T]]
    ) -> tuple[T, AbstractContextManager[object]]:
        """Read a body; return it, and a context at whose end it is not counted any more.

        Raises: as :meth:`sending`.
        """
        with ExitStack() as sending:
            sending.enter_context(self.sending(user))
            body = await read()
            return body, sending.pop_all()

    @asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        """Wait until a body of so many bytes may be read."""
        if size <= _SMALL:
            yield
            return
        async with self._large:
            yield
