"""Attacks on the wire between hubs and nodes: each is refused, or harms its own node only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest

from mograder.auth.node_certificates import Authority, KeyAndCertificate, new_key, new_request
from mograder.auth.node_tokens import NodeToken, split_address
from mograder.core.errors import Forbidden, InvalidInput, MograderError, RemoteFailed
from mograder.sandbox.nodes import guest_limits
from mograder.sandbox.nodes.certificate_renewal import renew_if_due
from mograder.sandbox.nodes.hub_listener import HubListener
from mograder.sandbox.nodes.joining import join
from mograder.sandbox.nodes.known_nodes import control_traffic
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.node_link import PacedReader
from mograder.sandbox.nodes.parked_connections import MOST_PARKED
from mograder.sandbox.nodes.tls_contexts import ALPN, hub_context, node_context
from mograder.sandbox.nodes.wire_messages import ControlHello, JoinRequest, SessionHello
from mograder.sandbox.protocol import CALL, LINE_LIMIT, Arrived, Call, Done, News, encode
from tests.support.node_wire import (
    WireHub,
    client_of,
    make_identity,
    now,
    on_uvloop,
    raw_line,
    session_server,
    wire_hub,
    wire_node,
)
from tests.support.supervisors import PATIENCE


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the hub closes a connection without an answer."""
    try:
        return await asyncio.wait_for(reader.read(1), PATIENCE) == b""
    except (ConnectionError, ssl.SSLError):  # TLS 1.3 tells a client's certificate's fault late
        return True


@pytest.mark.parametrize("hello", [ControlHello(), SessionHello()])
@on_uvloop
async def test_a_certificate_of_another_authority_is_refused(
    hello: ControlHello | SessionHello,
) -> None:
    async with wire_hub() as hub:
        hub.identity("node-a")
        forged = make_identity(Authority.new(now()), "node-a")
        async with raw_line(hub, hello, forged) as reader:
            assert await closed(reader)
        assert hub.came.empty()


@pytest.mark.parametrize("hello", [ControlHello(), SessionHello()])
@on_uvloop
async def test_without_a_certificate_there_is_only_joining(
    hello: ControlHello | SessionHello,
) -> None:
    async with wire_hub() as hub:
        async with raw_line(hub, hello) as reader:
            assert await closed(reader)
        assert hub.came.empty()


@on_uvloop
async def test_a_signed_certificate_of_a_node_that_was_removed_is_refused() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        del hub.rows.fingerprints["node-a"]
        async with raw_line(hub, ControlHello(), identity) as reader:
            assert await closed(reader)
        assert hub.came.empty()


@on_uvloop
async def test_the_earlier_key_of_a_node_that_joined_again_is_refused() -> None:
    async with wire_hub() as hub:
        earlier, _ = hub.identity("node-a"), hub.identity("node-a")
        async with raw_line(hub, ControlHello(), earlier) as reader:
            assert await closed(reader)


@on_uvloop
async def test_an_expired_certificate_is_refused() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        request = new_request(identity.key.encode())
        old = hub.authority.node_certificate(request, "node-a", now() - timedelta(days=31))
        expired = identity.model_copy(update={"certificate": old.decode()})
        async with raw_line(hub, ControlHello(), expired) as reader:
            assert await closed(reader)


@on_uvloop
async def test_a_node_cannot_stand_in_for_a_hub() -> None:
    async with wire_hub() as hub:
        impostor = hub.identity("node-b").pair
        async with _listener_with(hub, impostor, hub.authority) as address:
            with pytest.raises(ssl.SSLCertVerificationError):
                await _connect(address, hub.authority, hub.identity("node-a"))


@on_uvloop
async def test_a_hub_of_another_course_is_refused_by_the_node() -> None:
    async with wire_hub() as hub:
        other = Authority.new(now())
        async with _listener_with(hub, other.hub_certificate(now()), other) as address:
            with pytest.raises(ssl.SSLCertVerificationError):
                await _connect(address, hub.authority, hub.identity("node-a"))


@asynccontextmanager
async def _listener_with(
    hub: WireHub, pair: KeyAndCertificate, authority: Authority, shown: bytes = b""
) -> AsyncIterator[str]:
    """Another server, with these keys; it hands out ``shown`` as its authority's certificate."""
    listener = HubListener(
        hub_context(pair, authority.certificate),
        shown or authority.certificate,
        hub.gate,
        hub.came.put_nowait,
        hub.went.put_nowait,
    )
    await listener.open("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.port}"
    finally:
        await listener.close()


async def _connect(address: str, authority: Authority, identity: NodeIdentity) -> None:
    host, port = split_address(address)
    context = node_context(authority.certificate, identity.pair)
    _, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname="hub.mograder.internal"
    )
    writer.close()


def _garbage() -> list[bytes]:
    return [
        b"\n",
        b"{}\n",
        b"[[[[" * 500 + b"\n",
        b'{"kind": "supervisor"}\n',
        b'{"kind": "control", "protocol": "x"}\n',
        b"\xff\xfe\n",
        b"x" * 5000,
        b'{"kind": "session"' + b" " * 5000 + b"}\n",
    ]


@pytest.mark.parametrize("line", _garbage(), ids=range(len(_garbage())))
@on_uvloop
async def test_a_first_line_that_is_none_closes_the_connection(line: bytes) -> None:
    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}):
        await hub.next_link()
        async with raw_line(hub, line, hub.identity("node-b")) as reader:
            assert await closed(reader)
        assert "node-a" in hub.listener.links


@on_uvloop
async def test_a_connection_that_says_nothing_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guest_limits, "_STRANGER_SECONDS", 0.2)
    async with wire_hub() as hub:
        async with raw_line(hub, b'{"kind"', hub.identity("node-a")) as reader:
            assert await closed(reader)
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.listener.port)
        assert await closed(reader)  # it does not even begin with TLS
        writer.close()


@on_uvloop
async def test_other_protocols_are_refused() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.listener.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert await closed(reader)
        writer.close()
        older = node_context(hub.authority.certificate, identity.pair)
        older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _open(hub, older)
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        plain.load_verify_locations(cadata=hub.authority.certificate.decode())
        reader, writer = await _open(hub, plain)
        writer.write(encode(JoinRequest(secret="x", name="node-c", request="")))
        assert await closed(reader)  # no ALPN
        writer.close()
    assert ALPN == "mograder-node/1"


async def _open(
    hub: WireHub, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1", hub.listener.port, ssl=context, server_hostname="hub.mograder.internal"
    )


@on_uvloop
async def test_a_flood_of_connections_does_not_keep_a_node_out() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        flood = [await _plain(hub) for _ in range(200)]
        ends = [asyncio.create_task(closed(reader)) for reader, _ in flood]
        done, _ = await asyncio.wait(ends, timeout=2.0)
        assert len(done) >= 200 - 128  # those over the limits are closed at once
        for _, writer in flood:
            writer.close()
        for end in ends:
            end.cancel()
        async with wire_node(hub.identity("node-a"), sockets):
            assert (await hub.next_link()).alive


@on_uvloop
async def test_a_node_connects_while_a_flood_of_strangers_goes_on() -> None:
    """The hub was started again: it knows no address of a node yet."""
    async with session_server() as sockets, wire_hub() as hub:
        flood = asyncio.create_task(_flood(hub.listener.port))
        try:
            await asyncio.sleep(5.0)  # 300 are enough for all places
            async with wire_node(hub.identity("node-a"), sockets):
                link = await asyncio.wait_for(hub.came.get(), 2.0)
                assert link.name == "node-a"
            assert not flood.done()
        finally:
            flood.cancel()
            await asyncio.wait({flood})


async def _flood(port: int) -> None:
    """Open 60 connections a second that send nothing, from eight addresses."""
    held: list[socket.socket] = []
    try:
        for number in itertools.count():
            stranger = socket.socket()
            held.append(stranger)
            stranger.setblocking(False)
            stranger.bind((f"127.0.1.{number % 8 + 1}", 0))
            with contextlib.suppress(BlockingIOError):
                stranger.connect(("127.0.0.1", port))
            await asyncio.sleep(1 / 60)
    finally:
        for each in held:
            each.close()


async def _plain(hub: WireHub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", hub.listener.port)


@on_uvloop
async def test_connections_of_one_node_never_serve_the_sessions_of_another() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        thief = wire_node(hub.identity("node-a"), sockets)
        honest = wire_node(hub.identity("node-b"), sockets, parked=0)
        async with thief:
            await hub.next_link()
            async with honest, client_of(link := await hub.next_link()) as client:
                request = asyncio.create_task(client.post("http://s/echo", data=b"secret"))
                await asyncio.sleep(0)
                await link.close()  # it waited for a connection of its own node
                (refused,) = await asyncio.gather(request, return_exceptions=True)
                assert isinstance(refused, aiohttp.ClientError)


@on_uvloop
async def test_connections_for_sessions_need_the_key_of_the_node_that_is_connected() -> None:
    async with wire_hub() as hub:
        stranger = hub.identity("node-a")  # it has joined, but is not connected
        async with raw_line(hub, SessionHello(), stranger) as reader:
            assert await closed(reader)
        async with wire_node(hub.identity("node-a"), {}, parked=0):
            link = await hub.next_link()
            async with raw_line(hub, SessionHello(), stranger) as reader:
                assert await closed(reader)
            assert len(link.parked) == 0


@on_uvloop
async def test_a_connection_that_speaks_before_it_is_asked_is_closed() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        early = b'{"kind": "session"}\nHTTP/1.1 200 OK\r\n\r\n'
        async with wire_node(identity, {}, parked=0):
            link = await hub.next_link()
            async with raw_line(hub, early, identity) as reader:
                assert await closed(reader)
            assert len(link.parked) == 0


@on_uvloop
async def test_a_node_cannot_fill_the_hub_with_waiting_connections() -> None:
    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}, parked=100):
        link = await hub.next_link()
        seen = 0
        async with asyncio.timeout(PATIENCE):
            while seen < MOST_PARKED:
                seen = len(link.parked)
                await asyncio.sleep(0.01)
        for _ in range(50):
            await asyncio.sleep(0.01)
            assert len(link.parked) <= MOST_PARKED


@on_uvloop
async def test_a_control_line_without_end_closes_the_connection() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        endless = encode(ControlHello()) + b"x" * (3 * LINE_LIMIT)
        async with raw_line(hub, endless, identity):
            link = await hub.next_link()
            assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link


async def test_a_node_that_floods_its_control_connection_is_slowed_down() -> None:
    loop = asyncio.get_running_loop()
    started, reader = loop.time(), PacedReader(control_traffic())
    reader.feed_data(b"{}\n" * 5300)
    for _ in range(5300):
        await asyncio.wait_for(reader.readline(), PATIENCE)
    assert loop.time() - started >= 0.29  # 5000 at once, then 1000 a second


@on_uvloop
async def test_a_node_that_connects_again_may_not_send_more() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(2):
            await _send_news(hub, identity, 3000)
        assert loop.time() - started >= 0.9  # 5000 at once, then 1000 a second


async def _send_news(hub: WireHub, identity: NodeIdentity, number: int) -> None:
    """Connect, send news at once, and return when the hub has read all."""
    heard: asyncio.Queue[News] = asyncio.Queue()
    listens = asyncio.Event()
    news = encode(Arrived(session_id="session-a", warm=True))

    async def agent(_: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await listens.wait()
        writer.write(news * number)
        await reader.read()

    async with wire_node(identity, {}, control=agent):
        link = await hub.next_link()
        link.connection.watch(lambda _: None, lambda: None, heard.put_nowait)
        listens.set()
        for _ in range(number):
            await asyncio.wait_for(heard.get(), PATIENCE)


@on_uvloop
async def test_a_node_that_connects_without_end_is_refused_for_a_while() -> None:
    async with wire_hub() as hub:
        vain, honest = hub.identity("node-a"), hub.identity("node-b")
        for _ in range(40):
            async with raw_line(hub, ControlHello(), vain) as reader:
                await asyncio.wait_for(reader.read(1), PATIENCE)  # a greeting, or the end
        assert 20 <= hub.came.qsize() < 35
        while not hub.came.empty():
            hub.came.get_nowait()
        async with wire_node(honest, {}):
            assert (await hub.next_link()).name == "node-b"


@on_uvloop
async def test_a_machine_joins_by_a_token_once() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        token = hub.token(uses=1)
        identity = await join(NodeToken.parse(token.text), "node-a")
        assert identity.name == "node-a"
        with pytest.raises(Forbidden, match="used already"):
            await join(token, "node-b")
        assert set(hub.rows.fingerprints) == {"node-a"}
        async with wire_node(identity, sockets), client_of(await hub.next_link()) as client:
            assert (await client.post("http://s/echo", data=b"x")).status == 200


@on_uvloop
async def test_tokens_that_are_refused() -> None:
    async with wire_hub() as hub:
        unknown = NodeToken.new((hub.address,), hub.authority.fingerprint)
        with pytest.raises(Forbidden, match="unknown"):
            await join(unknown, "node-a")
        hub.rows.busy.add("node-b")
        token = hub.token()
        for _ in range(2):  # a use is not spent by a name that is taken
            with pytest.raises(Forbidden, match="at work"):
                await join(token, "node-b")
        with pytest.raises(InvalidInput, match="cannot be named"):
            await join(hub.token(), "../node")
        assert hub.rows.fingerprints == {}


@pytest.mark.parametrize("shows", ["its own", "the hub's", "both", "nothing"])
@on_uvloop
async def test_a_server_that_is_not_the_tokens_hub_never_gets_the_secret(shows: str) -> None:
    async with wire_hub() as hub:
        other = Authority.new(now())
        shown = {
            "its own": other.certificate,
            "the hub's": hub.authority.certificate,
            "both": hub.authority.certificate + other.certificate,
            "nothing": b"nothing",
        }[shows]
        async with _listener_with(hub, other.hub_certificate(now()), other, shown) as address:
            token = NodeToken.new((address,), hub.authority.fingerprint)
            with pytest.raises(RemoteFailed):
                await join(token, "node-a")
        assert hub.gate.asked == []


@on_uvloop
async def test_a_certificate_is_renewed_for_the_same_key_only() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        said = [identity.request(), new_request(new_key()).decode()]
        stored: list[str] = []

        async def agent(_: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                call: Call = CALL.validate_json(line)
                certificate = getattr(call.operation, "certificate", None)
                if certificate:
                    stored.append(certificate)
                text = said.pop(0) if certificate == "" else ""
                writer.write(encode(Done(id=call.id, text=text)))

        async with wire_node(identity, {}, control=agent):
            link = await hub.next_link()
            soon = link.certificate_until - timedelta(days=5)
            assert await renew_if_due(link, hub.authority, now()) is None
            until = await renew_if_due(link, hub.authority, soon)
            assert until is not None
            assert until > identity.ends
            assert identity.renewed(stored[0]).ends == until
            later = until - timedelta(days=5)
            with pytest.raises(Forbidden, match="another key"):
                await renew_if_due(link, hub.authority, later)
            assert len(stored) == 1


@on_uvloop
async def test_a_hub_cannot_give_a_node_the_certificate_of_another_key() -> None:
    async with wire_hub() as hub:
        one, two = hub.identity("node-a"), hub.identity("node-b")
        with pytest.raises(MograderError, match="not for its key"):
            one.renewed(two.certificate)
        stranger = Authority.new(now())
        signed = stranger.node_certificate(one.request().encode(), "node-a", now())
        with pytest.raises(MograderError, match="authority"):
            one.renewed(signed.decode())


@on_uvloop
async def test_an_id_that_is_none_is_never_sent_to_a_node() -> None:
    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}):
        link = await hub.next_link()
        for session_id in ("", "../../etc", "a" * 65, 'x"}\n{"session_id": "other123'):
            with pytest.raises(InvalidInput):
                await link.open_session(session_id)


@on_uvloop
async def test_a_node_that_was_removed_loses_its_connections() -> None:
    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}):
        link = await hub.next_link()
        del hub.rows.fingerprints["node-a"]
        await link.close()
        assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link
        async with client_of(link) as client:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await client.get("http://s/large")
        assert hub.came.empty()
