"""The rows of grading jobs, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Conflict
from mograder.grading.submissions.grading_jobs import Counts, GradingJobs, GradingRequest
from mograder.store.hub.grading_jobs import JobRow, JobState, KeptJobs
from tests.support.clock import ManualClock
from tests.support.threads import at_once

NOW = datetime(2026, 11, 20, 9, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def jobs(engine: Engine) -> KeptJobs:
    return KeptJobs(engine)


def add(jobs: KeptJobs, item: str = "A1", *students: str) -> JobRow:
    return jobs.add(item, "prof", students, NOW, force=True, failed_only=False)


def test_a_job_is_found_as_it_was_added(jobs: KeptJobs) -> None:
    row = add(jobs, "A1", "alice", "jürgen")
    assert jobs.of("A1") == row
    assert (row.state, row.students, row.force) == (JobState.QUEUED, ("alice", "jürgen"), True)
    assert (row.asked_at, row.started_at, row.ended_at) == (NOW, None, None)
    assert jobs.of("A2") is None


def test_jobs_are_open_in_the_order_of_arrival_until_they_end(jobs: KeptJobs) -> None:
    first, second, third = add(jobs, "B"), add(jobs, "A"), add(jobs, "C")
    jobs.begin(second.number, NOW)
    jobs.end(third.number, JobState.FAILED, NOW, "why")
    assert [row.number for row in jobs.open()] == [first.number, second.number]


def test_an_item_has_one_job_and_a_new_one_replaces_the_one_that_ended(jobs: KeptJobs) -> None:
    first = add(jobs)
    with pytest.raises(Conflict, match="A1 is being graded already"):
        add(jobs)
    later = add(jobs, "A2")
    jobs.end(first.number, JobState.DONE, NOW)
    again = add(jobs)
    assert jobs.of("A1") == again
    assert [row.item for row in jobs.open()] == ["A2", "A1"]
    assert again.number > later.number


def test_a_job_that_is_being_cancelled_does_not_end_the_one_that_replaces_it(
    jobs: KeptJobs,
) -> None:
    cancelled = add(jobs)
    jobs.begin(cancelled.number, NOW)
    jobs.end(cancelled.number, JobState.CANCELLED, NOW)
    again = add(jobs)
    jobs.count(cancelled.number, total=9, completed=4, attention=0)  # its batch is still ending
    jobs.end(cancelled.number, JobState.CANCELLED, NOW)
    assert jobs.of("A1") == again


def test_two_requests_at_the_same_time_make_one_job(jobs: KeptJobs) -> None:
    def ask(_: int) -> bool:
        try:
            add(jobs)
        except Conflict:
            return False
        return True

    assert at_once(4, ask).count(True) == 1


def test_a_job_that_is_run_again_counts_from_the_start(jobs: KeptJobs) -> None:
    row = add(jobs)
    assert jobs.begin(row.number, NOW)
    problems = [("bob", "it's \0 a link"), *[("", "x" * 2000)] * 300]
    jobs.count(row.number, total=9, completed=4, attention=1, problems=problems)
    counted = jobs.of("A1")
    assert counted is not None
    assert (counted.total, counted.completed, counted.attention) == (9, 4, 1)
    assert counted.problems[0] == ("bob", "it's � a link")
    assert (len(counted.problems), len(counted.problems[1][1])) == (200, 1000)
    later = NOW + timedelta(hours=1)
    assert jobs.begin(row.number, later)
    running = replace(row, state=JobState.RUNNING, started_at=later, attempts=2)
    assert jobs.of("A1") == running
    jobs.put_back(row.number)
    assert jobs.of("A1") == replace(running, attempts=1)


def test_a_job_that_has_ended_stays_as_it_ended(jobs: KeptJobs) -> None:
    row = add(jobs)
    jobs.end(row.number, JobState.CANCELLED, NOW)
    jobs.end(row.number, JobState.FAILED, NOW, "late")
    assert not jobs.begin(row.number, NOW)
    found = jobs.of("A1")
    assert found == replace(row, state=JobState.CANCELLED, ended_at=NOW)


def test_a_long_error_with_any_characters_is_kept_in_short(jobs: KeptJobs) -> None:
    row = add(jobs)
    jobs.end(row.number, JobState.FAILED, NOW, "\0\ud800" + "x" * 5000)
    found = jobs.of("A1")
    assert found is not None
    assert len(found.error) == 1000


class Graders:
    """A batch that waits until it may end, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[GradingRequest] = []
        self.running = asyncio.Event()
        self.may_end = asyncio.Event()

    @property
    def begun(self) -> int:
        return len(self.asked)

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None], /
    ) -> Counts:
        self.asked.append(request)
        progress(Counts(1))
        self.running.set()
        await self.may_end.wait()
        return Counts(1, 1)


async def ended(queue: GradingJobs, changed: asyncio.Event) -> JobRow:
    """Return the job of A1 when it has ended."""
    async with asyncio.timeout(30):
        while True:
            changed.clear()
            row = await queue.of("A1")
            if row is not None and row.state.ended:
                return row
            await changed.wait()


async def test_a_job_that_has_ended_the_hub_three_times_is_given_up(jobs: KeptJobs) -> None:
    row = add(jobs)
    for _ in range(3):
        assert jobs.begin(row.number, NOW)
    graders, changed = Graders(), asyncio.Event()
    queue = GradingJobs(jobs, graders, ManualClock())
    queue.on_change = lambda _: changed.set()
    await queue.open()
    try:
        found = await ended(queue, changed)
    finally:
        await queue.close()
    assert (found.state, graders.begun) == (JobState.FAILED, 0)
    assert found.error.startswith("The hub ended 3 times while this ran")
    assert "If it lost the database, grade again" in found.error


@pytest.mark.parametrize("force", [False, True])
async def test_a_request_while_the_same_is_run_is_run_after_it(jobs: KeptJobs, force: bool) -> None:
    """A job that had read the source before it was corrected was the answer to "Grade"."""
    graders, request = Graders(), GradingRequest(("alice",), force=force)
    queue = GradingJobs(jobs, graders, ManualClock())
    await queue.open()
    try:
        first = await queue.ask("A1", "prof", request)
        async with asyncio.timeout(30):
            await graders.running.wait()
            graders.running.clear()
            assert (await queue.ask("A1", "mia", request)).number == first.number
            graders.may_end.set()
            await graders.running.wait()
        again = await queue.of("A1")
        assert again is not None
        assert (again.who, again.students, again.force) == ("mia", ("alice",), False)
    finally:
        await queue.close()
    assert graders.begun == 2
    assert graders.asked[1] == GradingRequest(("alice",)), "what the first job made is new"


async def test_a_second_request_outlives_a_hub_that_stops_before_its_turn(jobs: KeptJobs) -> None:
    """A job that went on took for new what it had graded before the source was corrected."""
    graders, clock, request = Graders(), ManualClock(), GradingRequest(force=True)
    queue = GradingJobs(jobs, graders, clock)
    await queue.open()
    async with asyncio.timeout(30):
        await queue.ask("A1", "prof", request)
        await graders.running.wait()
        clock.advance(600)
        await queue.ask("A1", "prof", request)
        await queue.close()
        graders.running.clear()
        queue = GradingJobs(jobs, graders, clock)
        await queue.open()
        await graders.running.wait()
        await queue.close()
    assert [each.since for each in graders.asked] == [None, clock.now()]


async def test_a_request_while_the_same_is_run_ends_when_that_is_cancelled(jobs: KeptJobs) -> None:
    graders = Graders()
    queue = GradingJobs(jobs, graders, ManualClock())
    await queue.open()
    try:
        await queue.ask("A1", "prof", GradingRequest())
        async with asyncio.timeout(30):
            await graders.running.wait()
            await queue.ask("A1", "prof", GradingRequest())
            assert await queue.cancel("A1")
        assert jobs.open() == ()
    finally:
        await queue.close()
    assert graders.begun == 1


async def test_a_hub_that_stops_in_order_does_not_count_as_an_attempt(jobs: KeptJobs) -> None:
    add(jobs)
    graders = Graders()
    for _ in range(4):
        graders.running.clear()
        queue = GradingJobs(jobs, graders, ManualClock())
        await queue.open()
        async with asyncio.timeout(30):
            await graders.running.wait()
        await queue.close()
        row = jobs.of("A1")
        assert row is not None
        assert (row.state, row.attempts) == (JobState.RUNNING, 0)
    assert graders.begun == 4


async def test_an_error_of_what_is_told_of_changes_does_not_touch_a_job(jobs: KeptJobs) -> None:
    add(jobs)
    graders, changed = Graders(), asyncio.Event()
    graders.may_end.set()

    def fails(item: str) -> None:
        changed.set()
        raise RuntimeError(item)

    queue = GradingJobs(jobs, graders, ManualClock())
    queue.on_change = fails
    await queue.open()
    try:
        found = await ended(queue, changed)
    finally:
        await queue.close()
    assert (found.state, found.completed, graders.begun) == (JobState.DONE, 1, 1)
