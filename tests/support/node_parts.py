"""The processes of a session on another machine: a hub's proxy, a node, and a server of a session.

Run as ``python -m tests.support.node_parts PART DIRECTORY``, where the directory has ``plan.json``
(:class:`Plan`). The hub writes ``identity.json`` for the node, and its address to ``hub.json`` once
the node is connected. Each part runs until it is ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from starlette.types import Receive, Scope, Send

from mograder.auth.node_certificates import Authority, new_key, new_request
from mograder.core.atomic_file import write_file
from mograder.core.errors import Forbidden
from mograder.sandbox.nodes.hub_listener import HubListener
from mograder.sandbox.nodes.node_dialer import NodeDialer
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.nodes.tls_contexts import hub_context
from mograder.sandbox.nodes.wire_messages import JoinAnswer, JoinRequest
from mograder.sandbox.protocol import CALL, Done, Endpoint, Mode, encode
from mograder.sessions.node_connections import NodeConnections
from tests.support.session_proxy import running_rig, served_on_unix

NODE = "node-a"
_FOR_EVER = 1e9


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """A session that runs already: its student and item, its socket, and whether by the node."""

    user: str
    item: str
    socket: str
    by_node: bool

    @property
    def session_id(self) -> str:
        """The id by which the node knows it."""
        return f"session-{self.user}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All sessions of the rig."""

    sessions: tuple[PlannedSession, ...]

    def write(self, directory: Path) -> None:
        """Write it for the parts."""
        rows = [dataclasses.asdict(each) for each in self.sessions]
        (directory / "plan.json").write_text(json.dumps(rows))

    @classmethod
    def read(cls, directory: Path) -> Plan:
        """Return what :meth:`write` wrote."""
        rows = json.loads((directory / "plan.json").read_text())
        return cls(tuple(PlannedSession(**row) for row in rows))


class _OpenGate:
    """Knows every node that the authority has signed, and lets no machine join."""

    async def recognizes(self, name: str, fingerprint: str) -> bool:
        return True

    async def join(self, request: JoinRequest) -> JoinAnswer:
        raise Forbidden("No machine joins here.")


async def _hub(directory: Path) -> None:
    authority, connected = Authority.new(_now()), asyncio.Event()
    greetings: set[asyncio.Task[None]] = set()

    def came(link: NodeLink) -> None:
        greeting = asyncio.create_task(link.connection.greet())
        greetings.add(greeting)
        greeting.add_done_callback(lambda _: connected.set())

    context = hub_context(authority.hub_certificate(_now()), authority.certificate)
    listener = HubListener(context, authority.certificate, _OpenGate(), came, lambda _: None)
    await listener.open("127.0.0.1", 0)
    key = new_key()
    certificate = authority.node_certificate(new_request(key), NODE, _now())
    NodeIdentity(
        key=key.decode(),
        certificate=certificate.decode(),
        authority=authority.certificate.decode(),
        hubs=(f"127.0.0.1:{listener.port}",),
    ).save(directory / "identity.json")
    async with running_rig(connections=NodeConnections(listener.links.get)) as rig:
        for each in Plan.read(directory).sessions:
            session = rig.session(Path(each.socket), user=each.user, item=each.item, mode=Mode.EDIT)
            if each.by_node:
                session.endpoint = Endpoint(Path(f"{each.session_id}.sock"), NODE)
        await connected.wait()
        _say(directory / "hub.json", {"host": rig.host})
        await asyncio.sleep(_FOR_EVER)


async def _node(directory: Path) -> None:
    sockets = {each.session_id: Path(each.socket) for each in Plan.read(directory).sessions}

    async def answer(_: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(encode(Done(id=CALL.validate_json(line).id)))

    identity = NodeIdentity.load(directory / "identity.json")
    dialer = NodeDialer(identity, answer, sockets.get)
    dialer.connect_to(identity.hubs)
    await asyncio.sleep(_FOR_EVER)


async def _session(directory: Path) -> None:
    """Serve an echo at the socket in the file that it writes."""
    async with served_on_unix(_answer) as path:
        _say(directory / "session.json", {"socket": str(path)})
        await asyncio.sleep(_FOR_EVER)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def _say(path: Path, content: dict[str, str]) -> None:
    write_file(path, json.dumps(content).encode() + b"\n")


def _now() -> datetime:
    return datetime.now(UTC)


_PARTS: dict[str, Callable[[Path], Awaitable[None]]] = {
    "hub": _hub,
    "node": _node,
    "session": _session,
}


async def _run(part: str, directory: str) -> None:
    await _PARTS[part](Path(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(*sys.argv[1:]))
