"""Background loops: an unforeseen error is logged, and the loop goes on until it is stopped."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mograder.core.errors import Busy
from mograder.core.tasks import every, repeat


@pytest.mark.parametrize(
    ("error", "said", "traced"),
    [
        (Busy("The database is locked."), "versions: The database is locked.", False),
        (OSError("disk full"), "versions: disk full", False),
        (ValueError("unforeseen"), "versions: an unexpected error", True),
    ],
)
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_job_that_failed_is_done_again_and_its_error_logged(
    error: Exception,
    said: str,
    traced: bool,
    cancelled: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    again, done = asyncio.Event(), 0

    async def job() -> None:
        nonlocal done
        done += 1
        if done == 1:
            raise error
        again.set()

    with caplog.at_level(logging.WARNING):
        if cancelled:
            loop = asyncio.create_task(repeat("versions", job, 0.0))
            await again.wait()
            loop.cancel()
        else:
            async with every(0.0, "versions", job):
                await again.wait()
    (record,) = caplog.records
    assert said in record.getMessage()
    assert (record.exc_info is not None) is traced


async def test_a_job_is_done_as_soon_as_it_is_woken() -> None:
    wake, done = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        done.set()

    async with every(3600.0, "marks", job, wake=wake):
        await done.wait()
        done.clear()
        wake.set()
        await done.wait()


async def test_a_job_that_is_under_way_at_the_end_is_waited_for() -> None:
    begun, ended = asyncio.Event(), False

    async def job() -> None:
        nonlocal ended
        begun.set()
        await asyncio.sleep(0.01)
        ended = True

    async with every(3600.0, "marks", job):
        await begun.wait()
    assert ended


async def test_a_job_that_begins_with_a_pause_is_not_done_if_all_stops_within_it() -> None:
    async def job() -> None:
        raise AssertionError("done")

    async with every(3600.0, "versions", job, at_once=False):
        await asyncio.sleep(0)
