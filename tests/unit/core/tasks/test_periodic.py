"""Background loops: an unforeseen error is logged, and the loop goes on until it is stopped."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mograder.core.errors import Busy
from mograder.core.tasks.periodic import keep_running, repeat


async def test_a_loop_goes_on_after_an_error_that_it_does_not_expect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop, again = asyncio.Event(), asyncio.Event()
    begun = 0

    async def loop(stop: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise ValueError("unforeseen")
        again.set()
        await stop.wait()

    with caplog.at_level(logging.ERROR):
        running = asyncio.create_task(keep_running("versions", loop, stop, 0.0))
        await again.wait()
        stop.set()
        await running
    assert "versions: an unexpected error" in caplog.text
    assert "unforeseen" in caplog.text


async def test_a_loop_that_fails_while_all_is_stopped_is_not_begun_again() -> None:
    stop = asyncio.Event()

    async def loop(stop: asyncio.Event) -> None:
        stop.set()
        raise ValueError("unforeseen")

    await keep_running("versions", loop, stop)


@pytest.mark.parametrize(
    ("error", "said", "traced"),
    [
        (Busy("The database is locked."), "versions: The database is locked.", False),
        (OSError("disk full"), "versions: disk full", False),
        (ValueError("unforeseen"), "versions: an unexpected error", True),
    ],
)
async def test_a_job_that_failed_is_done_again_and_its_error_logged(
    error: Exception, said: str, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stop, done = asyncio.Event(), 0

    async def job() -> None:
        nonlocal done
        done += 1
        if done == 1:
            raise error
        stop.set()

    with caplog.at_level(logging.WARNING):
        await repeat("versions", job, 0.0, stop)
    assert done == 2
    (record,) = caplog.records
    assert said in record.getMessage()
    assert (record.exc_info is not None) is traced


async def test_a_job_is_done_as_soon_as_it_is_woken() -> None:
    stop, wake, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job() -> None:
        done.set()

    running = asyncio.create_task(repeat("marks", job, 3600.0, stop, wake=wake))
    await done.wait()
    done.clear()
    wake.set()
    await done.wait()
    stop.set()
    wake.set()
    await running


async def test_a_job_that_begins_with_a_pause_is_not_done_if_all_stops_within_it() -> None:
    stop = asyncio.Event()

    async def job() -> None:
        raise AssertionError("done")

    running = asyncio.create_task(repeat("versions", job, 3600.0, stop, at_once=False))
    await asyncio.sleep(0)
    stop.set()
    await running
