"""Tasks that nothing waits for are kept, and ended with their owner."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mograder.core.errors import TooLarge
from mograder.core.tasks import BackgroundTasks, Paced, to_its_end


async def test_an_owner_that_closes_ends_its_tasks_and_waits_for_them() -> None:
    tasks, ended = BackgroundTasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    started = [tasks.start(work()), tasks.start(work())]
    await asyncio.sleep(0)
    await tasks.close()
    assert ended == [True, True]
    assert all(each.cancelled() for each in started)


async def test_a_task_that_has_ended_is_not_kept() -> None:
    tasks = BackgroundTasks()
    await tasks.start(asyncio.sleep(0))
    assert tasks.cancel() == ()


async def test_an_owner_may_wait_for_its_tasks_and_hears_of_a_failure() -> None:
    tasks = BackgroundTasks()

    async def fails() -> None:
        raise ValueError("unforeseen")

    tasks.start(fails())
    with pytest.raises(ValueError, match="unforeseen"):
        await tasks.wait()


async def test_many_requests_are_two_calls_the_first_at_once_and_the_last_in_time() -> None:
    made: list[int] = []
    over = asyncio.Event()
    asked = 0

    def call() -> None:
        made.append(asked)
        if asked == 100:
            over.set()

    paced = Paced(call, 0.02)
    for number in range(1, 101):
        asked = number
        paced()
    assert made == [1]
    await over.wait()
    assert made == [1, 100]


async def test_a_call_now_is_the_one_that_was_waited_for() -> None:
    made: list[float] = []
    loop = asyncio.get_running_loop()
    paced = Paced(lambda: made.append(loop.time()), 3600)
    for ask in (paced, paced, paced.now):
        ask()
    assert len(made) == 2
    paced()
    paced.close()
    paced.close()
    assert len(made) == 2


async def test_a_cancelled_call_returns_after_the_end_of_its_thread() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait()
        ended.set()

    working = asyncio.create_task(to_its_end(work))
    await asyncio.to_thread(began.wait)
    working.cancel()
    done, _ = await asyncio.wait({working}, timeout=0)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_an_error_in_the_thread_is_raised() -> None:
    def work() -> None:
        raise TooLarge("too many files")

    with pytest.raises(TooLarge):
        await to_its_end(work)
