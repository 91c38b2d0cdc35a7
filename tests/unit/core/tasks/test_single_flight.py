"""Work requested by many callers and done once: joining, progress, cancellation, closing."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.tasks import Progress, SingleFlight

Shared = SingleFlight[str, int]


class Job:
    """A piece of work that waits for the test; counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None
        self.tell: Progress = lambda _: None

    async def __call__(self, tell: Progress = lambda _: None) -> int:
        self.begun += 1
        self.tell = tell
        tell("begun")
        self.started.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return self.begun


@pytest.fixture
def shared() -> Shared:
    return SingleFlight()


@pytest.fixture
def job() -> Job:
    return Job()


async def test_all_who_ask_at_once_get_the_one_result(shared: Shared, job: Job) -> None:
    asking = [asyncio.create_task(shared.get("key", job)) for _ in range(3)]
    await job.started.wait()
    assert shared.busy("key")
    job.go_on.set()
    assert await asyncio.gather(*asking) == [1, 1, 1]
    assert not shared.busy("key")


async def test_another_key_is_other_work_and_a_later_call_begins_anew(
    shared: Shared, job: Job
) -> None:
    job.go_on.set()
    assert await asyncio.gather(*(shared.get(key, job) for key in "ab")) == [1, 2]
    assert await shared.get("a", job) == 3


async def test_progress_is_told_to_all_and_late_comers_hear_the_last_of_it(
    shared: Shared, job: Job
) -> None:
    early: list[str] = []
    late: list[str] = []
    first = asyncio.create_task(shared.get("key", job, early.append))
    await job.started.wait()
    second = asyncio.create_task(shared.get("key", job, late.append))
    await asyncio.sleep(0)
    job.tell("half way")
    job.go_on.set()
    await asyncio.gather(first, second)
    assert early == ["begun", "half way"]
    assert late == ["begun", "half way"]


async def test_one_who_leaves_neither_stops_the_work_nor_hears_more_of_it(
    shared: Shared, job: Job
) -> None:
    heard: list[str] = []
    leaving = asyncio.create_task(shared.get("key", job, heard.append))
    staying = asyncio.create_task(shared.get("key", job))
    await job.started.wait()
    leaving.cancel()
    await asyncio.wait({leaving})
    job.tell("after that")
    job.go_on.set()
    assert await staying == 1
    assert heard == ["begun"]


@pytest.mark.parametrize("failure", [None, InvalidInput("no such package")])
async def test_the_work_goes_on_when_nobody_waits_any_more(
    shared: Shared, job: Job, failure: Exception | None
) -> None:
    """A build that a student gave up waiting for is there for the next one."""
    job.failure = failure
    leaving = asyncio.create_task(shared.get("key", job))
    await job.started.wait()
    leaving.cancel()
    await asyncio.wait({leaving})
    assert shared.busy("key")
    job.go_on.set()
    await shared.settle()
    assert (job.begun, shared.busy("key")) == (1, False)


async def test_a_failure_is_told_to_all_and_the_next_call_tries_again(
    shared: Shared, job: Job
) -> None:
    job.failure = InvalidInput("no such package")
    job.go_on.set()
    results = await asyncio.gather(
        *(shared.get("key", job) for _ in range(2)), return_exceptions=True
    )
    assert results == [job.failure, job.failure]
    job.failure = None
    assert await shared.get("key", job) == 2


async def test_close_ends_what_is_under_way(shared: Shared, job: Job) -> None:
    waiting = asyncio.create_task(shared.get("key", job))
    await job.started.wait()
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not shared.busy("key")


async def test_close_also_ends_what_has_not_begun(shared: Shared, job: Job) -> None:
    waiting = asyncio.create_task(shared.get("key", job))
    await asyncio.sleep(0)  # the caller ran, its work did not yet
    assert job.begun == 0
    await shared.close()
    await asyncio.wait({waiting})
    assert (job.begun, shared.busy("key")) == (0, False)
    job.go_on.set()
    assert await shared.get("key", job) == 1


async def test_work_after_the_running_one_begins_when_that_has_ended(
    shared: Shared,
) -> None:
    first, second = Job(), Job()
    first.failure = InvalidInput("no")
    one = asyncio.shield(shared.begin("A1", first))
    await first.started.wait()
    two = asyncio.shield(shared.begin("A1", second))
    await asyncio.sleep(0)
    assert second.begun == 0
    first.go_on.set()
    with pytest.raises(InvalidInput):
        await one
    await second.started.wait()
    assert shared.busy("A1")
    second.go_on.set()
    assert await two == 1
    await asyncio.sleep(0)
    assert not shared.busy("A1")


async def test_work_after_another_goes_on_without_its_caller_and_both_are_closed(
    shared: Shared,
) -> None:
    first, second = Job(), Job()
    one = asyncio.shield(shared.begin("A1", first))
    await first.started.wait()
    two = asyncio.shield(shared.begin("A1", second))
    await asyncio.sleep(0)
    two.cancel()
    await asyncio.gather(two, return_exceptions=True)
    assert len(shared) == 1
    await shared.close()
    await asyncio.gather(one, return_exceptions=True)
    assert one.cancelled()
    assert second.begun == 0


async def test_a_task_that_ends_before_the_one_it_waited_for_is_removed_once(
    shared: Shared,
) -> None:
    """The key is free then, and its former task finds no other in its place."""
    first, second = Job(), Job()
    running = asyncio.create_task(shared.get("a", first))
    await first.started.wait()
    chained = asyncio.shield(shared.begin("a", second))
    await asyncio.sleep(0)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    await shared.close()
    await asyncio.gather(running, chained, return_exceptions=True)
    assert failures == []
    assert len(shared) == 0


async def test_closing_waits_also_for_a_task_that_another_one_waits_for(
    shared: Shared,
) -> None:
    first, second = Job(), Job()
    ended: list[str] = []

    async def slow(tell: Progress) -> int:
        try:
            return await first(tell)
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ended.append("first")

    running = asyncio.create_task(shared.get("a", slow))
    await first.started.wait()
    chained = asyncio.shield(shared.begin("a", second))
    await asyncio.sleep(0)
    await shared.close()
    assert ended == ["first"]
    await asyncio.gather(running, chained, return_exceptions=True)
