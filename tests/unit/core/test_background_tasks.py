"""Tasks that nothing waits for are kept, and ended with their owner."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.tasks.background_tasks import BackgroundTasks


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
