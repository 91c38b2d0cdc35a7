"""The session proxy over real WebSockets: two clients' libraries, uvicorn on both sides.

compatibility-0.3.16.md 2.3; security.md, "The page is theirs as well".
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from mograder.web.hub.proxy.websocket_relay import CLIENT_MESSAGE_BYTES, MOST_SOCKETS
from tests.support.proxy_session import A1, RunningProxy
from tests.support.session_proxy import bearer, cookie


async def test_text_and_binary_of_any_size_pass_both_ways(proxied: RunningProxy) -> None:
    async with proxied.connect_websocket(
        A1 + "/ws?session_id=s_1", additional_headers=bearer("alice")
    ) as socket:
        largest = CLIENT_MESSAGE_BYTES
        for message in ("hé", b"\x00\xff", "x" * largest, b"y" * largest, "", b""):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("say 60000000")  # an output of the notebook
        assert len(await socket.recv()) == 60_000_000
    scope = proxied.upstream.seen[-1]
    assert (scope["path"], scope["query_string"]) == (A1 + "/ws", b"session_id=s_1")


async def test_aiohttps_client_passes_too(proxied: RunningProxy) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(proxied.rig.url + A1 + "/ws", headers=bearer("alice")) as socket,
    ):
        await socket.send_str("a")
        await socket.send_bytes(b"b")
        assert (await socket.receive()).data == "a"
        assert (await socket.receive()).data == b"b"


async def test_the_servers_choice_of_subprotocol_is_the_clients(proxied: RunningProxy) -> None:
    protocols = [websockets.Subprotocol("one"), websockets.Subprotocol("two")]
    headers = bearer("alice")
    async with proxied.connect_websocket(
        A1 + "/ws", subprotocols=protocols, additional_headers=headers
    ) as socket:
        assert socket.subprotocol == "two"


@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (4000, "MARIMO_é"), (3999, "x" * 120)])
async def test_the_servers_close_is_told_to_the_client(
    proxied: RunningProxy, code: int, reason: str
) -> None:
    async with proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as socket:
        await socket.send(f"close {code} {reason}")
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (code, reason)


@pytest.mark.parametrize("code", [1000, 4321])
async def test_the_clients_close_is_told_to_the_server(proxied: RunningProxy, code: int) -> None:
    async with proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as socket:
        await socket.close(code, "done")
    await asyncio.wait_for(proxied.upstream.left.wait(), 60)
    assert proxied.upstream.close_code == code


async def test_a_client_that_vanishes_is_noticed_by_the_server(proxied: RunningProxy) -> None:
    async with proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as socket:
        socket.transport.abort()
        await asyncio.wait_for(proxied.upstream.left.wait(), 60)
    assert proxied.session.connections == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        cookie("bob"),
        {**cookie("alice"), "Origin": "null"},
        {**cookie("alice"), "Origin": "http://evil.example"},
        {**cookie("alice"), "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_strangers_or_a_browsers_socket_is_refused_by_login(
    proxied: RunningProxy, headers: dict[str, str]
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await proxied.connect_websocket(A1 + "/ws", additional_headers=headers)
    assert refused.value.response.status_code == 403
    assert not proxied.upstream.seen


async def test_our_own_origin_is_refused_too_while_pages_are_sandboxed(
    proxied: RunningProxy,
) -> None:
    with pytest.raises(websockets.InvalidStatus):
        await proxied.connect_websocket(
            A1 + "/ws",
            additional_headers=cookie("alice"),
            origin=websockets.Origin(proxied.rig.url),
        )


@pytest.mark.parametrize("origin", ["null", None, "own"])
async def test_a_capability_opens_a_socket_from_the_opaque_page(
    proxied: RunningProxy, origin: str | None
) -> None:
    cap = await proxied.capability()
    said = proxied.rig.url if origin == "own" else origin
    async with proxied.connect_websocket(cap + "ws", origin=said) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    names = {name for name, _ in proxied.upstream.seen[-1]["headers"]}
    assert not names & {b"cookie", b"origin", b"authorization"}


async def test_a_capability_in_another_sites_hands_opens_no_socket(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    with pytest.raises(websockets.InvalidStatus):
        await proxied.connect_websocket(
            cap + "ws", origin=websockets.Origin("https://evil.example")
        )


@pytest.mark.parametrize("path", ["/s/" + "a" * 32 + "/ws", "/", "/edit/user/alice/A9/ws"])
async def test_a_socket_to_nothing_is_refused(proxied: RunningProxy, path: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await proxied.connect_websocket(path, additional_headers=bearer("alice"))
    assert refused.value.response.status_code == 403


async def test_a_server_that_refuses_or_is_silent_is_told(proxied: RunningProxy) -> None:
    proxied.rig.stop(proxied.session)
    await proxied.rig.raw(lambda _: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice"))
    assert refused.value.response.status_code == 502


async def _ended(socket: ClientConnection) -> int | None:
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(socket.recv(), 60)
    return socket.close_code


async def test_sign_out_and_stop_close_what_is_open(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    async with proxied.connect_websocket(cap + "ws") as first:
        proxied.rig.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
        assert await _ended(first) == 1008
    cap = await proxied.capability()
    async with (
        proxied.connect_websocket(cap + "ws") as second,
        proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as third,
    ):
        proxied.rig.stop(proxied.session)
        assert await _ended(second) == 1008
        assert await _ended(third) == 1008


async def test_sockets_are_counted_and_messages_but_no_pings_are_activity(
    proxied: RunningProxy,
) -> None:
    async with proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as socket:
        await socket.send("a")
        await socket.recv()
        assert proxied.session.connections == 1
        before = proxied.rig.hub.pool.touches
        await (await socket.ping())
        assert proxied.rig.hub.pool.touches == before
        await socket.send("b")
        await socket.recv()
        assert proxied.rig.hub.pool.touches == before + 2  # one for each direction
    await asyncio.wait_for(proxied.upstream.left.wait(), 60)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_message_over_the_bound_ends_the_connection_not_the_hub(
    proxied: RunningProxy, side: str
) -> None:
    async with proxied.connect_websocket(A1 + "/ws", additional_headers=bearer("alice")) as socket:
        said = "x" * (CLIENT_MESSAGE_BYTES + 1) if side == "client" else f"say {2**26 + 1}"
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(said)
        assert await _ended(socket) == 1009


async def test_many_sockets_of_a_person_hold_little_more_than_one(proxied: RunningProxy) -> None:
    """The test's server sends each message back; what comes from it is bounded by 64 MB."""
    proxied.rig.session(proxied.path, item="A2")
    places = [A1 + "/ws", "/edit/user/alice/A2/ws"]

    def opens(place: str) -> connect:
        return proxied.connect_websocket(place, additional_headers=bearer("alice"))

    async with AsyncExitStack() as opened:
        sockets = [
            await opened.enter_async_context(opens(places[number % 2]))
            for number in range(MOST_SOCKETS)
        ]
        for place in places:
            with pytest.raises(websockets.InvalidStatus, match="503"):
                await opens(place)
        message = b"x" * (5 * 2**20)
        await sockets[11].send(message)  # 64 MB / 12
        assert await sockets[11].recv() == message
        await sockets[12].send(message)
        assert await _ended(sockets[12]) == 1009
        async with opens(places[1]) as one:
            await one.send("again")
            assert await one.recv() == "again"
