"""Traffic through the shipped nginx and Caddy, before the real session proxy: bodies, WebSockets.

B19, B20; security.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.proxy_front import (
    Standing,
    connect_websocket,
    no_answer_is_lost,
    proxied,
    raw,
    standing,
)
from tests.support.proxy_session import A1, RunningProxy
from tests.support.session_proxy import bearer, cookie
from tests.support.slow_body import refused_body

pytestmark = pytest.mark.full

__all__ = ["proxied", "standing"]

# ---- bodies and times ---------------------------------------------------------------------------


async def test_no_answer_to_a_post_is_lost(proxied: RunningProxy) -> None:
    """B19, B20."""
    await no_answer_is_lost(proxied)


async def test_a_body_over_the_bound_is_refused(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    large = await proxied.http.post(cap + "api/x", content=b"x" * 4 * 2**20)
    assert large.status_code == 413
    fits = await proxied.http.post(cap + "api/x", content=b"x" * 3 * 2**20)
    assert fits.json()["length"] == 3 * 2**20

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000

    streamed = await proxied.http.post(cap + "api/x", content=chunks())
    assert streamed.json()["length"] == 3000


async def test_a_refusal_of_a_slow_body_arrives_and_ends_the_connection(
    proxied: RunningProxy, standing: Standing
) -> None:
    """Both what the hub refuses and what the front refuses by itself."""
    headers = {**cookie("alice"), "Sec-Fetch-Site": "same-origin"}
    path = A1 + "/api/kernel/execute"
    within = await refused_body(
        "127.0.0.1", standing.place.port, path, headers, announced=3 * 2**20, piece=2**13
    )
    assert within.status == 403
    assert within.answer.endswith(b"Open this address in a tab of its own.")
    beyond = await refused_body("127.0.0.1", standing.place.port, path, headers)
    assert beyond.status in (403, 413), "nginx sees the length, Caddy passes some of it on"


async def test_an_answer_streams_and_a_slow_reader_slows_it_down(
    proxied: RunningProxy, standing: Standing
) -> None:
    cap = await proxied.capability()
    reader, writer = await asyncio.open_connection("127.0.0.1", standing.place.port)
    writer.write(f"GET {cap}forever HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await reader.readexactly(100_000)
    before = -1
    while before != proxied.upstream.sent:  # it stops when all buffers in between are full
        before = proxied.upstream.sent
        await asyncio.sleep(0.3)
    assert proxied.upstream.sent < 40 * 2**20
    writer.close()
    await asyncio.wait_for(proxied.upstream.left.wait(), 10)


async def test_an_answer_that_breaks_off_does_not_look_complete(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    with pytest.raises(httpx.RemoteProtocolError):
        await proxied.http.get(cap + "short")


async def test_large_answers_arrive_whole(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    answer = await proxied.http.get(cap + "big")
    assert len(answer.content) == 10485760


# ---- WebSockets ---------------------------------------------------------------------------------


async def test_b19_b20_messages_pass_both_ways(proxied: RunningProxy) -> None:
    """B19, B20: WebSockets pass, by capability from the opaque page and by token."""
    cap = await proxied.capability()
    for path, headers in ((cap + "ws?session_id=s_1", {}), (A1 + "/ws", bearer("alice"))):
        async with connect_websocket(proxied, path, additional_headers=headers) as line:
            for message in ("hé", b"\x00\xff", "x" * 2_000_000, "", b""):
                await line.send(message)
                assert await line.recv() == message
    names = {name for name, _ in proxied.upstream.seen[-2]["headers"]}
    assert not names & {b"cookie", b"origin", b"authorization", b"x-forwarded-for"}


async def test_the_servers_close_is_told(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    async with connect_websocket(proxied, cap + "ws") as line:
        await line.send("close 4000 MARIMO_é")
        assert await _ended(line) == 4000
        assert line.close_reason == "MARIMO_é"


@pytest.mark.parametrize(
    ("path", "origin"),
    [("own", "https://evil.example"), ("/s/" + "a" * 32 + "/ws", "null"), (A1 + "/ws", None)],
)
async def test_a_strangers_socket_is_refused(
    proxied: RunningProxy, path: str, origin: str | None
) -> None:
    cap = await proxied.capability()
    where = cap + "ws" if path == "own" else path
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect_websocket(proxied, where, origin=origin):
            pass
    assert refused.value.response.status_code == 403


async def test_another_protocol_than_websocket_is_not_switched_to(
    proxied: RunningProxy, standing: Standing
) -> None:
    cap = await proxied.capability()
    asked = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
    status, _ = await asyncio.to_thread(raw, standing.place.port, f"{cap}x", *asked)
    assert status != 101


async def test_sign_out_and_stop_close_what_is_open(proxied: RunningProxy) -> None:
    """security.md: sign-out and stop revoke a capability and close its sockets."""
    cap = await proxied.capability()
    async with connect_websocket(proxied, cap + "ws") as first:
        await first.send("x")
        assert await first.recv() == "x"
        proxied.rig.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
        assert await _ended(first) in (1008, 1006)
    with pytest.raises(websockets.InvalidStatus):
        await connect_websocket(proxied, cap + "ws")


async def _ended(line: ClientConnection) -> int | None:
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(line.recv(), 5)
    return line.close_code


async def test_requests_and_sockets_are_activity(proxied: RunningProxy) -> None:
    """Idle accounting: each request is seen; what a page asks by itself does not count."""
    cap = await proxied.capability()
    before = proxied.rig.pool.touches
    await proxied.http.get(cap + "x/y")
    assert proxied.rig.pool.touches == before + 1
    await proxied.http.get(cap + "api/usage")
    assert proxied.rig.pool.touches == before + 1
    async with connect_websocket(proxied, cap + "ws"):
        assert proxied.rig.pool.touches > before + 1
