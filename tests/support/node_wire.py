"""A hub's listener and a node's dialer in one process, over real TLS connections on loopback.

Also the server of a session, and :func:`on_uvloop`: hubs and nodes run on uvloop, whose TLS is
another than asyncio's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec

import aiohttp
import uvloop
from aiohttp import web

from mograder.auth.node_certificates import (
    HUB_NAME,
    Authority,
    KeyAndCertificate,
    facts,
    new_key,
    new_request,
)
from mograder.auth.node_tokens import NodeToken, split_address
from mograder.core.errors import Conflict
from mograder.sandbox.message import Message
from mograder.sandbox.nodes.hub_listener import HubListener
from mograder.sandbox.nodes.joining import Admission
from mograder.sandbox.nodes.node_dialer import Control, NodeDialer
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.nodes.tls_contexts import hub_context, node_context
from mograder.sandbox.nodes.wire_messages import JoinAnswer, JoinRequest
from mograder.sandbox.protocol import CALL, Call, Done, Endpoint, encode
from mograder.sessions.node_connections import NodeConnections
from tests.support.supervisors import PATIENCE, short_directory

SESSION = "session-a"
LARGE = 10 * 2**20
_P = ParamSpec("_P")


def on_uvloop(test: Callable[_P, Coroutine[None, None, None]]) -> Callable[_P, None]:
    """Run a test on the event loop of hubs and nodes; its fixtures must not be asynchronous."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> datetime:
    """The present time: TLS compares the certificates with the real clock."""
    return datetime.now(UTC)


@dataclass
class NodeRows:
    """The hub's list of nodes, and its tokens, in memory."""

    fingerprints: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    addresses: tuple[str, ...] = ()
    failure: Exception | None = None

    async def use_token(self, token_hash: str) -> bool:
        """Count one use."""
        left = self.tokens.get(token_hash, 0)
        self.tokens[token_hash] = max(0, left - 1)
        return left > 0

    async def return_token(self, token_hash: str) -> None:
        """Take back one use."""
        self.tokens[token_hash] += 1

    async def add(self, name: str, fingerprint: str, certificate_until: datetime) -> None:
        """Add a node."""
        if name in self.busy:
            raise Conflict(f"A node named {name} is at work.", hint="Take another name.")
        self.fingerprints[name] = fingerprint

    async def hubs(self) -> tuple[str, ...]:
        """The addresses that are told to nodes."""
        return self.addresses


@dataclass
class MemoryGate:
    """A hub's answers about who may connect, from a list in memory."""

    admission: Admission
    rows: NodeRows
    asked: list[JoinRequest] = field(default_factory=list)

    async def recognizes(self, name: str, fingerprint: str) -> bool:
        """Whether the list has this node with this key."""
        if self.rows.failure is not None:
            raise self.rows.failure
        return self.rows.fingerprints.get(name) == fingerprint

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Let a machine join."""
        self.asked.append(request)
        return await self.admission.join(request, now())


class WireHub:
    """A listener with its authority; ``came`` and ``went`` are what it has told of nodes."""

    def __init__(self) -> None:
        self.authority = Authority.new(now())
        self.rows = NodeRows()
        self.gate = MemoryGate(Admission(self.authority, self.rows), self.rows)
        self.context = hub_context(self.pair(), self.authority.certificate)
        self.came: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.went: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.events: list[tuple[str, NodeLink]] = []
        self.listener = HubListener(
            self.context, self.authority.certificate, self.gate, self._came, self._went
        )
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

    @property
    def address(self) -> str:
        """The address of the listener."""
        return f"127.0.0.1:{self.listener.port}"

    def pair(self) -> KeyAndCertificate:
        """A key and a certificate of a hub of this authority."""
        return self.authority.hub_certificate(now())

    def token(self, uses: int = 1) -> NodeToken:
        """A join token that the hub knows."""
        token = NodeToken.new((self.address,), self.authority.fingerprint)
        self.rows.tokens[token.secret_hash] = uses
        return token

    def identity(self, name: str) -> NodeIdentity:
        """The identity of a node that has joined."""
        identity = make_identity(self.authority, name, self.address)
        self.rows.fingerprints[name] = facts(identity.certificate.encode()).fingerprint
        return identity

    async def next_link(self) -> NodeLink:
        """The next node that connects."""
        return await asyncio.wait_for(self.came.get(), PATIENCE)


def make_identity(authority: Authority, name: str, *hubs: str) -> NodeIdentity:
    """An identity that an authority has signed."""
    key = new_key()
    certificate = authority.node_certificate(new_request(key), name, now())
    return NodeIdentity(
        key=key.decode(),
        certificate=certificate.decode(),
        authority=authority.certificate.decode(),
        hubs=hubs,
    )


@asynccontextmanager
async def wire_hub() -> AsyncIterator[WireHub]:
    """A listener on a free port of loopback."""
    hub = WireHub()
    await hub.listener.open("127.0.0.1", 0)
    try:
        yield hub
    finally:
        await hub.listener.close()


async def answer_calls(
    hub: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """An agent that answers every call with nothing."""
    while line := await reader.readline():
        call: Call = CALL.validate_json(line)
        writer.write(encode(Done(id=call.id)))


@asynccontextmanager
async def wire_node(
    identity: NodeIdentity,
    sockets: dict[str, Path],
    parked: int = 4,
    control: Control = answer_calls,
) -> AsyncIterator[NodeDialer]:
    """A node's dialer; ``sockets`` are its live sessions'."""
    dialer = NodeDialer(identity, control, sockets.get, parked=parked)
    dialer.connect_to(identity.hubs)
    try:
        yield dialer
    finally:
        await dialer.close()


@asynccontextmanager
async def raw_line(
    hub: WireHub, line: Message | bytes, identity: NodeIdentity | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """Connect to a hub with an identity's certificate, or none, and send one line."""
    authority = hub.authority.certificate
    pair = None if identity is None else identity.pair
    host, port = split_address(hub.address)
    reader, writer = await asyncio.open_connection(
        host, port, ssl=node_context(authority, pair), server_hostname=HUB_NAME
    )
    try:
        writer.write(line if isinstance(line, bytes) else encode(line))
        yield reader
    finally:
        writer.close()


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
        yield {session_id: path}
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
    """A client of a session on a node."""
    connections = NodeConnections({link.name: link}.get)
    endpoint = Endpoint(Path(f"{session_id}.sock"), link.name)
    return aiohttp.ClientSession(connector=connections.connector(endpoint))
