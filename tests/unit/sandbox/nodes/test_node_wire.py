"""The wire between node and hub: control, connections to sessions, their order and their ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from mograder.core.errors import Forbidden, InvalidInput, RemoteFailed
from mograder.sandbox.client.supervisor_client import ConnectionLost
from mograder.sandbox.nodes import transports
from mograder.sandbox.nodes.node_dialer import Hub, NodeDialer, probe
from mograder.sandbox.nodes.transports import CONTROL, HeadReader, Relay
from mograder.sandbox.protocol import Done, Endpoint, ListSessions, encode
from mograder.sessions.nodes.node_link import NodeConnections, NodeLink
from tests.support.node_wire import (
    LARGE,
    SESSION,
    WireHub,
    answer_calls,
    client_of,
    echoed,
    knock,
    next_client,
    on_uvloop,
    own_header,
    session_server,
    status_of,
    wire_hub,
    wire_node,
)
from tests.support.supervisors import PATIENCE, short_directory, until


@asynccontextmanager
async def used(
    session: str = SESSION, parked: int = 8
) -> AsyncIterator[tuple[WireHub, NodeDialer, aiohttp.ClientSession]]:
    """A hub, a node with one session, and a client of a session."""
    async with (
        session_server() as sockets,
        wire_hub() as hub,
        wire_node(hub, "node-a", sockets, parked=parked) as dialer,
        next_client(hub, session) as client,
    ):
        yield hub, dialer, client


async def _use_a_session() -> None:
    """Make more requests than connections wait at a time, a large one, and use a WebSocket."""
    async with used(parked=2) as (_, _, client):
        found = await asyncio.gather(*(echoed(client, b"%d" % each) for each in range(9)))
        assert found == [b"%d" % each for each in range(9)]
        assert await echoed(client, b"y" * LARGE) == b"y" * LARGE
        async with client.ws_connect("http://s/ws") as websocket:
            await websocket.send_str("ping")
            assert await websocket.receive_str(timeout=PATIENCE) == "ping"


@on_uvloop
async def test_requests_and_websockets_reach_a_session_of_a_node() -> None:
    await _use_a_session()


async def test_the_wire_works_on_the_event_loop_of_asyncio_too() -> None:
    await _use_a_session()


@on_uvloop
async def test_a_session_that_the_node_does_not_have_is_refused_by_closing() -> None:
    async with used("session-b") as (_, _, client):
        with pytest.raises(aiohttp.ClientError):
            await client.get("http://s/large")


@on_uvloop
async def test_a_connection_is_used_again_but_not_after_a_failure() -> None:
    async with used() as (_, _, client):
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
        token = hub.token("node-a")
        async with wire_node(hub, token, sockets):
            link = await hub.next_link()
            assert hub.links.by_name == {"node-a": link}
        assert await asyncio.wait_for(hub.went.get(), PATIENCE) is link
        assert hub.links.by_name == {}
        with pytest.raises(ConnectionResetError):
            await link.open_session(SESSION)
        async with wire_node(hub, token, sockets), next_client(hub) as client:
            assert await echoed(client, b"again") == b"again"


@on_uvloop
async def test_a_request_waits_for_a_node_that_connects_again() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        endpoint = Endpoint(Path(f"{SESSION}.sock"), "node-a")
        looks: list[str] = []

        def link_of(name: str) -> NodeLink | None:
            looks.append(name)
            return hub.links.by_name.get(name)

        connector = NodeConnections(link_of).connector(endpoint)
        async with aiohttp.ClientSession(connector=connector) as client:
            asking = asyncio.create_task(echoed(client, b"a save"))
            await until(lambda: asking.done() or len(looks) > 1)
            async with wire_node(hub, "node-a", sockets):
                assert await asyncio.wait_for(asking, PATIENCE) == b"a save"


@on_uvloop
async def test_a_task_that_waits_for_a_connection_fails_when_the_node_goes() -> None:
    async with wire_hub() as hub:
        async with wire_node(hub, "node-a", {}, parked=0):
            link = await hub.next_link()
            waiting = asyncio.create_task(link.open_session(SESSION))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(waiting, PATIENCE)


@on_uvloop
async def test_a_connection_for_a_task_that_gave_up_goes_to_the_next() -> None:
    async with session_server() as sockets, wire_hub() as hub:
        token = hub.token("node-a")
        async with wire_node(hub, token, sockets, parked=0):
            link = await hub.next_link()
            given_up = asyncio.create_task(link.open_session(SESSION))
            waiting = asyncio.create_task(link.open_session(SESSION))
            await asyncio.sleep(0)
            given_up.cancel()
            asked = knock(hub, token.secret, transports.SESSION, more=own_header(link))
            async with asked as (status, reader, _):
                assert status == 101
                transport = await asyncio.wait_for(waiting, PATIENCE)
                assert b"session-a" in await reader.readline()
                transport.abort()


@on_uvloop
async def test_a_cut_closes_the_connections_of_sessions_and_connects_again() -> None:
    async with used() as (hub, dialer, client), client.ws_connect("http://s/ws") as websocket:
        dialer.cut()
        message = await websocket.receive(timeout=PATIENCE)
        assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        async with client_of(await hub.next_link()) as again:
            assert await echoed(again, b"again") == b"again"


@on_uvloop
async def test_calls_are_answered_over_the_control_connection() -> None:
    async with wire_hub() as hub, wire_node(hub, "node-a", {}):
        link = await hub.next_link()
        done = await link.connection.call(ListSessions(), seconds=PATIENCE)
        assert done.sessions == ()


@pytest.mark.parametrize("turns", range(4))
def test_a_call_on_a_connection_that_breaks_at_that_moment_says_so(turns: int) -> None:
    """Between the end of uvloop's transport and the moment when the reader hears of it."""

    @on_uvloop
    async def call() -> None:
        async with wire_hub() as hub, wire_node(hub, "node-a", {}, parked=0):
            link = await hub.next_link()
            link.connection._writer.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            with pytest.raises(ConnectionLost):
                await link.connection.call(ListSessions(), seconds=PATIENCE)

    call()


@on_uvloop
async def test_what_a_node_sends_with_its_request_is_not_lost() -> None:
    """The HTTP parser has read it with the head, before the hub's 101."""
    async with wire_hub() as hub:
        answer = encode(Done(id=1, version="early"))
        secret = hub.token("node-a").secret
        async with knock(hub, secret, CONTROL, early=answer[:20]) as (_, reader, writer):
            link = await hub.next_link()
            assert b'"hello"' in await reader.readline()
            writer.write(answer[20:])
            await until(lambda: link.connection.hello.version == "early")


async def _went(hub: WireHub, number: int) -> list[NodeLink]:
    return [await asyncio.wait_for(hub.went.get(), PATIENCE) for _ in range(number)]


@on_uvloop
async def test_of_many_connections_of_one_node_the_first_stays_until_it_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with wire_hub() as hub:
        secret = hub.token("node-a").secret
        async with knock(hub, secret, CONTROL) as (status, *_):
            assert status == 101
            first = await hub.next_link()
            assert await status_of(hub, secret, CONTROL) == 409
            assert hub.links.by_name == {"node-a": first}
            monkeypatch.setattr("mograder.web.hub.core.node_door._IN_USE_SECONDS", 0.0)
            async with knock(hub, secret, CONTROL) as (again, *_others):
                assert again == 101
                second = await hub.next_link()
                assert hub.links.by_name == {"node-a": second}
                assert hub.events == [("came", first), ("went", first), ("came", second)]


@on_uvloop
async def test_a_node_in_a_hurry_dials_twice_and_keeps_one_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hub takes the second attempt for no thief's."""
    async with session_server() as sockets, wire_hub() as hub:
        token = hub.token("node-a")
        dialer = NodeDialer(
            Hub.parse(hub.url), token.secret, answer_calls, sockets.get, hurried=lambda: True
        )
        dialer.connect()
        async with next_client(hub) as client:
            assert await echoed(client, b"once") == b"once"
        assert len(hub.events) == 1
        assert "another machine" not in caplog.text
        await dialer.close()
    with caplog.at_level(logging.DEBUG, "mograder"):
        dialer.connect()  # no hub is there: both fail, and it goes on
        await until(lambda: caplog.text.count("no connection to the hub") > 1)
    await dialer.close()


@on_uvloop
async def test_an_agent_that_breaks_is_connected_again() -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of the agent")

    async with wire_hub() as hub, wire_node(hub, "node-a", {}, control=broken):
        first, second = await hub.next_link(), await hub.next_link()
        assert await _went(hub, 1) == [first]
        assert second is not first


@on_uvloop
async def test_a_hub_that_cannot_ask_its_database_refuses_and_goes_on() -> None:
    async with wire_hub() as hub:
        token = hub.token("node-a")
        hub.rows.failure = RuntimeError("no database")
        assert await status_of(hub, token.secret, CONTROL) == 500
        hub.rows.failure = None
        async with wire_node(hub, token, {}):
            assert (await hub.next_link()).name == "node-a"


@on_uvloop
async def test_the_probe_tells_whether_a_hub_accepts_a_node() -> None:
    async with wire_hub() as hub:
        token = hub.token("node-a")
        address = Hub.parse(hub.url)
        await probe(address, token.secret)
        assert hub.came.empty()
        with pytest.raises(Forbidden, match="does not accept"):
            await probe(address, "x" * 43)
        with pytest.raises(RemoteFailed, match="no hub with nodes"):
            await probe(Hub.parse(f"{hub.url}/elsewhere"), token.secret)
    with pytest.raises(RemoteFailed):
        await probe(address, token.secret)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://hub.example.edu", ("hub.example.edu", 443, True, "")),
        ("https://hub.example.edu:8443/live/", ("hub.example.edu", 8443, True, "/live")),
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080, False, "")),
        ("http://[::1]:8080", ("::1", 8080, False, "")),
        ("http://localhost", ("localhost", 80, False, "")),
    ],
)
def test_the_address_of_a_hub(url: str, read: tuple[str, int, bool, str]) -> None:
    hub = Hub.parse(url)
    assert (hub.host, hub.port, hub.tls, hub.prefix) == read
    assert str(hub) == url.removesuffix("/")
    request = hub.request("secret", CONTROL).decode()
    assert f"GET {hub.prefix}/nodes/connect HTTP/1.1\r\n" in request
    assert f"\r\nHost: {url.split('/')[2]}\r\n" in request


def test_an_address_may_have_letters_that_a_request_has_not() -> None:
    hub = Hub.parse("https://hüb.example.edu/übung")
    assert hub.request("secret", CONTROL).startswith(
        b"GET /%C3%BCbung/nodes/connect HTTP/1.1\r\nHost: xn--hb-xka.example.edu\r\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub.example.edu:8442",
        "ftp://hub",
        "https://",
        "https://hub:x",
        "https://a b",
        "https://a@hub",
        f"https://{'x' * 64}.example.edu",
    ],
)
def test_what_is_no_address_of_a_hub(url: str) -> None:
    with pytest.raises(InvalidInput, match="not the address of a hub"):
        Hub.parse(url)


@pytest.mark.parametrize("url", ["http://hub.example.edu", "http://192.0.2.1:8080"])
def test_a_node_sends_its_secret_to_no_other_machine_without_tls(url: str) -> None:
    with pytest.raises(InvalidInput, match="without TLS") as caught:
        Hub.parse(url)
    assert "https" in caught.value.hint


class ClosedTwice(asyncio.Transport):
    """What Python 3.11.2 leaves of a TLS connection that was closed twice."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore it."""

    def abort(self) -> None:
        raise AttributeError("'NoneType' object has no attribute '_abort'")


async def test_a_connection_that_was_closed_twice_can_be_aborted() -> None:
    with socket.socket() as connection:
        first = HeadReader()
        first.connection_made(ClosedTwice({"socket": connection}))
        first.abort()


# --- the relay to a session's socket: back-pressure and ends ----------------------------------


class Pipe(asyncio.Transport):
    """A hub's connection that only notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = False
        self.resumed = asyncio.Event()
        self.closed = ""
        self.written = b""
        self.protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.resumed.set()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if not self.closed:
            self.closed = how
            assert isinstance(self.protocol, asyncio.Protocol)
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def received(self, data: bytes) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.data_received(data)


Connection = tuple[Pipe, Relay, asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def relayed(first: bytes = b"") -> AsyncIterator[Connection]:
    """A hub's connection at a relay, and the end of a session's server, which reads nothing yet."""
    streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    pipe, relay = Pipe(), Relay()
    with short_directory() as directory:

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            streams.put_nowait((reader, writer))

        async with await asyncio.start_unix_server(serve, directory / "s"):
            await relay.start(pipe, first, directory / "s")
            reader, writer = await streams.get()
            yield pipe, relay, reader, writer
            relay.abort()
            writer.close()


async def test_a_session_that_does_not_read_stops_the_hub_from_sending() -> None:
    async with relayed(b"first") as (pipe, _, reader, _writer):
        assert await reader.readexactly(5) == b"first"
        assert pipe.is_reading()
        sent = 0
        while pipe.is_reading():
            pipe.received(b"x" * 2**16)
            sent += 2**16
        assert sent < 8 * 2**20
        pipe.resumed.clear()
        await reader.readexactly(sent)
        await asyncio.wait_for(pipe.resumed.wait(), PATIENCE)


async def test_a_hub_that_does_not_read_stops_the_session_from_sending() -> None:
    async with relayed() as (pipe, _, _reader, writer):
        assert isinstance(pipe.protocol, asyncio.Protocol)
        pipe.protocol.pause_writing()
        writer.write(b"x" * 2**23)
        for _ in range(20):
            await asyncio.sleep(0)
        assert pipe.written == b""
        pipe.protocol.resume_writing()
        await asyncio.wait_for(writer.drain(), PATIENCE)
        assert pipe.written.startswith(b"x")


async def test_the_end_of_the_session_is_passed_on_after_all_that_it_sent() -> None:
    async with relayed() as (pipe, relay, _, writer):
        writer.write(b"the end")
        writer.close()
        await asyncio.wait_for(relay.ended, PATIENCE)
        assert (pipe.written, pipe.closed) == (b"the end", "closed")


async def test_the_end_of_the_hubs_connection_is_passed_on() -> None:
    async with relayed(b"the end") as (pipe, _, reader, _writer):
        pipe.close()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"the end"


async def test_without_a_server_the_hubs_connection_is_closed() -> None:
    pipe, relay = Pipe(), Relay()
    await relay.start(pipe, b"", Path("/nowhere/s"))
    await asyncio.wait_for(relay.ended, PATIENCE)
    assert pipe.closed == "aborted"
