"""The session proxy over real HTTP: streaming, bounds, and the end of connections.

compatibility-0.3.16.md 2.3; security.md, "The session's server is theirs too".
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import aiohttp
import httpx
import psutil
import pytest

from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import POLICY, bearer


async def test_a_body_streams_both_ways_at_once(proxied: RunningProxy) -> None:
    back: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d" % number
            assert await back.get() == b"part %d" % number  # before the next one is sent

    url = proxied.rig.url + A1 + "/stream-echo"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=body(), headers=bearer("alice")) as answer,
    ):
        async for chunk in answer.content.iter_any():
            back.put_nowait(chunk)
    assert back.empty()


async def test_a_body_over_the_bound_is_refused_announced_or_not(proxied: RunningProxy) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 2**20

    announced = await proxied.http.post(
        A1 + "/x", headers=bearer("alice"), content=b"x" * 4 * 2**20
    )
    assert (announced.status_code, announced.text) == (413, "The request exceeds 3 MB.")
    assert not proxied.upstream.seen
    streamed = await proxied.http.post(A1 + "/x", headers=bearer("alice"), content=chunks())
    assert streamed.status_code == 413
    fits = await proxied.http.post(A1 + "/x", headers=bearer("alice"), content=b"x" * 3 * 2**20)
    assert fits.json()["length"] == 3 * 2**20


async def test_a_server_that_never_answers_is_left_after_a_while() -> None:
    async with open_proxy(answer_seconds=1) as proxied:
        answer = await proxied.http.get(A1 + "/hang", headers=bearer("alice"))
        assert (answer.status_code, answer.text) == (504, "Session did not answer in time")
        await asyncio.wait_for(proxied.upstream.left.wait(), 60)


async def test_a_client_that_leaves_frees_the_server(proxied: RunningProxy) -> None:
    for path in ("/hang", "/forever"):
        proxied.upstream.left.clear()
        proxied.upstream.asked.clear()
        async with (
            aiohttp.ClientSession() as client,
            asyncio.timeout(40),
        ):
            asked = asyncio.create_task(_begin(client, proxied.rig.url + A1 + path))
            await proxied.upstream.asked.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await asyncio.wait_for(proxied.upstream.left.wait(), 60)


async def _begin(client: aiohttp.ClientSession, url: str) -> None:
    async with client.get(url, headers=bearer("alice")) as answer:
        async for _ in answer.content.iter_any():
            pass


async def test_a_slow_reader_slows_the_server_down(proxied: RunningProxy) -> None:
    reader, writer = await asyncio.open_connection(*proxied.rig.host.split(":"))
    host, token = proxied.rig.host, bearer("alice")["Authorization"]
    head = f"GET {A1}/forever HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n\r\n"
    writer.write(head.encode())
    await reader.readexactly(100_000)
    before = -1
    while before != proxied.upstream.sent:  # it stops when all buffers in between are full
        before = proxied.upstream.sent
        await asyncio.sleep(0.3)
    assert proxied.upstream.sent < 40 * 2**20
    writer.close()
    await asyncio.wait_for(proxied.upstream.left.wait(), 60)


async def test_an_answer_that_breaks_off_does_not_look_complete(proxied: RunningProxy) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await proxied.http.get(A1 + "/short", headers=bearer("alice"))


async def test_stopping_a_session_ends_what_is_open_in_it(proxied: RunningProxy) -> None:
    async with aiohttp.ClientSession() as client:
        asked = asyncio.create_task(
            client.get(proxied.rig.url + A1 + "/hang", headers=bearer("alice"))
        )
        await asyncio.wait_for(proxied.upstream.asked.wait(), 60)
        proxied.rig.stop(proxied.session)
        answer = await asyncio.wait_for(asked, 60)
        assert answer.status == 502
    await asyncio.wait_for(proxied.upstream.left.wait(), 60)


async def test_signing_out_ends_a_request_that_is_under_way(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    async with aiohttp.ClientSession() as client:
        asked = asyncio.create_task(client.get(f"{proxied.rig.url}{cap}hang"))
        await asyncio.wait_for(proxied.upstream.asked.wait(), 60)
        proxied.rig.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
        assert (await asyncio.wait_for(asked, 60)).status == 502


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ],
)
async def test_garbage_from_a_server_is_a_502(proxied: RunningProxy, answer: bytes) -> None:
    proxied.rig.stop(proxied.session)
    await proxied.rig.raw(lambda _: answer)
    got = await proxied.http.get(A1 + "/x", headers=bearer("alice"))
    assert (got.status_code, got.text) == (502, "Session unavailable")
    assert got.headers["content-security-policy"] == POLICY


async def test_a_get_survives_a_connection_that_went_stale(proxied: RunningProxy) -> None:
    proxied.rig.stop(proxied.session)
    await proxied.rig.raw(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    for _ in range(5):  # the server closes every time, without having said so
        answer = await proxied.http.get(A1 + "/x", headers=bearer("alice"))
        assert (answer.status_code, answer.text) == (200, "ok")


async def test_every_request_counts_as_activity_and_leaves_nothing_behind(
    proxied: RunningProxy,
) -> None:
    cap = await proxied.capability()
    before = proxied.rig.hub.pool.touches
    for _ in range(3):
        await proxied.http.get(cap + "x")
    assert proxied.rig.hub.pool.touches == before + 3
    await proxied.http.get(cap + "api/usage")
    assert proxied.rig.hub.pool.touches == before + 3, "a page asks this by itself"
    names = [task.get_coro() for task in asyncio.all_tasks()]
    assert not [name for name in names if "_watch" in repr(name) or "write_bytes" in repr(name)]


@pytest.mark.full
async def test_a_large_answer_passes_with_flat_memory(proxied: RunningProxy) -> None:
    async with aiohttp.ClientSession() as client:
        url = f"{proxied.rig.url}{A1}/forever"
        process, got = psutil.Process(), 0
        async with client.get(url, headers=bearer("alice")) as answer:
            await answer.content.readexactly(2**20)
            gc.collect()
            before = process.memory_info().rss
            while got < 100 * 2**20:
                got += len(await answer.content.readany())
            grown = process.memory_info().rss - before
    assert grown < 20 * 2**20
