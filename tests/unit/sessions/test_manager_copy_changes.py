"""While a student's copy changes, no session of it runs, starts or changes it."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.errors import Conflict
from mograder.sessions.manager import SessionManager
from tests.support.session_pools import ALICE, BOB, Rig, ignore_progress, soon, terms


class Change:
    """A change of alice's copy that lasts until it is let go."""

    def __init__(self, pool: SessionManager) -> None:
        self._pool = pool
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._pool.without_session(ALICE):
            assert self._pool.find(ALICE) is None
            self.begun.set()
            await self.go_on.wait()

    async def end(self) -> None:
        self.go_on.set()
        await soon(self.task)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_start_waits_until_a_change_is_over(rig: Rig) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        change = Change(pool)
        await soon(change.begun.wait())
        assert first.id not in rig.launcher.requests, "the session that ran was ended"
        starting = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await soon(pool.get_or_start(BOB, ignore_progress))
        assert not starting.done()
        assert len(rig.launcher.requests) == 1, "bob's"
        await change.end()
        assert await starting is pool.find(ALICE)


async def test_a_change_ends_a_session_that_was_just_starting(rig: Rig) -> None:
    async with rig.pool() as pool:
        starting = await rig.begin(pool)
        change = Change(pool)
        await settle()
        assert not change.begun.is_set()
        rig.server.up.set()
        await soon(change.begun.wait())
        await starting
        assert rig.launcher.requests == {}
        await change.end()


async def test_a_change_takes_a_start_out_of_the_line(rig: Rig) -> None:
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool, BOB)
        starting = await rig.line_up(pool, ALICE)
        change = Change(pool)
        with pytest.raises(Conflict, match="stopped before its turn"):
            await starting
        await soon(change.begun.wait())
        await change.end()
        rig.server.up.set()
        await first


async def test_a_change_waits_for_a_session_that_is_ending(rig: Rig) -> None:
    """It may still save."""
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, ignore_progress)
        rig.launcher.go_on.clear()
        stopping = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        change = Change(pool)
        await settle()
        assert not change.begun.is_set()
        rig.launcher.go_on.set()
        await soon(change.begun.wait())
        await stopping
        await change.end()


async def test_changes_come_one_after_the_other(rig: Rig) -> None:
    async with rig.pool() as pool:
        first, second = Change(pool), Change(pool)
        await soon(first.begun.wait())
        await settle()
        assert not second.begun.is_set()
        await first.end()
        await soon(second.begun.wait())
        await second.end()


async def test_a_change_that_is_cancelled_or_fails_holds_up_nothing(rig: Rig) -> None:
    async with rig.pool() as pool:
        first, second = Change(pool), Change(pool)
        await settle()
        for change in (second, first):
            change.task.cancel()
        await asyncio.gather(first.task, second.task, return_exceptions=True)
        with pytest.raises(ZeroDivisionError):
            async with pool.without_session(ALICE):
                raise ZeroDivisionError
        await soon(pool.get_or_start(ALICE, ignore_progress))
