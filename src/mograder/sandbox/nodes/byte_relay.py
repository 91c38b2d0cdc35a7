"""A node's relay between a hub's connection and a session's Unix socket, with back-pressure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from mograder.sandbox.nodes.first_line import BUFFER_BYTES

_CONNECT_SECONDS = 5.0


class _End(asyncio.Protocol):
    """One of the two connections: all that it receives is sent on the other one.

    A connection that cannot send stops the other one's reading. The end of one ends the other one,
    which first sends what it has.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End = self
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not of that class
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        target = self.other.transport
        if target is not None:
            target.write(data)

    def pause_writing(self) -> None:
        self.full = True
        source = self.other.transport
        if source is not None and not source.is_closing():
            source.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        source = self.other.transport
        if source is not None and not source.is_closing():
            source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.other.transport is not None:
            self.other.transport.close()


class Relay:
    """A connection of a hub to a session; :attr:`ended` is set when both sides are closed."""

    def __init__(self) -> None:
        self._hub = _HubEnd(self)
        self._session = _End()
        self._hub.other, self._session.other = self._session, self._hub
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, transport: asyncio.Transport, received: bytes, path: Path) -> None:
        """Connect to the session's socket and relay; the hub's connection must be paused.

        ``received`` is what the hub has sent already. Without an answer at the socket the hub's
        connection is closed.
        """
        transport.set_protocol(self._hub)
        self._hub.connection_made(transport)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.create_unix_connection(lambda: self._session, str(path))
        except OSError:
            transport.abort()
            return
        target = self._session.transport
        if transport.is_closing() or target is None:
            self.abort()
            return
        if received:
            target.write(received)
        if not self._session.full:
            transport.resume_reading()

    def abort(self) -> None:
        """Close both connections at once; what was not sent is dropped."""
        for end in (self._hub, self._session):
            if end.transport is not None:
                end.transport.abort()


class _HubEnd(_End):
    """The hub's connection, whose end is that of the relay."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._relay.ended.done():
            self._relay.ended.set_result(None)
