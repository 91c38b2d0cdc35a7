"""Requests to a session's server over its socket, with any answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import pytest

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import (
    LocalConnections,
    answers,
    connections,
    exported_page,
)
from tests.support.supervisors import short_directory


@asynccontextmanager
async def server(reply: bytes) -> AsyncIterator[tuple[Endpoint, list[bytes]]]:
    """A server on a Unix socket that gives every request this reply and hangs up."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):
            requests.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
            writer.write(reply)

    with short_directory() as directory:
        path = directory / "s.sock"
        async with await asyncio.start_unix_server(answer, path):
            yield Endpoint(path), requests


async def test_a_server_that_is_well_says_so_below_its_own_address() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (endpoint, requests):
        assert await answers(endpoint, "/edit/user/alice/A1")
    assert requests == [b"GET /edit/user/alice/A1/health HTTP/1.1"]


@pytest.mark.parametrize("head", ["500 Oh", "302 There\r\nLocation: http://192.0.2.1/secret"])
async def test_a_server_that_is_not_well_is_told_from_one_that_is(head: str) -> None:
    """Student code could answer by a redirect: the hub must not fetch what it names."""
    async with server(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()) as found:
        endpoint, requests = found
        assert not await answers(endpoint, "/edit/user/alice/A1")
    assert len(requests) == 1


@pytest.mark.parametrize(
    "reply", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 99999]
)
async def test_garbage_is_an_error_of_the_line(reply: bytes) -> None:
    async with server(reply) as (endpoint, _):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await answers(endpoint, "/edit/user/alice/A1")


# --- outputs ----------------------------------------------------------------------------------


async def test_a_list_of_sessions_that_takes_long_to_parse_is_none() -> None:
    """Student code writes it, and the hub parses it in its event loop."""
    ids = b'{"a": [' + b"[]," * 30_000 + b"[]]}"
    async with server(answer(ids)) as (endpoint, requests):
        assert await exported_page(endpoint, "/edit/user/alice/A1", LocalConnections()) == b""
    assert requests == [b"GET /edit/user/alice/A1/api/sessions HTTP/1.1"]


async def test_a_session_whose_name_is_no_header_has_no_page() -> None:
    """Student code chooses it."""
    async with server(answer(b'{"a\\nb": 1}')) as (endpoint, requests):
        assert await exported_page(endpoint, "/edit/user/alice/A1", LocalConnections()) == b""
    assert len(requests) == 2


# --- open pages -----------------------------------------------------------------------------


def answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_a_server_tells_how_many_pages_are_open() -> None:
    async with server(answer(b'{"active": 3}')) as (endpoint, requests):
        assert await connections(endpoint, "/run/user/alice/L01") == 3
    assert requests == [b"GET /run/user/alice/L01/api/status/connections HTTP/1.1"]


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 99999,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        answer(b""),
        answer(b"{}"),
        answer(b'{"active": -1}'),
        answer(b'{"active": "3"}'),
        answer(b'{"active": 3.5}'),
        answer(b'{"active": 1e999}'),
        answer(b'{"active": true}'),
        answer(b"[" * 1000),
        answer(b'{"active": 3}' + b" " * 100_000),
        answer(b'{"active": 3}', status="500 Oh"),
        answer(b'{"active": 3}', status="302 There", headers="Location: http://192.0.2.1/\r\n"),
        answer(gzip.compress(b'{"active": 3}', mtime=0), headers="Content-Encoding: gzip\r\n"),
    ],
)
async def test_what_is_no_number_of_pages_is_none(reply: bytes) -> None:
    async with server(reply) as (endpoint, _):
        assert await connections(endpoint, "/edit/user/alice/A1") is None


async def test_a_socket_that_is_gone_tells_nothing() -> None:
    assert await connections(Endpoint(Path("/nowhere/s.sock")), "/edit/user/alice/A1") is None


async def test_a_server_that_never_finishes_tells_nothing() -> None:
    """What it began to say is worth nothing, and its time is bounded."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    over = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await reader.read()
        writer.close()
        over.set()

    with short_directory() as directory:
        path = directory / "s.sock"
        async with await asyncio.start_unix_server(hang, path):
            assert await connections(Endpoint(path), "/b", seconds=0.05) is None
            async with asyncio.timeout(40):
                await over.wait()


async def test_who_listens_is_told_from_who_is_dead_without_waiting(tmp_path: Path) -> None:
    async with server(b"") as (endpoint, _):
        assert not LocalConnections().is_dead(endpoint)
    assert LocalConnections().is_dead(endpoint), "its socket is gone"
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        assert LocalConnections().is_dead(Endpoint(path)), "nobody listens at it"
        killed.listen(1)
        assert not any(LocalConnections().is_dead(Endpoint(path)) for _ in range(8)), (
            "slow is not dead"
        )
