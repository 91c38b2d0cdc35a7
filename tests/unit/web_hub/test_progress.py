"""Long work with news on the way."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mograder.core.errors import NotFound
from mograder.web.hub.progress import Report, Work


async def test_news_come_in_order_and_end_with_the_work() -> None:
    async def job(report: Report) -> str:
        report("one")
        await asyncio.sleep(0)
        report("two")
        return "done"

    running = Work().begin(job)
    assert [message async for message in running.news()] == ["one", "two"]
    assert await running.result() == "done"


async def test_news_may_come_from_a_thread() -> None:
    async def job(report: Report) -> None:
        thread = threading.Thread(target=report, args=["from afar"])
        thread.start()
        await asyncio.to_thread(thread.join)

    assert [message async for message in Work().begin(job).news()] == ["from afar"]


async def test_silence_is_broken_so_that_no_front_hangs_up() -> None:
    enough = asyncio.Event()

    async def job(report: Report) -> None:
        report("building")
        await enough.wait()

    heard = []
    async for message in Work(heartbeat=0.01).begin(job).news():
        heard.append(message)
        if len(heard) == 3:
            enough.set()
    assert set(heard) == {"building"}


async def test_whoever_stops_waiting_leaves_the_work_alone() -> None:
    go_on = asyncio.Event()

    async def job(_: Report) -> str:
        await go_on.wait()
        return "done"

    running = Work().begin(job)
    waiting = asyncio.create_task(running.result())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go_on.set()
    assert await running.result() == "done"


async def test_a_failure_reaches_whoever_waits() -> None:
    async def job(_: Report) -> None:
        raise NotFound("Assignment not found")

    with pytest.raises(NotFound):
        await Work().begin(job).result()


async def test_closing_ends_what_still_runs() -> None:
    work = Work()

    async def job(_: Report) -> None:
        await asyncio.Event().wait()

    running = work.begin(job)
    await work.close()
    assert running.task.cancelled()
