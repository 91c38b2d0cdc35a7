"""The written nginx and Caddy before two hubs, of which one is at work (several-hubs.md).

The hub at work is a socket of the test, which can do what a hub does only when its machine fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from mograder.core.systemd import NO_SERVICE
from mograder.web.hub.server import standing_by
from mograder.web.serving import bind
from tests.support.fronts import Place, shipped, two_ports
from tests.support.process import free_port

pytestmark = pytest.mark.full

BOTH = pytest.mark.parametrize("program", ["nginx", "caddy"])
_SECONDS = 4.0
"""How long a request takes at most, one attempt to connect to a machine without power included."""
_LATER = 6.0
"""Longer than a front looks for a hub that is at work, in seconds."""
_CLOSED = "/closed"
"""The address at which a hub closes the connection without an answer."""


@contextlib.asynccontextmanager
async def hub(port: int, name: str, closed: str = _CLOSED) -> AsyncIterator[None]:
    """A hub that answers each request with its name, but for those of the address ``closed``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 4" in head.lower():
                await reader.readexactly(4)
            if f" {closed}?later ".encode() in head:
                await asyncio.sleep(_LATER)
            if f" {closed}".encode() in head:
                return
            status = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n"
            writer.write(f"{status}{name}".encode())
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield


@contextlib.asynccontextmanager
async def waiting(port: int) -> AsyncIterator[None]:
    """A hub that waits for the end of the one at work."""
    with contextlib.closing(bind("127.0.0.1", port)) as listener:
        async with standing_by(listener, NO_SERVICE):
            yield


@contextlib.contextmanager
def machine_without_power(port: int) -> Iterator[None]:
    """A port that answers no attempt to connect: its queue is full."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        try:
            yield
        finally:
            for each in waiting:
                each.close()


def place_of_two() -> tuple[Place, int, int]:
    """The place of a front, and the ports of its two hubs."""
    (port, one), two = two_ports(), free_port()
    return Place(port=port, hubs=(f"127.0.0.1:{one}", f"127.0.0.1:{two}")), one, two


def page_of(url: str, number: int) -> str:
    """The address of a notebook's page."""
    return f"{url}/s/{number:043}/"


async def ask(http: httpx.AsyncClient, url: str, number: int) -> httpx.Response:
    """Send a request of a notebook's page: a GET or, with a body, a POST."""
    page = page_of(url, number)
    return await (http.post(page, content=b"work") if number % 2 else http.get(page))


async def answers(url: str, count: int = 40) -> set[str]:
    """Send requests of many pages, one after the other; return the names of who answered."""
    found = set()
    async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as http:
        for number in range(count):
            answer = await ask(http, url, number)
            assert answer.status_code == 200, (number, answer.text)
            found.add(answer.text)
    return found


async def noticed(url: str, name: str) -> None:
    """Wait until the front has noticed which hub is at work."""
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answered = 0
        while answered < 10:
            answer = await ask(http, url, answered)
            answered = answered + 1 if answer.text == name else 0


@BOTH
@pytest.mark.parametrize("at_work", [0, 1], ids=["first", "second"])
async def test_each_request_is_answered_by_the_hub_at_work(
    program: str, at_work: int, tmp_path: Path
) -> None:
    place, *ports = place_of_two()
    worker, other = ports[at_work], ports[1 - at_work]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(hub(worker, "at work"))
        stack.enter_context(shipped(program, place, tmp_path / "front"))
        async with waiting(other):
            if program == "caddy":
                await noticed(place.url, "at work")
            assert await answers(place.url) == {"at work"}
        assert await answers(place.url) == {"at work"}, "the other one was stopped"
        with machine_without_power(other):
            await noticed(place.url, "at work")
            assert await answers(place.url) == {"at work"}


@BOTH
async def test_the_other_hub_is_found_when_it_is_at_work(program: str, tmp_path: Path) -> None:
    place, one, two = place_of_two()
    with shipped(program, place, tmp_path / "front"):
        async with hub(one, "one"), waiting(two):
            await noticed(place.url, "one")
        async with waiting(one):
            async with waiting(two), httpx.AsyncClient(trust_env=False, timeout=60) as http:
                answer = await http.get(f"{place.url}/")
                assert answer.status_code == 503, "while none is at work"
                assert int(answer.headers["Retry-After"]) > 0
            async with hub(two, "two"):
                await noticed(place.url, "two")
                assert await answers(place.url) == {"two"}


@BOTH
async def test_a_request_that_failed_does_not_keep_others_from_the_hub_at_work(
    program: str, tmp_path: Path
) -> None:
    place, one, two = place_of_two()
    async with (
        hub(one, "one"),
        waiting(two),
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        with shipped(program, place, tmp_path / "front"):
            await noticed(place.url, "one")
            failing = asyncio.ensure_future(http.get(place.url + _CLOSED))
            failed = await http.post(place.url + _CLOSED, content=b"work")
            assert failed.status_code == 503, "the page that says so"
            assert await answers(place.url) == {"one"}
            assert (await failing).status_code == 503


async def test_nginx_does_not_repeat_a_request_that_a_hub_may_have_worked_on(
    tmp_path: Path,
) -> None:
    """The hub at work ends in the middle of it, and the other one is at work by then."""
    place, one, two = place_of_two()
    async with hub(one, "one"), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        with shipped("nginx", place, tmp_path / "front"):
            late = f"{place.url}{_CLOSED}?later"
            sent = [asyncio.ensure_future(http.post(late, content=b"work")) for _ in range(4)]
            await asyncio.sleep(_LATER / 2)
            async with hub(two, "two", closed="/none"):
                assert {(await each).status_code for each in sent} == {503}


async def test_caddy_leaves_out_a_hub_that_hangs(tmp_path: Path) -> None:
    """It connects, and nothing comes: nginx notices only a hub that cannot be reached."""
    place, one, two = place_of_two()
    with socket.create_server(("127.0.0.1", one)), shipped("caddy", place, tmp_path / "front"):
        async with hub(two, "two"):
            assert await first_answers(place.url) == {"two"}


async def first_answers(url: str) -> set[str]:
    """Send requests until none waits too long for its answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.ReadTimeout):
                return await answers(url)
