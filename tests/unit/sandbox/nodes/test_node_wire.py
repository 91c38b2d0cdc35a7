"""The wire between node and hub: control, connections to sessions, their order and their ends."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.node_connections import NodeConnections
from tests.support.node_wire import WireHub, wire_hub, wire_node
from tests.support.supervisors import PATIENCE, short_directory

SESSION = "session-a"
LARGE = 10 * 2**20


@pytest.fixture
async def hub() -> AsyncIterator[WireHub]:
    async with wire_hub() as hub:
        yield hub


@pytest.fixture
async def sockets() -> AsyncIterator[dict[str, Path]]:
    """A session's server: it returns what it gets, as a WebSocket too, and large files."""
    app = web.Application(client_max_size=2 * LARGE)
    app.router.add_post("/echo", _echo)
    app.router.add_get("/large", _large)
    app.router.add_get("/ws", _websocket)
    runner = web.AppRunner(app)
    await runner.setup()
    with short_directory() as directory:
        path = directory / "s"
        await web.UnixSite(runner, str(path)).start()
        yield {SESSION: path}
        await runner.cleanup()


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _large(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * LARGE)


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    server = web.WebSocketResponse()
    await server.prepare(request)
    async for message in server:
        await server.send_str(message.data)
    return server


@asynccontextmanager
async def next_client(
    hub: WireHub, session_id: str = SESSION
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a session on the node that connects next."""
    link = await hub.next_link()
    connections = NodeConnections({link.name: link}.get)
    endpoint = Endpoint(Path(f"{session_id}.sock"), link.name)
    async with aiohttp.ClientSession(connector=connections.connector(endpoint)) as client:
        yield client


async def test_requests_and_websockets_reach_a_session_of_a_node(
    hub: WireHub, sockets: dict[str, Path]
) -> None:
    async with wire_node(hub.identity("node-a"), sockets, parked=2), next_client(hub) as client:
        for _ in range(6):  # more than wait at a time
            assert await _echoed(client, b"hello") == b"hello"
        async with client.ws_connect("http://s/ws") as socket:
            await socket.send_str("ping")
            assert await socket.receive_str(timeout=PATIENCE) == "ping"


async def test_ten_megabytes_pass_both_ways(hub: WireHub, sockets: dict[str, Path]) -> None:
    async with wire_node(hub.identity("node-a"), sockets), next_client(hub) as client:
        assert await _echoed(client, b"y" * LARGE) == b"y" * LARGE


async def _echoed(client: aiohttp.ClientSession, body: bytes) -> bytes:
    async with client.post("http://s/echo", data=io.BytesIO(body)) as answer:
        return await answer.read()


async def test_a_session_that_the_node_does_not_have_is_refused_by_closing(
    hub: WireHub, sockets: dict[str, Path]
) -> None:
    node = wire_node(hub.identity("node-a"), sockets)
    async with node, next_client(hub, "session-b") as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get("http://s/large")
