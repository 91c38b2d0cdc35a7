"""A session that floods holds up only its own student.

See security.md, "The session's server is theirs too".

Everything is counted: the bytes of the flood that passed while others were served, and the bytes
buffered when the client does not read.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest

from mograder.core.rate_limit import Rate
from mograder.web.hub.proxy.upstream import Allowances
from tests.support.proxy_flood import (
    MESSAGES,
    PINGS,
    PONGS,
    Flood,
    draining,
    flooding,
    handshake,
    open_socket,
)
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import Rig, bearer, running_rig, served_on_unix
from tests.support.supervisors import until

pytestmark = pytest.mark.full  # floods last for seconds
_UNBOUNDED = Rate(1e12, 1e12)
_SOCKET = "/edit/user/alice/A1/ws"
_ALICE = bearer("alice")["Authorization"]


@dataclass
class RunningProxy:
    """A hub with a flooding session of alice's and an ordinary one of bob's."""

    rig: Rig
    flood: Flood
    calm: Upstream

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.rig.host.split(":")
        return host, int(port)


@asynccontextmanager
async def _house(
    allowances: Allowances, block: bytes = MESSAGES, head: bytes = b""
) -> AsyncIterator[RunningProxy]:
    calm = Upstream()
    async with served_on_unix(calm) as path, running_rig(allowances=allowances) as rig:
        with flooding(rig.hub.course, block, head) as flood:
            rig.session(flood.path)
            rig.session(path, user="bob")
            yield RunningProxy(rig, flood, calm)


@pytest.fixture
async def proxied() -> AsyncIterator[RunningProxy]:
    """Without any bound on the rate: only turns are taken."""
    async with _house(Allowances(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED)) as proxied:
        yield proxied


async def test_others_are_answered_between_the_messages_of_a_flood(proxied: RunningProxy) -> None:
    with draining(proxied.address, _SOCKET, _ALICE) as drain:
        await until(lambda: drain.got > 100_000)
        async with httpx.AsyncClient(base_url=proxied.rig.url, trust_env=False, timeout=60) as http:
            await _ask(http)
            before = proxied.rig.traffic.messages_out
            for _ in range(20):
                await _ask(http)
        passed = proxied.rig.traffic.messages_out - before
    # Without turns it is a hundred thousand for each request; with them, some three thousand.
    assert passed < 20 * 20_000, f"{passed} messages of the flood came first"


async def _ask(http: httpx.AsyncClient) -> None:
    answer = await http.get("/edit/user/bob/A1/x", headers=bearer("bob"))
    assert answer.status_code == 200


async def test_a_flood_gets_its_burst_and_then_its_rate_and_no_more() -> None:
    rates = Allowances(_UNBOUNDED, Rate(1000, 10), _UNBOUNDED)
    async with _house(rates) as proxied:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with draining(proxied.address, _SOCKET, _ALICE) as drain:
            await until(lambda: proxied.rig.traffic.messages_out >= 1010)
            most = 1000 + 10 * (loop.time() - began) + 2
            assert proxied.rig.traffic.messages_out <= most
            assert drain.got < 10_000
            assert proxied.flood.sent < 2 * 2**20, "the session's server is held up, not the hub"


async def test_a_ping_of_a_sessions_server_is_answered() -> None:
    """The server of marimo closes a connection that does not answer its pings."""
    answered = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(handshake(await reader.readuntil(b"\r\n\r\n")) + b"\x89\x02hi")
        answered.set_result(await reader.readexactly(8))
        writer.close()

    async with running_rig() as rig:
        path, (host, port) = rig.hub.course / "pinging.sock", rig.host.split(":")
        async with await asyncio.start_unix_server(serve, path):
            rig.session(path)
            with open_socket((host, int(port)), _SOCKET, _ALICE):
                frame = await asyncio.wait_for(answered, 60)
    assert frame[:2] == b"\x8a\x82", "a pong of two bytes, with a mask"
    assert bytes(text ^ mask for text, mask in zip(frame[6:], frame[2:], strict=False)) == b"hi"


@pytest.mark.parametrize("block", [PINGS, PONGS], ids=["pings", "pongs"])
async def test_a_flood_of_control_frames_is_slowed_down_too(block: bytes) -> None:
    rates = Allowances(_UNBOUNDED, Rate(1000, 10), _UNBOUNDED)
    async with (
        _house(rates, block) as proxied,
        httpx.AsyncClient(base_url=proxied.rig.url, trust_env=False, timeout=60) as http,
    ):
        with draining(proxied.address, _SOCKET, _ALICE):
            await until(lambda: proxied.flood.sent > 0)
            for _ in range(20):
                await _ask(http)
            assert proxied.flood.sent < 2 * 2**20


async def test_a_server_that_sends_interim_responses_without_end_is_left() -> None:
    rates, interim = Allowances(_UNBOUNDED, _UNBOUNDED, _UNBOUNDED), b"HTTP/1.1 100 \r\n\r\n"
    async with _house(rates, interim * 1000, interim) as proxied:
        async with httpx.AsyncClient(base_url=proxied.rig.url, trust_env=False, timeout=60) as http:
            answer = await http.get("/edit/user/alice/A1/x", headers=bearer("alice"))
        assert answer.status_code == 502
        assert proxied.flood.sent < 4 * 2**20


@pytest.mark.parametrize("frame", [b"\x89\x80", b"\x8a\x80"], ids=["pings", "pongs"])
async def test_a_page_that_floods_with_control_frames_loses_its_connection(frame: bytes) -> None:
    upstream = Upstream()
    async with served_on_unix(upstream) as path, running_rig() as rig:
        rig.session(path)
        loop, (host, port) = asyncio.get_running_loop(), rig.host.split(":")
        with open_socket((host, int(port)), _SOCKET, _ALICE) as connection:
            connection.setblocking(False)
            assert b" 101 " in await loop.sock_recv(connection, 4096)
            with pytest.raises(ConnectionError):
                await loop.sock_sendall(connection, (frame + bytes(4)) * 1_000_000)


async def test_many_connections_gain_a_flood_nothing() -> None:
    """The allowance is the session's."""
    upstream = Upstream()
    rates = Allowances(_UNBOUNDED, Rate(60, 5), _UNBOUNDED)
    async with served_on_unix(upstream) as path, running_rig(allowances=rates) as rig:
        rig.session(path)
        loop = asyncio.get_running_loop()
        began = loop.time()
        host, port = rig.host.split(":")
        sockets = [open_socket((host, int(port)), _SOCKET, _ALICE) for _ in range(4)]
        try:
            for each in sockets:
                each.setblocking(False)
                await loop.sock_recv(each, 4096)  # the handshake
                each.send(b"\x81\x81\x00\x00\x00\x00x" * 50)
            await until(lambda: rig.traffic.messages_in >= 65)
            assert rig.traffic.messages_in <= 60 + 5 * (loop.time() - began) + 2 * len(sockets)
        finally:
            for each in sockets:
                each.close()


async def test_a_client_that_reads_nothing_does_not_fill_the_hubs_memory(
    proxied: RunningProxy,
) -> None:
    connection = open_socket(proxied.address, _SOCKET, _ALICE)
    try:
        await until(lambda: proxied.rig.traffic.messages_out > 1000)
        gc.collect()
        before = psutil.Process().memory_info().rss
        sent = -1
        while sent != proxied.flood.sent:  # it stops when all buffers in between are full
            sent = proxied.flood.sent
            await asyncio.sleep(0.5)
        assert sent < 30 * 2**20
        assert psutil.Process().memory_info().rss - before < 50 * 2**20
    finally:
        connection.close()


async def test_an_endless_answer_is_slowed_down_beyond_its_burst() -> None:
    rates = Allowances(_UNBOUNDED, _UNBOUNDED, Rate(4 * 2**20, 2**20))
    upstream = Upstream()
    async with served_on_unix(upstream) as path, running_rig(allowances=rates) as rig:
        rig.session(path)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with (
            httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=60) as http,
            http.stream("GET", "/edit/user/alice/A1/forever", headers=bearer("alice")) as answer,
        ):
            chunks = answer.aiter_raw()
            while rig.traffic.bytes_out < 6 * 2**20:
                await anext(chunks)
            most = 4 * 2**20 + 2**20 * (loop.time() - began) + 2**20
            assert rig.traffic.bytes_out <= most
