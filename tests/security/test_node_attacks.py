"""Attacks at the door for nodes: each is refused, or harms its own node only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable

import aiohttp
import pytest

from mograder.auth.credentials import make_token
from mograder.auth.node_tokens import NodeToken
from mograder.core.errors import InvalidInput
from mograder.sandbox.nodes.transports import CONTROL, LINK, SESSION
from mograder.sandbox.protocol import LINE_LIMIT
from mograder.sessions.nodes.node_link import MOST_PARKED
from tests.support.node_wire import (
    WireHub,
    client_of,
    knock,
    on_uvloop,
    own_header,
    session_server,
    status_of,
    wire_hub,
    wire_node,
)
from tests.support.supervisors import PATIENCE

BOTH = pytest.mark.parametrize("protocol", [CONTROL, SESSION])


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the hub closes a connection without a word."""
    try:
        return await asyncio.wait_for(reader.read(1), PATIENCE) == b""
    except ConnectionError:
        return True


def _of_removed(hub: WireHub) -> str:
    token = hub.token("node-b")
    del hub.rows.secret_hashes["node-b"]
    return token.secret


REFUSED: dict[str, Callable[[WireHub], str]] = {
    "none": lambda _: "",
    "forged": lambda _: "x" * 43,
    "a student's": lambda _: make_token("s" * 64, "alice"),
    "a name": lambda _: "node-a",
    "no text": lambda _: "\xff" * 43,
    "of a node that was removed": _of_removed,
    "an earlier one of the node": lambda hub: hub.token("node-a").secret,
}


@BOTH
@pytest.mark.parametrize("secret", REFUSED)
@on_uvloop
async def test_only_the_secret_of_a_node_opens_the_door(protocol: str, secret: str) -> None:
    async with wire_hub() as hub:
        said = REFUSED[secret](hub)
        async with wire_node(hub, "node-a", {}, parked=0):
            link = await hub.next_link()
            async with knock(hub, said, protocol) as (status, reader, _):
                assert status == 401
                assert b"not known" in await asyncio.wait_for(reader.read(), PATIENCE)
            assert hub.came.empty()
            assert hub.links.by_name == {"node-a": link}
            assert link.parked == 0


@BOTH
@on_uvloop
async def test_of_two_secrets_neither_counts(protocol: str) -> None:
    async with wire_hub() as hub:
        secret = hub.token("node-a").secret
        more = [f"Authorization: Bearer {secret}"]
        async with knock(hub, secret, protocol, more=more) as (status, *_):
            assert status == 401


@on_uvloop
async def test_a_stolen_secret_does_not_displace_the_node_that_is_connected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thief is refused, and the log names both addresses; the node notices nothing."""
    async with session_server("session-a") as sockets, wire_hub() as hub:
        token = hub.token("node-a")
        async with wire_node(hub, token, sockets):
            link = await hub.next_link()
            for _ in range(3):
                assert await status_of(hub, token.secret, CONTROL) == 409
                await link.connection.greet()  # it is heard, as by its statuses
            assert hub.links.by_name == {"node-a": link}
            async with client_of(link) as client:
                assert (await client.post("http://s/echo", data=b"x")).status == 200
    assert "the node node-a connects from 127.0.0.1 while its connection from" in caplog.text
    assert token.secret not in caplog.text


@on_uvloop
async def test_a_stolen_secret_gets_no_traffic_of_the_node_that_is_connected() -> None:
    """Its connections would be given to students, whose notebooks pass over them."""
    async with session_server() as sockets, wire_hub() as hub:
        token = hub.token("node-a")
        async with wire_node(hub, token, sockets, parked=0):
            link = await hub.next_link()
            assert await status_of(hub, token.secret, SESSION) == 401
            guess = knock(hub, token.secret, SESSION, more=(f"{LINK}: {token.secret}",))
            async with guess as (status, *_):
                assert status == 401
            assert link.parked == 0


@on_uvloop
async def test_what_is_no_http_reaches_no_node_and_harms_none() -> None:
    async with wire_hub() as hub, wire_node(hub, "node-a", {}):
        link = await hub.next_link()
        for said in (b'{"kind": "control"}\n', b"\x16\x03\x01" + b"\0" * 200, b"\xff\xfe\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            writer.write(said + b"\r\n\r\n")
            assert b" 101 " not in await asyncio.wait_for(reader.read(100), PATIENCE)
            writer.close()
        assert hub.links.by_name == {"node-a": link}


@on_uvloop
async def test_a_flood_of_requests_is_bounded_and_keeps_no_node_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is one small request; the log has a few lines of them, and a true secret works."""
    async with session_server() as sockets, wire_hub() as hub:
        statuses = [
            await status_of(hub, f"guess-{number}", (CONTROL, SESSION)[number % 2])
            for number in range(100)
        ]
        assert statuses[:20] == [401] * 20
        assert set(statuses[20:]) == {429}
        assert caplog.text.count("is refused") == 20
        assert hub.rows.asked == 50, "only a node that is connected opens connections for sessions"
        async with wire_node(hub, "node-a", sockets):
            assert (await hub.next_link()).alive


@on_uvloop
async def test_a_node_connects_while_a_flood_of_silent_connections_goes_on() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        flood = asyncio.create_task(_flood(hub.port))
        try:
            await asyncio.sleep(1.0)
            async with wire_node(hub, "node-a", sockets):
                link = await asyncio.wait_for(hub.came.get(), 5.0)
                assert link.name == "node-a"
            assert not flood.done()
        finally:
            flood.cancel()
            await asyncio.wait({flood})


async def _flood(port: int) -> None:
    """Open 200 connections a second that send nothing."""
    held: list[socket.socket] = []
    try:
        for _ in itertools.count():
            stranger = socket.socket()
            held.append(stranger)
            stranger.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                stranger.connect(("127.0.0.1", port))
            await asyncio.sleep(1 / 200)
    finally:
        for each in held:
            each.close()


@on_uvloop
async def test_one_who_sends_on_before_the_answer_fills_no_memory() -> None:
    async with wire_hub() as hub:
        answers = threading.Event()

        def waits(_: str) -> None:
            answers.wait(PATIENCE)

        hub.rows.known_by = waits  # type: ignore[method-assign,assignment]
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(
            b"GET /nodes/connect HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\n"
            b"Upgrade: mograder-node\r\nConnection: Upgrade\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(_send(writer, 200), 2.0)
        assert writer.transport.get_write_buffer_size() > 0 or writer.transport.is_closing()
        writer.transport.abort()
        answers.set()
        del reader


async def _send(writer: asyncio.StreamWriter, megabytes: int) -> None:
    for _ in range(megabytes):
        writer.write(b"x" * LINE_LIMIT)
        await writer.drain()


@on_uvloop
async def test_connections_of_one_node_never_serve_the_sessions_of_another() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        thief = wire_node(hub, "node-a", sockets)
        honest = wire_node(hub, "node-b", sockets, parked=0)
        async with thief:
            await hub.next_link()
            async with honest, client_of(link := await hub.next_link()) as client:
                request = asyncio.create_task(client.post("http://s/echo", data=b"secret"))
                await asyncio.sleep(0)
                await link.close()  # it waited for a connection of its own node
                (refused,) = await asyncio.gather(request, return_exceptions=True)
                assert isinstance(refused, aiohttp.ClientError)


@on_uvloop
async def test_connections_for_sessions_need_a_node_that_is_connected() -> None:
    async with wire_hub() as hub:
        assert await status_of(hub, hub.token("node-a").secret, SESSION) == 401


@on_uvloop
async def test_a_connection_that_speaks_before_it_is_asked_is_closed() -> None:
    async with wire_hub() as hub:
        token = hub.token("node-a")
        async with wire_node(hub, token, {}, parked=0):
            link = await hub.next_link()
            own = own_header(link)
            early = b"HTTP/1.1 200 OK\r\n\r\n"
            asked = knock(hub, token.secret, SESSION, early=early, more=own)
            async with asked as (_, reader, _writer):
                assert await closed(reader)
            async with knock(hub, token.secret, SESSION, more=own) as (status, reader, writer):
                assert status == 101
                writer.write(early)
                assert await closed(reader)
            assert link.parked == 0


@on_uvloop
async def test_a_node_cannot_fill_the_hub_with_waiting_connections() -> None:
    async with wire_hub() as hub, wire_node(hub, "node-a", {}, parked=100):
        link = await hub.next_link()
        async with asyncio.timeout(PATIENCE):
            while link.parked < MOST_PARKED:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
        for _ in range(50):
            await asyncio.sleep(0.01)
            assert link.parked <= MOST_PARKED


@on_uvloop
async def test_a_control_line_without_end_closes_the_connection() -> None:
    async with (
        wire_hub() as hub,
        knock(hub, hub.token("node-a").secret, CONTROL) as (_, _reader, writer),
    ):
        link = await hub.next_link()
        writer.write(b"x" * (3 * LINE_LIMIT))
        assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link


@on_uvloop
async def test_an_id_that_is_none_is_never_sent_to_a_node() -> None:
    async with wire_hub() as hub, wire_node(hub, "node-a", {}):
        link = await hub.next_link()
        for session_id in ("", "../../etc", "a" * 65, 'x"}\n{"session_id": "other123'):
            with pytest.raises(InvalidInput):
                await link.open_session(session_id)


@on_uvloop
async def test_a_node_that_was_removed_loses_its_connections() -> None:
    async with wire_hub() as hub, wire_node(hub, "node-a", {}):
        link = await hub.next_link()
        del hub.rows.secret_hashes["node-a"]
        await link.close()
        assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link
        async with client_of(link) as client:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await client.get("http://s/large")
        assert hub.came.empty()


@pytest.mark.parametrize("name", ["", "../node", "a b", "x" * 64, "node:1"])
def test_a_node_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be named"):
        NodeToken.new(name)
