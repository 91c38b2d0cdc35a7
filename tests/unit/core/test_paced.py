"""Calls at most so often: at once, then together, and never without the last one."""

from __future__ import annotations

import asyncio

from mograder.core.tasks.background_tasks import Paced


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
