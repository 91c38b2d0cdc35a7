"""The wire between node and hub: control, connections to sessions, their order and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import socket
from contextlib import AsyncExitStack

import aiohttp
import pytest

from mograder.auth.node_tokens import split_address
from mograder.sandbox.nodes.first_line import FirstLineReader
from mograder.sandbox.nodes.joining import join
from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.nodes.wire_messages import ControlHello, SessionHello
from mograder.sandbox.protocol import ListSessions
from tests.support.node_wire import (
    LARGE,
    SESSION,
    WireHub,
    client_of,
    next_client,
    on_uvloop,
    raw_line,
    session_server,
    wire_hub,
    wire_node,
)
from tests.support.supervisors import PATIENCE


async def _use_a_session() -> None:
    """Make more requests than connections wait at a time, and use a WebSocket."""
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub.identity("node-a"), sockets, parked=2),
        next_client(hub) as client,
    ):
        found = await asyncio.gather(*(_echoed(client, b"%d" % each) for each in range(9)))
        assert found == [b"%d" % each for each in range(9)]
        async with client.ws_connect("http://s/ws") as socket:
            await socket.send_str("ping")
            assert await socket.receive_str(timeout=PATIENCE) == "ping"


@on_uvloop
async def test_requests_and_websockets_reach_a_session_of_a_node() -> None:
    await _use_a_session()


async def test_the_wire_works_on_the_event_loop_of_asyncio_too() -> None:
    await _use_a_session()


@on_uvloop
async def test_ten_megabytes_pass_both_ways() -> None:
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub.identity("node-a"), sockets),
        next_client(hub) as client,
    ):
        assert await _echoed(client, b"y" * LARGE) == b"y" * LARGE


async def _echoed(client: aiohttp.ClientSession, body: bytes) -> bytes:
    async with client.post("http://s/echo", data=io.BytesIO(body)) as answer:
        return await answer.read()


@on_uvloop
async def test_a_session_that_the_node_does_not_have_is_refused_by_closing() -> None:
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub.identity("node-a"), sockets),
        next_client(hub, "session-b") as client,
    ):
        with pytest.raises(aiohttp.ClientError):
            await client.get("http://s/large")


@on_uvloop
async def test_a_connection_is_used_again_but_not_after_a_failure() -> None:
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub.identity("node-a"), sockets),
        next_client(hub) as client,
    ):
        first, second = await _number(client), await _number(client)
        assert first == second
        async with client.post("http://s/fail") as answer:
            assert answer.status == 500
        assert await _number(client) != first


async def _number(client: aiohttp.ClientSession) -> str:
    async with client.post("http://s/echo", data=b"") as answer:
        return answer.headers["Connection-Number"]


@on_uvloop
async def test_the_end_of_a_node_is_told_and_the_node_comes_back() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        identity = hub.identity("node-a")
        async with wire_node(identity, sockets):
            link = await hub.next_link()
            assert hub.listener.links == {"node-a": link}
        assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link
        assert hub.listener.links == {}
        with pytest.raises(ConnectionResetError):
            await link.open_session(SESSION)
        async with wire_node(identity, sockets), next_client(hub) as client:
            assert await _echoed(client, b"again") == b"again"


@on_uvloop
async def test_a_task_that_waits_for_a_connection_fails_when_the_node_goes() -> None:
    async with wire_hub() as hub:
        async with wire_node(hub.identity("node-a"), {}, parked=0):
            link = await hub.next_link()
            waiting = asyncio.create_task(link.open_session(SESSION))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(waiting, PATIENCE)


@on_uvloop
async def test_a_connection_for_a_task_that_gave_up_goes_to_the_next() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        identity = hub.identity("node-a")
        async with wire_node(identity, sockets, parked=0):
            link = await hub.next_link()
            given_up = asyncio.create_task(link.open_session(SESSION))
            waiting = asyncio.create_task(link.open_session(SESSION))
            await asyncio.sleep(0)
            given_up.cancel()
            async with raw_line(hub, SessionHello(), identity) as reader:
                transport = await asyncio.wait_for(waiting, PATIENCE)
                assert b"session-a" in await reader.readline()
                transport.abort()


@on_uvloop
async def test_a_cut_closes_the_connections_of_sessions_and_connects_again() -> None:
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub.identity("node-a"), sockets) as dialer,
        next_client(hub) as client,
        client.ws_connect("http://s/ws") as socket,
    ):
        dialer.cut()
        message = await socket.receive(timeout=PATIENCE)
        assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        async with client_of(await hub.next_link()) as again:
            assert await _echoed(again, b"again") == b"again"


@on_uvloop
async def test_a_node_leaves_hubs_that_are_gone_and_connects_to_new_ones() -> None:
    async with wire_hub() as one, wire_hub() as two:
        identity = one.identity("node-a")
        async with wire_node(identity, {}) as dialer:
            link = await one.next_link()
            dialer.connect_to(())
            assert link.alive
            dialer.connect_to((two.address,))
            assert await asyncio.wait_for(one.went.get(), PATIENCE) is link
            assert dialer.connected == frozenset()  # the other hub is of another course


@on_uvloop
async def test_calls_are_answered_over_the_control_connection() -> None:
    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}):
        link = await hub.next_link()
        done = await link.connection.call(ListSessions(), seconds=PATIENCE)
        assert done.sessions == ()


@on_uvloop
async def test_of_many_connections_of_one_node_each_is_over_before_the_next_begins() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        async with AsyncExitStack() as stack:
            await asyncio.gather(
                *(
                    stack.enter_async_context(raw_line(hub, ControlHello(), identity))
                    for _ in range(8)
                )
            )
            links = [await hub.next_link() for _ in range(8)]
            assert hub.listener.links == {"node-a": links[-1]}
        assert await _went(hub, 8) == links
        assert hub.events == [each for link in links for each in (("came", link), ("went", link))]


@on_uvloop
async def test_a_copy_of_a_node_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        async with raw_line(hub, ControlHello(), identity):
            await hub.next_link()
            assert "a copy of its directory" not in caplog.text
            async with raw_line(hub, ControlHello(), identity):
                await hub.next_link()
                assert "node-a connects from 127.0.0.1 while its connection" in caplog.text


async def _join_through_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Join at a port that closes the first connections, in both ways, before any handshake."""
    monkeypatch.setattr("mograder.sandbox.nodes.joining._PAUSE", 0.01)
    async with wire_hub() as hub:
        ways = [asyncio.Transport.abort, asyncio.Transport.close] * 2
        host, port = split_address(hub.address)
        passing: list[asyncio.Task[None] | None] = []

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            passing.append(asyncio.current_task())
            if ways:
                ways.pop()(writer.transport)
                return
            answers, calls = await asyncio.open_connection(host, port)
            await asyncio.gather(_copied(reader, calls), _copied(answers, writer))

        crowd = await asyncio.start_server(pass_on, "127.0.0.1", 0)
        address = crowd.sockets[0].getsockname()
        token = dataclasses.replace(hub.token(), hubs=(f"127.0.0.1:{address[1]}",))
        async with crowd:
            assert (await join(token, "node-a")).name == "node-a"
        await asyncio.wait(filter(None, passing))
        assert ways == []


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
    writer.close()


async def test_a_machine_joins_though_the_hub_closes_some_of_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await _join_through_a_crowd(monkeypatch)


@on_uvloop
async def test_the_same_on_the_event_loop_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    await _join_through_a_crowd(monkeypatch)


async def _went(hub: WireHub, number: int) -> list[NodeLink]:
    return [await asyncio.wait_for(hub.went.get(), PATIENCE) for _ in range(number)]


@on_uvloop
async def test_an_agent_that_breaks_is_connected_again() -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of the agent")

    async with wire_hub() as hub, wire_node(hub.identity("node-a"), {}, control=broken):
        first, second = await hub.next_link(), await hub.next_link()
        assert await _went(hub, 1) == [first]
        assert second is not first


@on_uvloop
async def test_a_hub_that_cannot_ask_its_database_refuses_and_goes_on() -> None:
    async with wire_hub() as hub:
        identity = hub.identity("node-a")
        hub.rows.failure = RuntimeError("no database")
        async with raw_line(hub, ControlHello(), identity) as reader:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(1), PATIENCE) == b""
        hub.rows.failure = None
        async with wire_node(identity, {}):
            assert (await hub.next_link()).name == "node-a"


class ClosedTwice(asyncio.Transport):
    """What Python 3.11.2 leaves of a TLS connection that was closed twice."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore it."""

    def abort(self) -> None:
        raise AttributeError("'NoneType' object has no attribute '_abort'")


async def test_a_connection_that_was_closed_twice_can_be_aborted() -> None:
    with socket.socket() as connection:
        first = FirstLineReader(100)
        first.connection_made(ClosedTwice({"socket": connection}))
        first.abort()
