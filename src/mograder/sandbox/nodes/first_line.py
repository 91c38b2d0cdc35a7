"""Reading the first line of a connection, and what becomes of the connection after it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import cast

BUFFER_BYTES = 512 * 1024
"""Unsent bytes of one connection above which its source is no longer read. With 64 KiB, 10 MB take
a fifth more time."""

_KEEPALIVE_SECONDS = 20
_PROBES = 3
_PROBE_SECONDS = 5
_UNANSWERED_SECONDS = 30


class FirstLineReader(asyncio.Protocol):
    """Reads one line from a connection, which is then paused and can be given another protocol.

    ``line`` is the line without its end; :attr:`rest` are the bytes that arrived after it. The
    line fails with :class:`ConnectionError` if the connection ends before, and with
    :class:`ValueError` if it has more than ``limit`` bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.rest = b""

    @property
    def transport(self) -> asyncio.Transport:
        """The connection. Raises: :class:`ConnectionResetError` if there is none any more."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not of that class
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Look for the end of the line."""
        assert self._transport is not None
        if self.line.done():
            self.rest += data
            return
        self._received += data
        line, end, rest = self._received.partition(b"\n")
        if len(line) > self._limit:
            self._fail(ValueError(f"a first line of more than {self._limit} bytes"))
            self._transport.abort()
        elif end:
            self._transport.pause_reading()
            self.rest = bytes(rest)
            self.line.set_result(bytes(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that no line will arrive."""
        self._transport = None
        self._fail(ConnectionResetError("the connection ended before its first line"))

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            # Python 3.11.2, which Debian 12 has, raises for a TLS connection that was closed twice.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if not self.line.done():
            self.line.set_exception(error)
            self.line.exception()  # retrieved: a caller that was cancelled does not


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


def _keep_alive(connection: socket.socket) -> None:
    """Have the kernel notice within a minute that the other machine is gone, and keep NAT alive."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    milliseconds = _UNANSWERED_SECONDS * 1000
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
