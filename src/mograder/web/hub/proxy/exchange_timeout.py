"""Ending an exchange through the proxy early, and the reasons for it."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from types import TracebackType
from typing import Self

from starlette.types import Receive

_UNWATCHED_SECONDS = 0.25


class End(Enum):
    """The reason why an exchange was ended before it was complete."""

    GONE = auto()
    """The client disconnected."""
    CUT = auto()
    """The session stopped, or the capability was revoked."""
    TOO_LARGE = auto()
    """The request's body exceeds the limit."""
    NO_ANSWER = auto()
    """The session's server did not answer in time."""
    NO_REQUEST = auto()
    """The client began a body and stopped sending."""


class ExchangeTimeout:
    """Surrounds one HTTP exchange; an early end raises nothing and sets ``ended`` to the reason.

    It is one timer of the task itself (``asyncio.timeout``) that any callback may trigger, so a
    quick exchange, as nearly all are, needs no second task. Only when one takes longer than a
    quarter of a second does a task watch the client, since ASGI reports a disconnect on reading.
    """

    def __init__(self) -> None:
        self.ended: End | None = None
        self._open = False
        self._timeout = asyncio.timeout(None)
        self._on_expiry = End.NO_ANSWER
        self._later: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._open = False
        swallowed = False
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            swallowed = True
        if self._timeout.expired():
            self.ended = self.ended or self._on_expiry
        await self._stop_watching()
        return swallowed

    def expect_within(self, seconds: float | None, otherwise: End = End.NO_ANSWER) -> None:
        """End the exchange unless this is called again within so many seconds; None: no limit."""
        if not self._pullable():
            return
        self._on_expiry = otherwise
        loop = asyncio.get_running_loop()
        self._timeout.reschedule(None if seconds is None else loop.time() + seconds)

    def end(self, why: End) -> None:
        """End the exchange now."""
        if self._pullable():
            self.ended = why
            self._timeout.reschedule(0)

    def _pullable(self) -> bool:
        return self._open and self.ended is None and not self._timeout.expired()

    def cut(self) -> None:
        """End the exchange because its session or capability ended."""
        self.end(End.CUT)

    def watch(self, receive: Receive) -> None:
        """End the exchange when the client disconnects; its request has been read completely."""
        if not self._open or self._later is not None:
            return
        loop = asyncio.get_running_loop()
        self._later = loop.call_later(_UNWATCHED_SECONDS, self._begin_watching, receive)

    def _begin_watching(self, receive: Receive) -> None:
        self._watcher = asyncio.ensure_future(self._watch(receive))

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(End.GONE)

    async def _stop_watching(self) -> None:
        if self._later is not None:
            self._later.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))
