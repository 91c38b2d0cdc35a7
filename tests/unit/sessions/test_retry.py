"""What is repeated until it succeeds goes on saying that it does not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mograder.core import tasks
from mograder.core.errors import Busy


async def test_a_failure_that_lasts_is_told_each_minute_and_its_end_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses between become longer, for three hundred sessions may end on a full disk."""
    caplog.set_level(logging.INFO, logger=tasks.__name__)
    left, pauses = 10, list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def attempt() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise Busy("The database is locked.")
        return "done"

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await tasks.retried(attempt, "the row stays", longest_seconds=30) == "done"
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert [record.getMessage() for record in caplog.records] == [
        "the row stays: The database is locked.",
        "the row stays: The database is locked. (7 failures before)",
        "the row stays: The database is locked. (9 failures before)",
        "the row stays: succeeded after 10 failures",
    ]


async def test_what_succeeds_at_once_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=tasks.__name__)

    async def attempt() -> int:
        return 7

    assert await tasks.retried(attempt, "trouble", longest_seconds=30) == 7
    assert not caplog.records
