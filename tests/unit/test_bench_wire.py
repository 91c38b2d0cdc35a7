"""The benchmark's own HTTP and WebSocket, against a real web server of another make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bench.load import Target
from bench.wire import Line, Refused, frame, open_websocket, split_frame

pytestmark = pytest.mark.full


async def _echo(request: web.Request) -> web.StreamResponse:
    answer = web.WebSocketResponse(autoping=False)
    await answer.prepare(request)
    for size in (3, 200, 70_000):
        await answer.send_str("x" * size)
    await answer.ping(b"there?")
    pong = await answer.receive()
    await answer.send_str(f"{pong.type.name} {pong.data.decode()}")
    await answer.receive()
    return answer


async def _length(request: web.Request) -> web.Response:
    text = await request.text()
    return web.Response(text=f"{request.method} {len(text)} {request.headers.get('X-Who')}")


async def _chunked(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    for piece in (b"one", b"two"):
        await answer.write(piece)
    return answer


async def _leaves(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    await answer.close(code=1012)
    return answer


@asynccontextmanager
async def _server() -> AsyncIterator[Target]:
    app = web.Application()
    app.router.add_get("/ws", _echo)
    app.router.add_get("/leaves", _leaves)
    app.router.add_get("/chunked", _chunked)
    app.router.add_route("*", "/length", _length)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Target(path="", port=runner.addresses[0][1], headers={"X-Who": "me"})
    finally:
        await runner.cleanup()


async def test_a_line_gets_posts_and_reads_bodies_of_either_kind() -> None:
    async with _server() as target:
        line = Line(target)
        assert (await line.ask("/length")).expect() == b"GET 0 me"
        assert (await line.ask("/chunked")).expect() == b"onetwo"
        assert (await line.ask("/length", body=b"1234")).expect() == b"POST 4 me"
        line.close()
        assert (await line.ask("/length")).expect() == b"GET 0 me", "it opens again"
        with pytest.raises(Refused, match="404"):
            (await line.ask("/nowhere")).expect()
        line.close()


async def test_messages_of_every_length_arrive_and_pings_are_answered() -> None:
    messages: asyncio.Queue[bytes] = asyncio.Queue()
    async with _server() as target, asyncio.timeout(40):
        socket = await open_websocket(target, "/ws", messages.put_nowait)
        assert [len(await messages.get()) for _ in range(3)] == [3, 200, 70_000]
        assert await messages.get() == b"PONG there?"
        socket.close()
        await socket.closed


async def test_the_reason_is_told_when_the_server_leaves() -> None:
    async with _server() as target:
        socket = await open_websocket(target, "/leaves", lambda _: None)
        async with asyncio.timeout(40):
            assert await socket.closed == "closed with 1012"


async def test_a_server_that_does_not_upgrade_is_a_refusal() -> None:
    async with _server() as target:
        with pytest.raises(Refused, match="404"):
            await open_websocket(target, "/nowhere", lambda _: None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_taken_once_all_of_it_is_there(size: int) -> None:
    if size < 126:
        head = bytes((129, size))
    elif size < 65_536:
        head = bytes((129, 126)) + size.to_bytes(2)
    else:
        head = bytes((129, 127)) + size.to_bytes(8)
    whole = head + b"x" * size
    assert split_frame(bytearray(whole[:-1])) is None
    assert split_frame(bytearray(whole + b"next")) == (1, b"x" * size, len(whole))


def test_a_clients_control_frame_is_masked() -> None:
    assert frame(10, b"hi") == b"\x8a\x82\0\0\0\0hi"
