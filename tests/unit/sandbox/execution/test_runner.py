"""sandbox.execution.runner: nothing writes any more to what a cancelled run leaves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mograder.core.errors import TooLarge
from mograder.sandbox.execution.runner import in_thread_to_its_end


async def test_a_cancelled_call_returns_after_the_end_of_its_thread() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait()
        ended.set()

    working = asyncio.create_task(in_thread_to_its_end(work))
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
        await in_thread_to_its_end(work)
