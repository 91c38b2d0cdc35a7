"""No row outlives its session: the database fails at the worst moment, or the hub dies.

The notebook opens again afterwards, at this hub or at the next one.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Busy, MograderError
from mograder.sessions import manager
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import SessionRow
from tests.support.hub_pools import Hub, Sandboxes, hub_on, people
from tests.support.session_pools import ALICE, BOB, ignore_progress, soon
from tests.support.supervisors import until


class FaultyState(HubState):
    """A database that fails: while ``away`` at each removal, and after some commits.

    ``then`` is called in the thread of a call that has been committed, by the call's name, once.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.away: Exception | None = None
        self.then: dict[str, Callable[[str], None]] = {}

    def add_session(self, row: SessionRow) -> None:
        super().add_session(row)
        self._committed("add", row.session_id)

    def session_runs(self, session_id: str, socket: str) -> None:
        super().session_runs(session_id, socket)
        self._committed("run", session_id)

    def remove_session(self, session_id: str) -> bool:
        if self.away is not None:
            raise self.away
        return super().remove_session(session_id)

    def _committed(self, name: str, session_id: str) -> None:
        then = self.then.pop(name, None)
        if then is not None:
            then(session_id)


@pytest.fixture
def sandboxes(engine: Engine) -> Sandboxes:
    """The sandboxes of all hubs, on a database with tables."""
    del engine
    return Sandboxes(random.Random(7))


@pytest.fixture
async def hub(url: str, sandboxes: Sandboxes) -> AsyncIterator[Hub]:
    """A hub whose database fails when the test says so."""
    async with hub_on(url, sandboxes, make_state=FaultyState) as hub:
        yield hub


def state_of(hub: Hub) -> FaultyState:
    assert isinstance(hub.state, FaultyState)
    return hub.state


def no_answer(_: str) -> None:
    raise Busy("The connection broke after the commit.")


async def no_rows(hub: Hub) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(hub.state.sessions):  # noqa: ASYNC110 - it is a database
            await asyncio.sleep(0.02)


async def opens_again(hub: Hub, sandboxes: Sandboxes) -> None:
    """The notebook opens at a hub, and the session that it gets lives."""
    async with asyncio.timeout(20):
        live = await hub.pool.get_or_start(ALICE, ignore_progress)
    assert live.id in sandboxes.live
    assert people(sandboxes) == ["alice"]
    assert sandboxes.faults == []


async def bob_fails(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a notebook while the machine is away: it waits for no other session of its own."""
    monkeypatch.setattr(manager, "_AT_ONCE_SECONDS", 0.01)
    with pytest.raises(MograderError):
        await asyncio.wait_for(hub.pool.get_or_start(BOB, ignore_progress), 20)


@pytest.mark.parametrize("error", [Busy("away"), RuntimeError("a read-only standby")], ids=str)
async def test_a_crash_while_the_database_is_away(
    hub: Hub, sandboxes: Sandboxes, error: Exception
) -> None:
    live = await hub.pool.get_or_start(ALICE, ignore_progress)
    state_of(hub).away = error
    sandboxes.end(live.id, asked=False)
    await until(lambda: hub.pool.find(ALICE) is None)
    state_of(hub).away = None
    await no_rows(hub)
    await opens_again(hub, sandboxes)


async def test_a_session_that_dies_while_its_row_is_set_to_running(
    hub: Hub, sandboxes: Sandboxes
) -> None:
    loop = asyncio.get_running_loop()

    def die(session_id: str) -> None:
        async def end() -> None:
            sandboxes.end(session_id, asked=False)
            await asyncio.sleep(2 * sandboxes.slow)

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)

    state_of(hub).then["run"] = die
    with pytest.raises(MograderError, match="ended while it was starting"):
        await hub.pool.get_or_start(ALICE, ignore_progress)
    await no_rows(hub)
    await opens_again(hub, sandboxes)


@pytest.mark.parametrize("step", ["add", "run"])
async def test_a_row_that_is_written_though_the_database_gave_no_answer(
    hub: Hub, sandboxes: Sandboxes, step: str
) -> None:
    state_of(hub).then[step] = no_answer
    with pytest.raises(Busy):
        await hub.pool.get_or_start(ALICE, ignore_progress)
    await no_rows(hub)
    assert not sandboxes.live
    await opens_again(hub, sandboxes)


async def test_a_hub_that_is_stopped_while_a_row_is_set_to_running(
    url: str, sandboxes: Sandboxes
) -> None:
    inside, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def pause(_: str) -> None:
        loop.call_soon_threadsafe(inside.set)
        go_on.wait(20)

    async with hub_on(url, sandboxes, make_state=FaultyState) as one:
        state_of(one).then["run"] = pause
        opening = asyncio.create_task(one.pool.get_or_start(ALICE, ignore_progress))
        await inside.wait()
        closing = asyncio.create_task(one.pool.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with hub_on(url, sandboxes) as following:
        await opens_again(following, sandboxes)


async def test_a_start_that_fails_waits_only_a_moment_for_a_machine_that_is_away(
    hub: Hub, sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start of the notebook waits until the first one has certainly ended."""
    hub.server.reply = lambda: False
    hub.server.up.clear()
    opening = asyncio.create_task(hub.pool.get_or_start(ALICE, ignore_progress))
    await soon(hub.server.asked.wait())
    hub.view.connected = False
    hub.server.up.set()
    with pytest.raises(MograderError):
        await asyncio.wait_for(opening, 10)
    hub.server.reply = lambda: True
    again = asyncio.create_task(hub.pool.get_or_start(ALICE, ignore_progress))
    await bob_fails(hub, monkeypatch)
    assert not again.done()
    hub.view.connected = True
    await asyncio.wait_for(again, 20)
    assert people(sandboxes) == ["alice"]
    assert not sandboxes.faults


async def test_no_session_is_given_up_while_its_machine_cannot_be_reached(
    hub: Hub, sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await hub.pool.get_or_start(ALICE, ignore_progress)
    hub.view.connected = False
    stopping = asyncio.create_task(hub.pool.stop(ALICE))
    await until(lambda: hub.pool.find(ALICE) is None)
    opening = asyncio.create_task(hub.pool.get_or_start(ALICE, ignore_progress))
    await bob_fails(hub, monkeypatch)
    assert not opening.done()
    assert list(sandboxes.live) == [live.id]
    assert await asyncio.to_thread(hub.state.sessions), "the row is kept until it has ended"
    hub.view.connected = True
    await asyncio.wait_for(stopping, 20)
    assert (await asyncio.wait_for(opening, 20)).id != live.id
    assert not sandboxes.faults


# ---- the next hub ----


@pytest.mark.parametrize("launched", [False, True], ids=["before", "after"])
async def test_a_start_of_a_hub_that_died_is_cleared_before_another_one(
    url: str, hub: Hub, sandboxes: Sandboxes, launched: bool
) -> None:
    sandboxes.slow = 0.3
    hub.server.up.clear()
    dying = asyncio.create_task(hub.pool.get_or_start(ALICE, ignore_progress))
    if launched:
        await until(lambda: bool(sandboxes.live))
    else:
        await until(lambda: bool(sandboxes.tasks))
    hub.kill()
    sandboxes.slow = 0.004
    async with hub_on(url, sandboxes) as following:
        live = await following.pool.get_or_start(ALICE, ignore_progress)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await asyncio.gather(*sandboxes.tasks, return_exceptions=True)
        assert list(sandboxes.live) == [live.id]
        assert not sandboxes.faults
