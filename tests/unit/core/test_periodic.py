"""Background loops: an unforeseen error is logged, and the loop goes on until it is stopped."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mograder.core import periodic
from mograder.core.periodic import keep_running


async def test_a_loop_goes_on_after_an_error_that_it_does_not_expect(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periodic, "_AGAIN_SECONDS", 0.0)
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
        running = asyncio.create_task(keep_running("versions", loop, stop))
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
