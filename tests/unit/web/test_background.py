"""Long work with news on the way."""

from __future__ import annotations

import asyncio
import threading

from mograder.web.background import Report, Work, progress_lines
from mograder.web.hub.sessions import Started


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


async def waiting_in_line(report: Report) -> None:
    report("You are number 3 in line.")
    await asyncio.Event().wait()


async def test_closing_ends_what_still_runs() -> None:
    work = Work()
    running = work.begin(waiting_in_line)
    await work.close()
    assert running.task.cancelled()


async def test_work_that_is_for_others_too_goes_on_whoever_watches() -> None:
    let_in = asyncio.Event()

    async def job(report: Report) -> Started:
        report("You are number 3 in line.")
        await let_in.wait()
        return Started(url="edit/user/alice/A1/")

    running = Work().begin(job)
    lines = progress_lines(running, "x", Started.model_dump, absent=None)
    await anext(lines)
    await lines.aclose()
    let_in.set()
    assert (await running.result()).url == "edit/user/alice/A1/"


async def test_who_looks_again_in_time_keeps_the_place() -> None:
    work = Work()
    running = work.begin(waiting_in_line)
    running.abandon(0)
    running.abandon(60)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.task.done()
    await work.close()
