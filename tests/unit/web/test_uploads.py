"""Large uploads at once wait in line."""

from __future__ import annotations

import asyncio

from mograder.web.request_body import Uploads


async def test_large_bodies_wait_in_line_and_small_ones_do_not() -> None:
    uploads = Uploads(at_once=1)
    large = 2 * 1024 * 1024
    told: list[str] = []
    first_may_go = asyncio.Event()

    async def one(name: str, size: int, until: asyncio.Event | None = None) -> None:
        async with uploads.place(size):
            told.append(name)
            if until:
                await until.wait()

    first = asyncio.create_task(one("first", large, first_may_go))
    await asyncio.sleep(0)
    gone = asyncio.create_task(one("gone", large))
    second = asyncio.create_task(one("second", large))
    third = asyncio.create_task(one("third", large))
    await asyncio.sleep(0)
    await one("small", large // 2)
    gone.cancel()
    first_may_go.set()
    await asyncio.gather(first, second, third)
    assert told == ["first", "small", "second", "third"]
