"""Answers of the shipped fronts to browsers while no hub answers (B19, B20).

systemd holds the hub's port. While the hub restarts, connections wait; when it cannot start, the
port is closed, and the connections that wait there are reset (``deploy/mograder-hub.service``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.contract.test_guide_fronts import guide_front
from tests.support.proxy_front import FRONTS, Standing, standing

pytestmark = pytest.mark.full

__all__ = ["standing"]

_EDITOR = "/edit/user/alice/A1/ws?session_id=s_1"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere"


async def page(url: str) -> tuple[int, str]:
    """A browser's first page."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.get(url + "/")
        return answer.status_code, answer.text


async def event_stream(url: str) -> tuple[int, str]:
    """The requests that update an open dashboard."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.get(url + "/events", headers={"Accept": "text/event-stream"})
        return answer.status_code, answer.text


async def editor(url: str) -> tuple[int, str]:
    """An editor's WebSocket."""
    try:
        async with connect(url.replace("http", "ws", 1) + _EDITOR, proxy=None, open_timeout=60):
            return 101, ""
    except InvalidStatus as refused:
        return refused.response.status_code, (refused.response.body or b"").decode()


Asking = Callable[[str], Awaitable[tuple[int, str]]]
ASKING = pytest.mark.parametrize("ask", [page, event_stream, editor])


@asynccontextmanager
async def held(port: int) -> AsyncIterator[socket.socket]:
    """The port as systemd holds it: it listens, and no process accepts."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(16)
        listening.setblocking(False)
        yield listening


async def arrival(listening: socket.socket) -> None:
    """Wait until a connection waits at the port."""
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(listening, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listening)


def assert_error_page(answer: tuple[int, str]) -> None:
    status, text = answer
    assert status == 503
    assert "The hub is not running" in text
    assert "http-equiv=refresh" in text


@ASKING
async def test_where_nothing_listens_there_is_an_error_page(
    standing: Standing, ask: Asking
) -> None:
    assert_error_page(await ask(standing.place.url))


@ASKING
async def test_a_waiting_request_gets_the_error_page_when_the_hub_cannot_start(
    standing: Standing, ask: Asking
) -> None:
    async with held(standing.place.hub_port) as listening:
        asked = asyncio.ensure_future(ask(standing.place.url))
        await arrival(listening)
        assert not asked.done()
    assert_error_page(await asked)


async def test_a_waiting_request_is_answered_when_the_hub_has_restarted(standing: Standing) -> None:
    async with held(standing.place.hub_port) as listening:
        asked = asyncio.ensure_future(page(standing.place.url))
        await arrival(listening)
        line, _ = await asyncio.get_running_loop().sock_accept(listening)
        with line:
            await asyncio.get_running_loop().sock_sendall(line, _ANSWER)
            assert await asked == (200, "here")


@pytest.mark.parametrize("program", FRONTS)
async def test_the_guides_own_fronts_answer_too(program: str, tmp_path: Path) -> None:
    """With an error of their own."""
    with guide_front(program, tmp_path / "front") as (url, hub_port):
        async with held(hub_port) as listening:
            asked = asyncio.ensure_future(page(url))
            await arrival(listening)
        assert (await asked)[0] == 502
