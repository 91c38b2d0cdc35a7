"""How fast one session may go: pure, with a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.rate_limit import Rate, RateLimit
from tests.support.clock import ManualClock


def test_a_burst_passes_at_once_and_what_comes_after_at_the_rate() -> None:
    clock = ManualClock()
    rate_limit = RateLimit(Rate(1000, 100), clock=clock.steady)
    assert rate_limit.debt(1000) == 0
    assert rate_limit.debt(50) == pytest.approx(0.5)
    clock.advance(0.5)
    assert rate_limit.debt(100) == pytest.approx(1.0)


def test_many_small_messages_are_bounded_by_their_number() -> None:
    rate_limit = RateLimit(Rate(1_000_000, 1_000_000), Rate(10, 5), ManualClock().steady)
    assert [rate_limit.debt(1) for _ in range(10)] == [0.0] * 10
    assert rate_limit.debt(1) == pytest.approx(0.2)


def test_rest_fills_the_bucket_up_to_its_brim_and_no_further() -> None:
    clock = ManualClock()
    rate_limit = RateLimit(Rate(1000, 100), clock=clock.steady)
    rate_limit.debt(1000)
    clock.advance(3600)
    assert rate_limit.debt(1000) == 0
    assert rate_limit.debt(100) == pytest.approx(1.0)


def test_one_message_larger_than_the_burst_passes_and_the_next_one_waits() -> None:
    rate_limit = RateLimit(Rate(1000, 100), clock=ManualClock().steady)
    assert rate_limit.debt(3000) == pytest.approx(20)


async def test_others_get_their_turn_although_nobody_ever_waits() -> None:
    rate_limit = RateLimit(Rate(1e9, 1e9))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(80):
        await rate_limit.passed(1)
    task.cancel()
    assert turns >= 9
