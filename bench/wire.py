"""HTTP and WebSocket on bare sockets, so that three hundred students fit into one cheap process.

A client library would use more processor time than the hub that is measured, on the same two
cores. It parses only the forms that marimo and the hub send; anything else raises.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load import Target, connect, read_chunked

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_SHORT, _LONG = 126, 127
_NO_MASK = b"\0\0\0\0"


class Refused(RuntimeError):
    """A server that did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def expect(self, status: int = 200) -> bytes:
        """The body, or :class:`Refused` for another status."""
        if self.status != status:
            raise Refused(f"{self.status} {self.body[:300].decode('utf-8', 'replace')}")
        return self.body


class Line:
    """One keep-alive connection; opened at the first request, and again where it was closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a GET, or a POST where there is a body, and read the answer."""
        request = _request(self._target, path, body, headers or {})
        if self._streams is not None:
            try:
                return await self._exchange(request)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()  # kept alive for too long; the request was not answered
        self._streams = await connect(self._target)
        return await self._exchange(request)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: bytes) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"\r\ntransfer-encoding: chunked" in head:
            return Answer(status, await read_chunked(reader))
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self.close()
        return Answer(status, body)


class WebSocket(asyncio.Protocol):
    """The client's side of one WebSocket; ``heed`` gets each message's bytes."""

    def __init__(self, request: bytes, heed: Callable[[bytes], None]) -> None:
        self._request = request
        self._heed = heed
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the head of the answer, then every whole frame."""
        self._buffer += data
        if self.opened.done() or self._take_head():
            while self._take_frame():
                pass

    def connection_lost(self, exc: Exception | None) -> None:
        """Return the reason of the close."""
        reason = repr(exc) if exc else "the connection ended"
        if not self.closed.done():
            self.closed.set_result(reason)
        if not self.opened.done():
            self.opened.set_exception(Refused(reason))

    def close(self) -> None:
        """Send a close frame as a tab does, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(_CLOSE, b"\x03\xe9"))
            self._transport.close()

    def _take_head(self) -> bool:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(Refused(head.decode("latin-1")[:300]))
            self.close()
            return False
        self._buffer = bytearray(rest)
        self.opened.set_result(None)
        return True

    def _take_frame(self) -> bool:
        found = split_frame(self._buffer)
        if found is None:
            return False
        kind, payload, size = found
        del self._buffer[:size]
        assert self._transport is not None
        if kind in (_TEXT, _BINARY):
            self._heed(payload)
        elif kind == _PING:
            self._transport.write(frame(_PONG, payload))
        elif kind == _CLOSE:
            if not self.closed.done():
                self.closed.set_result(f"closed with {int.from_bytes(payload[:2])}")
            self.close()
        return True


def split_frame(buffer: bytearray) -> tuple[int, bytes, int] | None:
    """Return a buffer's first frame: kind, payload and total size; None if it is incomplete.

    A server's frames are never masked. Continuation frames have kind 0, which no caller reads.
    """
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 127, 2
    if length == _SHORT:
        length, start = int.from_bytes(buffer[2:4]), 4
    elif length == _LONG:
        length, start = int.from_bytes(buffer[2:10]), 10
    if len(buffer) < max(start, start + length):
        return None
    return buffer[0] & 15, bytes(buffer[start : start + length]), start + length


def frame(kind: int, payload: bytes) -> bytes:
    """A client's control frame, at most 125 bytes; masked with zeros, which costs nothing."""
    return bytes((128 | kind, 128 | len(payload))) + _NO_MASK + payload


async def open_websocket(target: Target, path: str, heed: Callable[[bytes], None]) -> WebSocket:
    """Open a WebSocket below a target. Raises: :class:`Refused`."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    request = _request(
        target,
        path,
        None,
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
        },
    )
    loop = asyncio.get_running_loop()

    def make() -> WebSocket:
        return WebSocket(request, heed)

    if target.socket is not None:
        _, made = await loop.create_unix_connection(make, str(target.socket))
    else:
        _, made = await loop.create_connection(make, "127.0.0.1", target.port)
    await made.opened
    return made


def _request(target: Target, path: str, body: bytes | None, extra: Mapping[str, str]) -> bytes:
    headers = {"Host": f"127.0.0.1:{target.port or 80}", **target.headers, **extra}
    if body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    first = f"{'GET' if body is None else 'POST'} {target.path}{path} HTTP/1.1"
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")
