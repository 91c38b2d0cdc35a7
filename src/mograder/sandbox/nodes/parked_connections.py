"""A hub's store of one node's connections that wait for a session."""

from __future__ import annotations

import asyncio
from collections import deque

from mograder.sandbox.nodes.first_line import FirstLineReader

MOST_PARKED = 64
"""The largest number of connections of one node that may wait."""


class _Waiting(asyncio.Protocol):
    """A connection that waits. A node that sends something before it is asked loses it."""

    def __init__(self, parked: deque[_Waiting], transport: asyncio.Transport) -> None:
        self._parked = parked
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._parked:
            self._parked.remove(self)


class ParkedConnections:
    """The waiting connections of one node, oldest first, and the tasks that wait for one."""

    def __init__(self) -> None:
        self._parked: deque[_Waiting] = deque()
        self._wanted: deque[asyncio.Future[asyncio.Transport]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._parked)

    def add(self, first: FirstLineReader) -> None:
        """Add a connection whose first line was read; it is closed if there are enough.

        Raises: :class:`ConnectionError` if it has ended.
        """
        transport = first.transport
        if self._closed or first.rest or len(self._parked) >= MOST_PARKED:
            transport.abort()
            return
        while self._wanted:
            waiter = self._wanted.popleft()
            if not waiter.done():
                waiter.set_result(transport)
                return
        waiting = _Waiting(self._parked, transport)
        transport.set_protocol(waiting)
        self._parked.append(waiting)
        transport.resume_reading()

    async def take(self) -> asyncio.Transport:
        """Return a connection, paused; wait for the next one if there is none.

        Raises: :class:`ConnectionResetError` if the node is gone.
        """
        while self._parked:
            transport = self._parked.popleft().transport
            if not transport.is_closing():
                transport.pause_reading()
                return transport
        if self._closed:
            raise ConnectionResetError("the node is gone")
        waiter: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self._wanted.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().abort()  # it was given to a task that is no longer there
            raise

    def close(self) -> None:
        """Close all of them; tasks that wait fail."""
        self._closed = True
        for waiting in tuple(self._parked):
            waiting.transport.abort()
        self._parked.clear()
        for waiter in self._wanted:
            if not waiter.done():
                waiter.set_exception(ConnectionResetError("the node is gone"))
                waiter.exception()  # retrieved: a task that was cancelled does not
        self._wanted.clear()
