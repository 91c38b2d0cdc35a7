"""A hub's door for nodes and a node's dialer in one process, over a real server on loopback.

Also the server of a session, and :func:`on_uvloop`: hubs run on uvloop, nodes on asyncio's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, cast

import aiohttp
import uvicorn
import uvloop
from aiohttp import web
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mograder.auth.node_tokens import NodeToken, secret_hash
from mograder.core.clock import SystemClock
from mograder.sandbox.nodes.node_dialer import Control, Hub, NodeDialer
from mograder.sandbox.nodes.transports import DOOR, LINK
from mograder.sandbox.protocol import CALL, Call, Done, Endpoint, encode
from mograder.sessions.nodes.node_link import NodeConnections, NodeLink, NodeLinks
from mograder.store.hub.nodes import NodeRow, Nodes
from mograder.web.context import ContextMiddleware, context_of
from mograder.web.hub.core.node_door import NodeDoor
from mograder.web.serving import configuration
from tests.support.supervisors import PATIENCE, short_directory

SESSION = "session-a"
LARGE = 10 * 2**20
_P = ParamSpec("_P")


def on_uvloop(test: Callable[_P, Coroutine[None, None, None]]) -> Callable[_P, None]:
    """Run a test on the event loop of hubs; its fixtures must not be asynchronous."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


@dataclass
class NodeRows:
    """The hub's list of nodes in memory: the hashes of their secrets."""

    secret_hashes: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    asked: int = 0
    """How often a secret was looked for."""

    def known_by(self, secret_hash: str) -> NodeRow | None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        for name, each in self.secret_hashes.items():
            if each == secret_hash:
                return NodeRow(name, each, datetime.now(UTC))
        return None


class WireHub:
    """A door at a server; ``came`` and ``went`` are what it has told of nodes."""

    def __init__(self, listening: socket.socket, *, tls: bool = False) -> None:
        self.rows = NodeRows()
        self.port = int(listening.getsockname()[1])
        self.came: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.went: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.events: list[tuple[str, NodeLink]] = []
        self.links = NodeLinks(self._came, self._went)
        self.door = NodeDoor(cast(Nodes, self.rows), SystemClock(), self.links)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._greetings: set[asyncio.Task[None]] = set()

    def _came(self, link: NodeLink) -> None:
        async def greet() -> None:
            with contextlib.suppress(Exception):
                await link.connection.greet()

        task = asyncio.create_task(greet())
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)
        self.came.put_nowait(link)
        self.events.append(("came", link))

    def _went(self, link: NodeLink) -> None:
        self.went.put_nowait(link)
        self.events.append(("went", link))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; there is nothing but the door."""
        there = self.door.serves(context_of(scope).raw_path)
        await (self.door if there else Response(status_code=404))(scope, receive, send)

    def token(self, name: str) -> NodeToken:
        """A token that the hub knows from now on; an earlier one of the name counts no more."""
        token = NodeToken.new(name)
        self.rows.secret_hashes[name] = token.secret_hash
        return token

    async def next_link(self) -> NodeLink:
        return await asyncio.wait_for(self.came.get(), PATIENCE)


@asynccontextmanager
async def wire_hub(**options: object) -> AsyncIterator[WireHub]:
    """A server on a free port of loopback; ``options`` are of uvicorn, such as for TLS."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    hub = WireHub(listening, tls="ssl_certfile" in options)
    app = ContextMiddleware(hub)
    server = uvicorn.Server(configuration(app, grace_seconds=1, lifespan="off", **options))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield hub
    finally:
        await hub.links.close()
        server.should_exit = True
        await serving
        listening.close()


async def answer_calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An agent that answers every call with nothing."""
    while line := await reader.readline():
        call: Call = CALL.validate_json(line)
        writer.write(encode(Done(id=call.id)))


@asynccontextmanager
async def wire_node(
    hub: WireHub,
    name: str | NodeToken,
    sockets: dict[str, Path],
    parked: int = 4,
    control: Control = answer_calls,
) -> AsyncIterator[NodeDialer]:
    """A node's dialer; ``sockets`` are its live sessions'."""
    token = hub.token(name) if isinstance(name, str) else name
    dialer = NodeDialer(Hub.parse(hub.url), token.secret, control, sockets.get, parked=parked)
    dialer.connect()
    try:
        yield dialer
    finally:
        await dialer.close()


@asynccontextmanager
async def knock(
    hub: WireHub, secret: str, protocol: str, *, early: bytes = b"", more: Iterable[str] = ()
) -> AsyncIterator[tuple[int, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Ask at a hub's door for a protocol; yields the status of the answer, and the connection.

    ``early`` is sent with the request, ``more`` are further headers.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    head = [f"GET {DOOR} HTTP/1.1", "Host: 127.0.0.1"]
    head += [f"Authorization: Bearer {secret}"] if secret else []
    head += [f"Upgrade: {protocol}", "Connection: Upgrade"] if protocol else []
    try:
        writer.write("\r\n".join([*head, *more, "", ""]).encode() + early)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        yield int(answer.split(b" ")[1]), reader, writer
    finally:
        writer.close()


async def status_of(hub: WireHub, secret: str, protocol: str) -> int:
    async with knock(hub, secret, protocol) as (status, *_):
        return status


def own_header(link: NodeLink) -> tuple[str, ...]:
    """The header of connections beside a node's own, which only that node is told."""
    link.key_hash = secret_hash("a key of the test")
    return (f"{LINK}: a key of the test",)


@asynccontextmanager
async def session_server(session_id: str = SESSION) -> AsyncIterator[dict[str, Path]]:
    """A session's server, by its id: it returns what it gets, also as a WebSocket."""
    app = web.Application(client_max_size=2 * LARGE)
    app.router.add_post("/echo", _echo)
    app.router.add_post("/fail", _fail)
    app.router.add_get("/large", _large)
    app.router.add_get("/ws", _websocket)
    runner = web.AppRunner(app)
    await runner.setup()
    with short_directory() as directory:
        path = directory / "s"
        await web.UnixSite(runner, str(path)).start()
        try:
            yield {session_id: path}
        finally:
            await runner.cleanup()


async def _echo(request: web.Request) -> web.Response:
    assert request.transport is not None
    number = str(id(request.transport))
    return web.Response(body=await request.read(), headers={"Connection-Number": number})


async def _fail(request: web.Request) -> web.Response:
    return web.Response(status=500)


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
    async with client_of(await hub.next_link(), session_id) as client:
        yield client


def client_of(link: NodeLink, session_id: str = SESSION) -> aiohttp.ClientSession:
    connections = NodeConnections({link.name: link}.get)
    endpoint = Endpoint(Path(f"{session_id}.sock"), link.name)
    return aiohttp.ClientSession(connector=connections.connector(endpoint))


async def echoed(client: aiohttp.ClientSession, body: bytes) -> bytes:
    """Send bytes to a session's server in pieces, and return what comes back."""
    async with client.post("http://s/echo", data=io.BytesIO(body)) as answer:
        return await answer.read()
