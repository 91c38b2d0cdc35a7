"""Answers to requests with a body, on the wire: when they begin, and in how many pieces.

What a front that forwards a body bit by bit needs, so that it loses no answer (B19).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from mograder.web import context, serving
from tests.support.proxy_session import A1, RunningProxy
from tests.support.session_proxy import cookie
from tests.support.slow_body import refused_body

_FORM = {**cookie("alice"), "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the hub wait a moment only for a body that it refuses, and for its end."""
    monkeypatch.setattr(context, "_DRAIN_SECONDS", 0.2)
    monkeypatch.setattr(serving, "_LINGER_SECONDS", 0.2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the hub wait longer for a body that it refuses than a test waits for the answer."""
    monkeypatch.setattr(context, "_DRAIN_SECONDS", 600)


class Line:
    """One connection to the hub, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def ask(self, path: str, length: int, headers: dict[str, str]) -> None:
        """Send the head of a POST."""
        lines = [f"POST {path} HTTP/1.1", "Host: hub", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, data: bytes) -> None:
        """Send a piece of its body."""
        self._writer.write(data)

    async def first(self, seconds: float = 20) -> bytes:
        """Return the data of one receive call, or nothing."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._reader.read(2**16), seconds)
        return b""

    def segments(self) -> int:
        """Return the number of segments with data received so far (``tcpi_data_segs_in``)."""
        line: socket.socket = self._writer.get_extra_info("socket")
        told = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        return int(struct.unpack_from("=I", told, 152)[0])


@asynccontextmanager
async def _line(proxied: RunningProxy) -> AsyncIterator[Line]:
    parts = urlsplit(proxied.rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def test_who_is_refused_is_told_when_the_body_has_come(proxied: RunningProxy) -> None:
    """The connection stays for the next request."""
    async with _line(proxied) as line:
        for _ in range(20):
            line.ask(A1 + "/api/kernel/execute", 2, _FORM)
            assert await line.first(0.02) == b""
            line.send(b"x")
            assert await line.first(0.02) == b""
            line.send(b"y")
            answer = await line.first()
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert answer.endswith(b"\r\n\r\nOpen this address in a tab of its own.")
            assert b"connection: close" not in answer.lower()


@pytest.mark.usefixtures("impatient")
async def test_who_sends_no_body_is_refused_all_the_same(proxied: RunningProxy) -> None:
    async with _line(proxied) as line:
        line.ask(A1 + "/api/kernel/execute", 2, _FORM)
        assert (await line.first()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.usefixtures("patient")
async def test_a_large_body_is_not_waited_for(proxied: RunningProxy) -> None:
    async with _line(proxied) as line:
        line.ask(A1 + "/api/kernel/execute", 2**30, _FORM)
        line.send(b"x" * (2**20 + 1))
        assert (await line.first()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.usefixtures("patient")
async def test_who_asks_first_whether_to_send_is_told_at_once(proxied: RunningProxy) -> None:
    async with _line(proxied) as line:
        line.ask(A1 + "/api/kernel/execute", 2, {**_FORM, "Expect": "100-continue"})
        assert (await line.first()).startswith(b"HTTP/1.1 403 ")


async def test_a_sessions_short_answer_leaves_in_one_piece(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    async with _line(proxied) as line:
        for turn in range(50):
            line.ask(cap + "api/x", 5, {})
            line.send(b"12345")
            head, _, body = (await line.first()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert json.loads(body)["length"] == 5
            assert line.segments() == turn + 1


async def test_a_large_body_passes_while_its_answer_comes(proxied: RunningProxy) -> None:
    """The head of an answer without a length is not held back."""
    cap = await proxied.capability()
    async with _line(proxied) as line:
        line.ask(cap + "stream-echo", 10, {})
        line.send(b"hello")
        heard = b""
        while b"hello" not in heard:
            heard += await line.first()
        line.send(b"world")
        while b"world" not in heard:
            heard += await line.first()


async def test_a_long_answer_begins_when_a_front_has_seen_the_bodys_end(
    proxied: RunningProxy,
) -> None:
    cap = await proxied.capability()
    async with _line(proxied) as line:
        line.ask(cap + "stream-echo", 5, {})
        line.send(b"hello")
        assert await line.first(0.1) == b""
        assert (await line.first()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("impatient")
async def test_the_connection_of_a_refused_body_is_closed(proxied: RunningProxy) -> None:
    parts = urlsplit(proxied.rig.url)
    refused = await refused_body(
        str(parts.hostname), int(parts.port or 0), A1 + "/api/kernel/execute", _FORM
    )
    assert refused.status == 403
    assert b"\r\nconnection: close" in refused.headers
    assert refused.answer.endswith(b"\r\n\r\nOpen this address in a tab of its own.")
    assert refused.sent < 8 * 2**20


@pytest.mark.usefixtures("impatient")
async def test_a_body_that_is_refused_while_it_comes_is_not_read_to_its_end(
    proxied: RunningProxy,
) -> None:
    """The proxy has passed some of it on when its bound is reached."""
    parts = urlsplit(proxied.rig.url)
    path = await proxied.capability() + "api/x"
    refused = await refused_body(
        str(parts.hostname), int(parts.port or 0), path, {}, announced=None, piece=2**17
    )
    assert refused.status == 413
    assert b"\r\nconnection: close" in refused.headers
