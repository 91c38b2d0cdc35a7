"""Answers of the written nginx and Caddy while one of several hubs is away (nodes.md, "Two hubs").

The hubs are sockets of the test, which can do what a hub does only when its machine fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fronts import Place, shipped, two_ports
from tests.support.process import free_port

pytestmark = pytest.mark.full

BOTH = pytest.mark.parametrize("program", ["nginx", "caddy"])
_SECONDS = 4.0
"""How long a request takes at most, one attempt to connect to a machine without power included."""
_CLOSED = "/closed"
"""The address at which a hub closes the connection without an answer."""


@contextlib.asynccontextmanager
async def hub(port: int, name: str) -> AsyncIterator[None]:
    """A hub that answers each request with its name."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 4" in head.lower():
                await reader.readexactly(4)
            if f" {_CLOSED} ".encode() in head:
                return
            status = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n"
            writer.write(f"{status}{name}".encode())
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
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


async def answers(url: str, count: int = 40) -> set[str]:
    """Send requests of many pages, one after the other; return the names of who answered."""
    found = set()
    async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as http:
        for number in range(count):
            page = page_of(url, number)
            answer = await (http.post(page, content=b"work") if number % 2 else http.get(page))
            assert answer.status_code == 200, (number, answer.text)
            found.add(answer.text)
    return found


async def both_answer(url: str) -> None:
    """Wait until the front has noticed that both hubs answer."""
    async with asyncio.timeout(60):
        while await answers(url) != {"one", "two"}:
            pass


async def notices(url: str) -> None:
    """Wait until Caddy has noticed that a hub is away.

    Before that a POST that it tried to send there fails: versions before March 2026 lose its body
    (caddyserver/caddy#7546).
    """
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answered = 0
        while answered < 40:
            answer = await http.post(page_of(url, answered), content=b"work")
            answered = answered + 1 if answer.is_success else 0


@BOTH
async def test_each_request_is_answered_by_a_hub_that_can_be_reached(
    program: str, tmp_path: Path
) -> None:
    place, one, two = place_of_two()
    async with hub(one, "one"):
        with shipped(program, place, tmp_path / "front"):
            async with hub(two, "two"):
                await both_answer(place.url)
            if program == "caddy":
                await notices(place.url)
            assert await answers(place.url) == {"one"}, "the other one was stopped"
            with machine_without_power(two):
                assert await answers(place.url) == {"one"}
            async with hub(two, "two"):
                await both_answer(place.url)


@BOTH
async def test_a_request_that_failed_does_not_keep_others_from_the_only_hub(
    program: str, tmp_path: Path
) -> None:
    place, one, _ = place_of_two()
    async with (
        hub(one, "one"),
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        with shipped(program, place, tmp_path / "front"):
            failing = asyncio.ensure_future(http.get(place.url + _CLOSED))
            failed = await http.post(place.url + _CLOSED, content=b"work")
            assert failed.status_code == 503, "the page that says so"
            assert await answers(place.url) == {"one"}
            assert (await failing).status_code == 503


async def hubs_of(page: str) -> set[str]:
    """Send several requests of one page; return the names of who answered."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        told = {(await http.get(f"{page}api/{number}?{number}")).text for number in range(10)}
        return told | {(await http.post(f"{page}api/x", content=b"work")).text}


@BOTH
async def test_all_requests_of_a_page_go_to_one_hub(program: str, tmp_path: Path) -> None:
    """One could overtake another otherwise: a cell's run the page's first request, for example."""
    place, one, two = place_of_two()
    pages = [page_of(place.url, number) for number in range(10)]
    pages += [f"{place.url}/edit/user/student{number}/A1/" for number in range(10)]
    async with hub(one, "one"), hub(two, "two"):
        with shipped(program, place, tmp_path / "front"):
            await both_answer(place.url)
            found = [await hubs_of(page) for page in pages]
    assert {len(hubs) for hubs in found} == {1}


async def test_caddy_leaves_out_a_hub_that_hangs(tmp_path: Path) -> None:
    """It connects, and nothing comes: nginx notices only a hub that cannot be reached."""
    place, one, two = place_of_two()
    async with hub(one, "one"):
        with socket.create_server(("127.0.0.1", two)), shipped("caddy", place, tmp_path / "front"):
            assert await first_answers(place.url) == {"one"}


async def first_answers(url: str) -> set[str]:
    """Send requests until none waits too long for its answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.ReadTimeout):
                return await answers(url)
