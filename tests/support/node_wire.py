"""A hub's listener and a node's dialer in one process, over real TLS connections on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mograder.auth.node_certificates import (
    Authority,
    facts,
    new_key,
    new_request,
)
from mograder.auth.node_tokens import NodeToken
from mograder.core.errors import Conflict
from mograder.sandbox.nodes.hub_listener import HubListener
from mograder.sandbox.nodes.joining import Admission
from mograder.sandbox.nodes.node_dialer import NodeDialer
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.nodes.tls_contexts import hub_context
from mograder.sandbox.nodes.wire_messages import JoinAnswer, JoinRequest
from mograder.sandbox.protocol import CALL, Call, Done, Hello, encode
from tests.support.supervisors import PATIENCE


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

    async def use_token(self, token_hash: str) -> bool:
        """Count one use."""
        left = self.tokens.get(token_hash, 0)
        self.tokens[token_hash] = max(0, left - 1)
        return left > 0

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

    async def recognizes(self, name: str, fingerprint: str) -> bool:
        """Whether the list has this node with this key."""
        return self.rows.fingerprints.get(name) == fingerprint

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Let a machine join."""
        return await self.admission.join(request, now())


class WireHub:
    """A listener with its authority; ``came`` and ``went`` are what it has told of nodes."""

    def __init__(self) -> None:
        self.authority = Authority.new(now())
        self.rows = NodeRows()
        gate = MemoryGate(Admission(self.authority, self.rows), self.rows)
        self.context = hub_context(
            self.authority.hub_certificate(now()), self.authority.certificate
        )
        self.came: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.went: asyncio.Queue[NodeLink] = asyncio.Queue()
        self.listener = HubListener(
            self.context, self.authority.certificate, gate, self._came, self.went.put_nowait
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

    @property
    def address(self) -> str:
        """The address of the listener."""
        return f"127.0.0.1:{self.listener.port}"

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


async def answer_hello(
    hub: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """An agent that answers the hub's first call and no other."""
    while line := await reader.readline():
        call: Call = CALL.validate_json(line)
        if isinstance(call.operation, Hello):
            writer.write(encode(Done(id=call.id, course="c")))


@asynccontextmanager
async def wire_node(
    identity: NodeIdentity, sockets: dict[str, Path], parked: int = 4
) -> AsyncIterator[NodeDialer]:
    """A node's dialer; ``sockets`` are its live sessions'."""
    dialer = NodeDialer(identity, answer_hello, sockets.get, parked=parked)
    dialer.connect_to(identity.hubs)
    try:
        yield dialer
    finally:
        await dialer.close()
