"""Memory for runs that no student waits for: what sessions leave free, and never their starts'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mograder.sandbox.protocol import Measured
from mograder.sessions.background_runs import has_room
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.manager import SessionManager
from mograder.sessions.memory_estimate import UNKNOWN
from tests.support.session_pools import (
    ALICE,
    BOB,
    CAROL,
    Rig,
    ignore_progress,
    soon,
    terms,
    until,
)

ONE = UNKNOWN // MEGABYTE
"""Megabytes of one session of which nothing is known."""


@asynccontextmanager
async def running(pool: SessionManager, count: int = 1) -> AsyncIterator[list[asyncio.Event]]:
    """Ask for memory of this many runs of 300 MB, which end when the block does."""
    begun = [asyncio.Event() for _ in range(count)]
    over = asyncio.Event()

    async def run(mine: asyncio.Event) -> None:
        async with pool.background.memory(2 * UNKNOWN):
            mine.set()
            await over.wait()

    async with asyncio.TaskGroup() as tasks:
        for each in begun:
            tasks.create_task(run(each))
        await asyncio.sleep(0)
        yield begun
        over.set()


@pytest.mark.parametrize(
    ("used", "others", "memory", "room"),
    [
        (0, 0, 100, True),  # the only run, on the smallest machine
        (ONE, 1, 900, True),
        (ONE, 1, 599, False),  # 150 + 300, and a quarter for the next start
        (600, 4, 1200, True),
        (601, 4, 1200, False),  # what is left is for two starts
    ],
)
def test_a_run_leaves_memory_for_the_next_starts(
    used: int, others: int, memory: int, room: bool
) -> None:
    on = terms(memory_mb=memory, starts=2)
    found = has_room(2 * UNKNOWN, used=used * MEGABYTE, others=others, limits=on)
    assert found == room


def test_a_run_waits_for_a_machine_with_room_for_it() -> None:
    assert not has_room(1, used=0, others=0, limits=terms(memory_mb=0, starts=0))
    on = terms(memory_mb=9000, starts=1)
    on.fits = lambda _: False
    assert not has_room(1, used=0, others=1, limits=on)


async def test_as_many_runs_begin_as_there_is_memory_for(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=1200, starts=2)) as pool, running(pool, 4) as begun:
        await until(lambda: sum(each.is_set() for each in begun) == 3)
        assert len(pool.background) == 1


async def test_with_a_full_house_a_start_goes_before_the_runs(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=750, starts=1)) as pool:
        for key in (ALICE, BOB):
            await pool.get_or_start(key, ignore_progress)
        async with running(pool, 3) as begun:
            await until(begun[0].is_set)
            assert len(pool.background) == 2
            await soon(pool.get_or_start(CAROL, ignore_progress))
            assert pool.tally.queue_length == 0
            assert len(pool.background) == 2
            for key in (ALICE, BOB, CAROL):
                await pool.stop(key)
            await until(begun[1].is_set)


async def test_a_start_that_waits_for_memory_gets_that_of_the_next_run_that_ends(rig: Rig) -> None:
    over = asyncio.Event()

    async def run() -> None:
        async with pool.background.memory(2 * UNKNOWN):
            await over.wait()

    async with rig.pool(terms(memory_mb=350, starts=1)) as pool:
        first, second = asyncio.create_task(run()), asyncio.create_task(run())
        await asyncio.sleep(0)
        start = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await until(lambda: pool.tally.queue_length == 1)
        over.set()
        await soon(start)
        await pool.stop(ALICE)
        await soon(asyncio.gather(first, second))


async def test_what_runs_use_counts_as_used(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=1000, starts=1)) as pool, running(pool) as begun:
        await until(begun[0].is_set)
        rig.launcher.tell(Measured(runs=900 * MEGABYTE))
        start = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await until(lambda: pool.tally.queue_length == 1)
        rig.launcher.tell(Measured(runs=400 * MEGABYTE))
        await soon(start)


async def test_a_run_that_is_cancelled_gives_its_memory_and_its_place_back(rig: Rig) -> None:
    async def run() -> None:
        async with pool.background.memory(2 * UNKNOWN):
            await asyncio.Event().wait()

    async with rig.pool(terms(memory_mb=400, starts=1)) as pool:
        holding, waits = asyncio.create_task(run()), asyncio.create_task(run())
        await until(lambda: len(pool.background) == 1)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        assert len(pool.background) == 0
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await soon(pool.get_or_start(ALICE, ignore_progress))
        async with running(pool) as begun:
            await pool.stop(ALICE)
            await until(begun[0].is_set)
