"""Large bodies at once take turns once they have arrived."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import Message

from mograder.web.request_body import Uploads

LIMIT = 4 * 1024 * 1024
LARGE = b"x" * (2 * 1024 * 1024)
SMALL = LARGE[: len(LARGE) // 2]


def sent(body: bytes) -> Request:
    """A request whose body has arrived."""
    arrived: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return arrived.pop()

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def silent() -> Request:
    """A request that announces a large body and sends nothing."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    length = (b"content-length", str(len(LARGE)).encode())
    return Request({"type": "http", "method": "POST", "headers": [length]}, receive)


async def test_large_bodies_wait_in_line_and_small_ones_do_not() -> None:
    uploads = Uploads(at_once=1)
    told: list[str] = []
    first_has_its_turn, first_may_go = asyncio.Event(), asyncio.Event()

    async def one(name: str, data: bytes, until: asyncio.Event | None = None) -> None:
        async with uploads.body(sent(data), LIMIT) as body:
            assert body == data
            told.append(name)
            if until:
                first_has_its_turn.set()
                await until.wait()

    first = asyncio.create_task(one("first", LARGE, first_may_go))
    await first_has_its_turn.wait()
    gone = asyncio.create_task(one("gone", LARGE))
    second = asyncio.create_task(one("second", LARGE))
    await one("small", SMALL)
    await asyncio.sleep(0.2)
    assert told == ["first", "small"]
    gone.cancel()
    first_may_go.set()
    await asyncio.gather(first, second)
    assert told == ["first", "small", "second"]


async def test_a_body_that_does_not_arrive_keeps_no_other_one_waiting() -> None:
    uploads = Uploads(at_once=1)

    async def wait() -> None:
        async with uploads.body(silent(), LIMIT):
            raise AssertionError

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    async with asyncio.timeout(20), uploads.body(sent(LARGE), LIMIT) as body:
        assert body == LARGE
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
