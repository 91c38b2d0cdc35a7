"""No row outlives its session: the database fails at the worst moment; the notebook opens again."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Busy, MograderError
from mograder.sessions.session import SessionKey
from mograder.store.hub.hub_tables import EndingRow, SessionRow
from mograder.store.hub.session_locks import SessionLocks
from tests.support.hub_pools import Hub, Sandboxes, hub_on, people
from tests.support.session_pools import ALICE, ignore_progress, until


class FaultyLocks(SessionLocks):
    """Locks on a database that fails: while ``away`` at each removal, and after some commits.

    ``then`` is called in the thread of a call that has been committed, by the call's name, once.
    """

    def __init__(self, engine: Engine, hub_id: str) -> None:
        super().__init__(engine, hub_id)
        self.away: Exception | None = None
        self.then: dict[str, Callable[[str], None]] = {}

    def add(self, row: SessionRow) -> None:
        super().add(row)
        self._committed("add", row.session_id)

    def run(self, session_id: str, socket: str, node: str) -> bool:
        done = super().run(session_id, socket, node)
        self._committed("run", session_id)
        return done

    def remove(
        self, session_id: str, ending: EndingRow | None = None, *, forget_before: datetime | None
    ) -> bool:
        if self.away is not None:
            raise self.away
        return super().remove(session_id, ending, forget_before=forget_before)

    def _committed(self, name: str, session_id: str) -> None:
        then = self.then.pop(name, None)
        if then is not None:
            then(session_id)


@pytest.fixture
def sandboxes(engine: Engine) -> Sandboxes:
    """The sandboxes of both hubs, on a database with tables."""
    del engine
    return Sandboxes(random.Random(7))


@pytest.fixture
async def two(url: str, sandboxes: Sandboxes) -> AsyncIterator[tuple[Hub, Hub]]:
    """Two hubs; the first one's database fails when the test says so."""
    async with (
        hub_on(url, sandboxes, locks=FaultyLocks) as one,
        hub_on(url, sandboxes) as other,
    ):
        yield one, other


def locks_of(hub: Hub) -> FaultyLocks:
    assert isinstance(hub.shared.locks, FaultyLocks)
    return hub.shared.locks


def no_answer(_: str) -> None:
    raise Busy("The connection broke after the commit.")


async def no_rows(hub: Hub) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(hub.shared.locks.all):  # noqa: ASYNC110 - it is a database
            await asyncio.sleep(0.02)


async def opens_again(hub: Hub, sandboxes: Sandboxes) -> None:
    """The notebook opens at a hub, and the session that it gets lives."""
    async with asyncio.timeout(20):
        live = await hub.pool.get_or_start(ALICE, ignore_progress)
    assert live.id in sandboxes.live
    assert people(sandboxes) == ["alice"]
    assert sandboxes.faults == []


@pytest.mark.parametrize("error", [Busy("away"), RuntimeError("a read-only standby")], ids=str)
async def test_a_crash_while_the_database_is_away(
    two: tuple[Hub, Hub], sandboxes: Sandboxes, error: Exception
) -> None:
    one, other = two
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    other.view.connected = False
    locks_of(one).away = error
    sandboxes.end(live.id, asked=False)
    await until(lambda: one.pool.find(ALICE) is None)
    locks_of(one).away = None
    await no_rows(one)
    await opens_again(one, sandboxes)


async def test_a_session_that_dies_while_its_row_is_set_to_running(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    loop = asyncio.get_running_loop()

    def die(session_id: str) -> None:
        async def end() -> None:
            sandboxes.end(session_id, asked=False)
            await asyncio.sleep(2 * sandboxes.slow)

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)

    locks_of(one).then["run"] = die
    with pytest.raises(MograderError, match="ended while it was starting"):
        await one.pool.get_or_start(ALICE, ignore_progress)
    await no_rows(one)
    await opens_again(other, sandboxes)


async def test_a_row_that_runs_though_the_database_gave_no_answer(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    locks_of(one).then["run"] = no_answer
    with pytest.raises(Busy):
        await one.pool.get_or_start(ALICE, ignore_progress)
    await no_rows(one)
    assert not sandboxes.live
    await opens_again(other, sandboxes)


async def test_a_hub_that_is_stopped_while_a_row_is_set_to_running(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    inside, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def pause(_: str) -> None:
        loop.call_soon_threadsafe(inside.set)
        go_on.wait(20)

    locks_of(one).then["run"] = pause
    opening = asyncio.create_task(one.pool.get_or_start(ALICE, ignore_progress))
    await inside.wait()
    closing = asyncio.create_task(one.pool.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await opening
    await opens_again(other, sandboxes)


async def test_files_that_were_to_be_replaced_while_the_database_gave_no_answer(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    locks_of(one).then["add"] = no_answer
    with pytest.raises(Busy):
        async with one.pool.without_session(ALICE):
            pass
    await no_rows(one)
    await opens_again(other, sandboxes)


async def test_a_second_session_of_a_key_ends_though_the_first_one_is_still_ending(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    gate = threading.Event()

    def wait_for_the_gate(_: SessionKey) -> None:
        gate.wait(20)

    one.pool.after_end = wait_for_the_gate
    first = await one.pool.get_or_start(ALICE, ignore_progress)
    await other.shared.look()
    sandboxes.end(first.id, asked=False)
    await until(lambda: not any(hub.pool.find(ALICE) for hub in two))
    second = await other.pool.get_or_start(ALICE, ignore_progress)
    await until(lambda: one.pool.by_id(second.id) is not None)
    stopping = asyncio.create_task(one.pool.stop(ALICE))
    await until(lambda: one.pool.by_id(second.id) is None)
    gate.set()
    assert await stopping
    assert second.id not in sandboxes.live
    await no_rows(one)
    await opens_again(one, sandboxes)
