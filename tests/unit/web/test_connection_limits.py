"""What one connection may send before its request is complete, on the wire."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from mograder.web import serving
from mograder.web.serving import configuration

_ASK = b"GET / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_SHORT = 0.2
_MOST_SENT = 16 * 2**20
"""More than fits into the buffers of a connection that is not read any more."""


async def _count(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@asynccontextmanager
async def _connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server that answers with the number of a body's bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(configuration(_count, grace_seconds=1, lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = True
            await serving


async def _flood(writer: asyncio.StreamWriter, piece: bytes) -> int:
    """Send a piece again and again, while that is possible; return how many bytes."""
    sent = 0
    with suppress(ConnectionError):
        while sent < _MOST_SENT:
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), 10)
            sent += len(piece)
    return sent


async def _last(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the connection ends."""
    found = b""
    with suppress(ConnectionError):
        while data := await asyncio.wait_for(reader.read(2**16), 10):
            found += data
    return found


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (_ASK, b"a: b\r\n" * 10_000),
        (_ASK + b"a: ", b"b" * 60_000),
        (b"GET /", b"a" * 60_000),
        (_CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n" * 10_000),
    ],
    ids=["fields", "one field", "an address", "fields after a body"],
)
async def test_a_head_without_end_ends_the_connection(begun: bytes, piece: bytes) -> None:
    async with _connection() as (reader, writer):
        writer.write(begun)
        assert await _flood(writer, piece) < _MOST_SENT
        assert b" 200 " not in await _last(reader)


async def test_who_sends_too_large_a_head_is_told() -> None:
    async with _connection() as (reader, writer):
        writer.write(_ASK + b"a: b\r\n" * 22_000)
        answer = await _last(reader)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"The request's headers exceed 128 KB.")


@pytest.mark.parametrize("begun", [b"", b"GET / HT"])
async def test_a_head_that_does_not_come_ends_the_connection(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_HEAD_SECONDS", _SHORT)
    async with _connection() as (reader, writer):
        writer.write(begun)
        assert await _last(reader) == b""


@pytest.mark.full
async def test_a_slow_body_and_a_pause_between_requests_are_no_late_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_HEAD_SECONDS", _SHORT)
    async with _connection() as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            for _ in range(2):
                await asyncio.sleep(2 * _SHORT)
                writer.write(b"x")
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n2"), 10)
            assert answer.startswith(b"HTTP/1.1 200 ")
