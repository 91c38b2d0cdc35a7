"""What both ends of the connections between nodes and hubs need: their heads, and relays of bytes.

A node asks at the hub's own address for another protocol (``GET /nodes/connect`` with ``Upgrade``
and its secret). After the hub's 101 the connection has one of two uses:

:data:`CONTROL`
    From then on the JSON lines of :mod:`mograder.sandbox.protocol`: the hub calls, the node
    answers and sends news.
:data:`SESSION`
    The connection waits until the hub needs one. Then the hub sends :class:`OpenSession` as one
    line; all that follows, both ways, is between the hub and that session's server. The node
    closes the connection if it has no such session.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import cast

from pydantic import Field

from mograder.sandbox.protocol import Message

DOOR = "/nodes/connect"
"""The path at which a hub takes the connections of nodes."""
CONTROL, SESSION = "mograder-node", "mograder-session"
LINK = "Mograder-Link"
"""The header with the key of a control connection: the hub's 101 gives it, and each connection for
sessions says it, so that nobody else who has the node's secret gets the sessions' traffic. A
request for a control connection may have one of its own, the same in two attempts at a time."""

BUFFER_BYTES = 512 * 1024
"""Unsent bytes of one connection above which its source is no longer read. With 64 KiB, 10 MB take
a fifth more time."""

_HEAD_BYTES = 8192
_CONNECT_SECONDS = 5.0
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 20,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 30_000,  # milliseconds
}
"""Seconds, but the last two."""


class OpenSession(Message):
    """The line by which a hub takes a waiting connection."""

    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")


class HeadReader(asyncio.Protocol):
    """Reads a node's connection to a hub up to a mark; then it can be given another protocol."""

    def __init__(self) -> None:
        self.link = ""
        """The key that the hub has given to it, if it is the control connection."""
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()

    @property
    def transport(self) -> asyncio.Transport:
        """The connection. Raises: :class:`ConnectionResetError` if there is none any more."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        return self._transport

    async def until(self, mark: bytes) -> bytes:
        """Return what the hub sends before a mark.

        Raises: :class:`ConnectionError` if the connection ends before, :class:`ValueError` if there
        is no mark in 8 KiB.
        """
        while mark not in self._received:
            if len(self._received) > _HEAD_BYTES:
                raise ValueError("the hub's answer is too long")
            if self._transport is None:
                raise ConnectionResetError("the connection has ended")
            self._news.clear()
            await self._news.wait()
        head, _, rest = self._received.partition(mark)
        self._received = bytearray(rest)
        return bytes(head)

    def release(self) -> tuple[asyncio.Transport, bytes]:
        """Return the paused connection and what came after the last mark; raises as `transport`."""
        transport = self.transport
        transport.pause_reading()
        return transport, bytes(self._received)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not of that class
        prepare(self._transport)

    def data_received(self, data: bytes) -> None:
        """Store the data; a hub that sends too much before its turn is read no further."""
        self._received += data
        if len(self._received) > _HEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._news.set()

    def abort(self) -> None:
        if self._transport is not None:
            abort(self._transport)


def prepare(transport: asyncio.Transport) -> None:
    """Set the buffers of a connection between a node and a hub, and have its end noticed.

    The kernel notices within a minute that the other machine is gone, and keeps NAT alive.
    """
    transport.set_write_buffer_limits(high=BUFFER_BYTES)
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def abort(transport: asyncio.WriteTransport) -> None:
    # Python 3.11.2, which Debian 12 has, raises for a TLS connection that was closed twice.
    with contextlib.suppress(AttributeError):
        transport.abort()


def streams_of(
    transport: asyncio.Transport, received: bytes, reader: asyncio.StreamReader
) -> asyncio.StreamWriter:
    """Connect ``reader`` to a paused connection; ``received`` are the bytes before the others."""
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if received:
        reader.feed_data(received)
    transport.resume_reading()
    return asyncio.StreamWriter(transport, protocol, reader, loop)


class _End(asyncio.Protocol):
    """One of the two connections: all that it receives is sent on the other one.

    A connection that cannot send stops the other one's reading. The end of one ends the other one,
    which first sends what it has.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End = self
        self.full = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

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
        if not self.lost.done():
            self.lost.set_result(None)


class Relay:
    """A connection of a hub to a session; :attr:`ended` is set when the hub's side is closed."""

    def __init__(self) -> None:
        self._hub, self._session = _End(), _End()
        self._hub.other, self._session.other = self._session, self._hub
        self.ended = self._hub.lost

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
            abort(transport)
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
                abort(end.transport)
