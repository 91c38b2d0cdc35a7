"""Many starts at once: all pages are served before the first kernels run, within a bound."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.session import LiveSession, SessionKey
from tests.support.session_pools import soon, terms
from tests.unit.sessions.queue_support import Queue, settle

ALMOST = 1.99
"""Seconds after which a session has waited almost as long as any does."""


def started(queue: Queue, seconds_ago: float = 0.0) -> LiveSession:
    """A session that was started so long ago."""
    at = queue.clock.now() - timedelta(seconds=seconds_ago)
    key = SessionKey("alice", "A1", Mode.EDIT)
    return LiveSession("s", key, Endpoint(Path("/socket")), "/edit", "1", at, at)


async def test_a_kernel_waits_until_all_who_came_with_it_have_their_page() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2):
        await queue.come(number)
    kernel = asyncio.create_task(queue.line.pages_first(started(queue)))
    await settle()
    assert not kernel.done()
    await queue.answer(1)
    assert not kernel.done(), "the second is still starting"
    await queue.answer(2)
    assert kernel.done()
    await queue.close()


async def test_a_kernel_waits_for_nobody_when_there_is_no_line() -> None:
    queue = Queue(terms(starts=2))
    await queue.come(1)
    await soon(queue.line.pages_first(started(queue)))
    await queue.close()


async def test_a_session_from_before_the_crowd_does_not_wait() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2):
        await queue.come(number)
    kernel = asyncio.create_task(queue.line.pages_first(started(queue, 60.0)))
    await settle()
    assert kernel.done()
    await queue.close()


async def test_a_kernel_does_not_wait_for_ever() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2):
        await queue.come(number)
    await soon(queue.line.pages_first(started(queue, ALMOST)))
    await queue.close()


async def test_a_line_for_memory_holds_no_kernel_back() -> None:
    queue = Queue(terms(memory_mb=100, starts=5))
    for number in (1, 2):
        await queue.come(number)
    assert queue.inside == [1]
    await queue.answer(1)
    await soon(queue.line.pages_first(started(queue)))
    await queue.close()
