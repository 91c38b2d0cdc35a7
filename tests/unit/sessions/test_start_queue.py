"""The start queue: order, no starvation, and the reported place (decision 25)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.core.errors import Busy, Conflict
from mograder.sessions.capacity import MEGABYTE, CapacityLimits
from mograder.sessions.start_queue import (
    Obstacle,
    obstacle,
    place_text,
    retry_after,
)
from tests.support.session_pools import soon, terms
from tests.unit.sessions.queue_support import Queue

OPENS = "Your notebook opens by itself."

# --- deciding -------------------------------------------------------------------------------


def test_a_start_is_kept_out_by_places_by_memory_or_not_at_all() -> None:
    on = terms(memory_mb=100, starts=2)
    full = 100 * MEGABYTE
    assert obstacle(full, used=0, sessions=1, starting=1, limits=on) is None
    assert obstacle(1, used=0, sessions=2, starting=2, limits=on) is Obstacle.PLACES
    assert obstacle(1, used=full, sessions=1, starting=0, limits=on) is Obstacle.MEMORY


def test_without_a_machine_every_start_waits_for_one() -> None:
    none = terms(memory_mb=0, starts=0)
    assert obstacle(1, used=0, sessions=0, starting=0, limits=none) is Obstacle.MACHINES
    assert "no machine is ready yet" in place_text(1, Obstacle.MACHINES)
    assert none.most_expected > 10**12, "what a session will need is not known to be less"


def test_memory_that_no_single_machine_has_is_an_obstacle() -> None:
    on = terms(memory_mb=1000)
    on.fits = lambda expected: expected <= 100
    assert obstacle(100, used=0, sessions=5, starting=0, limits=on) is None
    assert obstacle(101, used=0, sessions=5, starting=0, limits=on) is Obstacle.MEMORY


async def test_starts_that_wait_for_a_machine_are_admitted_when_there_is_one() -> None:
    queue = Queue(terms(memory_mb=0, starts=0))
    await queue.come(1)
    assert queue.told[1] == ["You are number 1 in line: no machine is ready yet. " + OPENS]
    queue.on.memory, queue.on.starts = 10**9, 4
    queue.line.pump()
    await queue.answer(1)
    assert queue.inside == [1]
    await queue.close()


async def test_what_no_machine_has_room_for_is_what_others_are_to_free() -> None:
    queue = Queue(terms(memory_mb=1000))
    queue.on.fits = lambda expected: expected < 50 * MEGABYTE
    await queue.come(1, 40)
    await queue.come(2, 60)
    assert queue.line.shortage() == 60 * MEGABYTE
    await queue.close()


def test_where_nothing_runs_one_start_is_let_in_whatever_it_needs() -> None:
    on = terms(memory_mb=100)
    assert obstacle(10**12, used=10**12, sessions=0, starting=0, limits=on) is None


def test_the_time_to_ask_again_follows_the_pace_of_the_line_within_reason() -> None:
    assert retry_after([], 1000) == 60
    assert retry_after([0.0, 1.0, 2.0], 100) == 100
    assert retry_after([0.0, 0.001], 10) == 10
    assert retry_after([0.0, 1000.0], 1000) == 300


# --- the order ------------------------------------------------------------------------------


async def test_those_who_came_first_are_let_in_first() -> None:
    queue = Queue(terms(starts=2))
    for number in (1, 2, 3, 4):
        await queue.come(number)
    assert queue.inside == [1, 2]
    await queue.answer(2)
    assert queue.inside == [1, 2, 3]
    await queue.answer(1)
    assert queue.inside == [1, 2, 3, 4]
    assert queue.tally.queue_length == 0
    await queue.close()


async def test_who_asked_first_stands_first_even_if_its_software_took_longer() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 3, 4, 2):
        await queue.come(number)
    await queue.answer(1)
    await queue.answer(2)
    assert queue.inside == [1, 2, 3]
    await queue.close()


async def test_a_small_start_does_not_overtake_a_large_one() -> None:
    queue = Queue(terms(memory_mb=300))
    await queue.come(1, 200)
    await queue.come(2, 200)
    await queue.come(3, 50)
    assert queue.inside == [1]
    await queue.end(1)
    assert queue.inside == [1, 2, 3]
    await queue.close()


async def test_one_who_goes_away_leaves_the_line_to_the_others() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    await queue.leave(2)
    assert len(queue.line) == 1
    await queue.answer(1)
    assert queue.inside == [1, 3]
    await queue.close()


async def test_a_large_one_that_goes_away_no_longer_keeps_the_small_ones_out() -> None:
    queue = Queue(terms(memory_mb=300))
    await queue.come(1, 200)
    await queue.come(2, 200)
    await queue.come(3, 50)
    await queue.leave(2)
    assert queue.inside == [1, 3]
    await queue.close()


async def test_one_who_is_cancelled_at_the_moment_of_being_let_in_takes_no_place() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    await queue.tasks[1]
    queue.line.leave(queue.tickets[1])  # 2 is let in now, and does not know it yet
    assert queue.tickets[2].admitted.done()
    await queue.leave(2)
    assert queue.inside == [1, 2, 3]
    assert len(queue.ledger) == 2, "what 2 would have used is not counted"
    await queue.close()


async def test_one_who_is_told_to_leave_hears_why() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    assert queue.line.dismiss(queue.tickets[2].key)
    assert not queue.line.dismiss(queue.tickets[2].key)
    assert not queue.line.dismiss(queue.tickets[1].key), "who was let in waits no more"
    with pytest.raises(Conflict, match="before its turn"):
        await queue.tasks[2]
    await queue.answer(1)
    assert queue.inside == [1, 3]
    await queue.close()


async def test_a_full_line_says_when_to_ask_again() -> None:
    queue = Queue(terms(starts=1, line=2))
    for number in (1, 2, 3, 4):
        await queue.come(number)
    with pytest.raises(Busy) as refused:
        await queue.tasks[4]
    assert refused.value.retry_after == 60
    assert queue.tally.starts["unknown", "refused"] == 1
    await queue.close()


async def test_a_server_that_hangs_keeps_others_out_for_a_moment_only() -> None:
    """Else a handful of students with a trick could keep everybody from starting."""
    queue = Queue(terms(starts=1), seconds=0.01)
    await queue.come(1)
    await queue.come(2)
    await soon(queue.tasks[2])
    assert queue.inside == [1, 2]
    await queue.answer(1)
    await queue.come(3)
    await soon(queue.tasks[3])
    await queue.close()


# --- the places -----------------------------------------------------------------------------


async def test_everybody_is_told_the_place_and_every_step_forward() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    assert queue.told[1] == []
    assert queue.told[2] == [place_text(1, Obstacle.PLACES)]
    assert queue.told[3] == [place_text(2, Obstacle.PLACES)]
    assert queue.told[3][0].startswith("You are number 2 in line: ")
    await queue.answer(1)
    await soon(_until_told(queue, 3, 2))
    assert queue.told[3][-1] == place_text(1, Obstacle.PLACES)
    assert queue.told[2] == [place_text(1, Obstacle.PLACES)], "who was let in hears no more"
    await queue.close()


async def test_who_waits_for_memory_is_told_so() -> None:
    queue = Queue(terms(memory_mb=100))
    await queue.come(1)
    await queue.come(2)
    assert queue.told[2] == [place_text(1, Obstacle.MEMORY)]
    assert queue.line.pressed.is_set()
    assert queue.line.shortage() == 100 * MEGABYTE
    await queue.end(1)
    assert not queue.line.pressed.is_set()
    assert queue.line.shortage() == 0
    await queue.close()


async def _until_told(queue: Queue, number: int, times: int) -> None:
    while len(queue.told[number]) < times:  # noqa: ASYNC110 - the queue appends to a list
        await asyncio.sleep(0.01)


# --- whatever happens -----------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "answer", "end", "leave"]), st.integers(1, 400)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, starts=st.integers(1, 4), memory=st.integers(1, 500))
def test_whatever_happens_the_order_and_the_bounds_hold_and_nobody_starves(
    steps: list[Step], starts: int, memory: int
) -> None:
    asyncio.run(_live_through(steps, terms(starts=starts, memory_mb=memory)))


async def _live_through(steps: list[Step], on: CapacityLimits) -> None:
    queue = Queue(on)
    answered: set[int] = set()
    ended: set[int] = set()
    left: set[int] = set()
    for what, value in steps:
        inside = [number for number in queue.order if number not in ended]
        waiting = [each for each in queue.tasks if each not in queue.order and each not in left]
        if what == "come":
            await queue.come(len(queue.tasks) + 1, value)
        elif what == "leave" and waiting:
            left.add(waiting[value % len(waiting)])
            await queue.leave(waiting[value % len(waiting)])
        elif what == "answer" and inside:
            answered.add(inside[value % len(inside)])
            await queue.answer(inside[value % len(inside)])
        elif what == "end" and inside:
            ended.add(inside[value % len(inside)])
            await queue.end(inside[value % len(inside)])
        _check(queue, answered | ended, ended, left)
    for number in queue.tasks:
        if number not in left:
            await asyncio.wait_for(asyncio.shield(queue.tasks[number]), 5)
            await queue.end(number)
    assert queue.order == [number for number in queue.tasks if number not in left]
    await queue.close()


def _check(queue: Queue, quiet: set[int], ended: set[int], left: set[int]) -> None:
    assert queue.order == sorted(queue.order), "nobody overtakes"
    starting = [number for number in queue.order if number not in quiet]
    assert len(starting) <= queue.on.starts
    inside = [number for number in queue.order if number not in ended]
    used = sum(queue.tickets[number].expected for number in inside)
    assert used <= queue.on.memory or len(inside) == 1
    waiting = [each for each in queue.tasks if each not in queue.order and each not in left]
    if waiting:
        first = queue.tickets[waiting[0]].expected
        full = len(starting) >= queue.on.starts or (inside and used + first > queue.on.memory)
        assert full, "nobody waits without a reason"
