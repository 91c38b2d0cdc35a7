"""Several hubs on one database: one session per key over all of them, whichever dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Busy, MograderError
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.hub_tables import SessionState
from tests.support.hub_pools import Hub, Sandboxes, hub_on, people
from tests.support.session_pools import ALICE, ignore_progress, soon, until

KEYS = [SessionKey(name, "A1", Mode.EDIT) for name in ("alice", "bob", "carol")]


@pytest.fixture
def sandboxes(engine: Engine) -> Sandboxes:
    """The sandboxes of all hubs, on a database with tables."""
    del engine
    return Sandboxes(random.Random(7))


@pytest.fixture
async def two(url: str, sandboxes: Sandboxes) -> AsyncIterator[tuple[Hub, Hub]]:
    """Two hubs."""
    async with hub_on(url, sandboxes) as one, hub_on(url, sandboxes) as other:
        yield one, other


async def test_both_hubs_are_asked_at_once_and_one_starts(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    asked = (hub.pool.get_or_start(ALICE, ignore_progress) for hub in two for _ in range(3))
    sessions = await asyncio.gather(*asked)
    assert len({live.id for live in sessions}) == 1
    assert sandboxes.starts == 1


async def test_a_session_is_found_at_the_other_hub_before_it_looked_at_the_rows(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    found = await other.pool.fetch_by_id(live.id)
    assert found is not None
    assert (found.id, found.endpoint, found.base_url) == (live.id, live.endpoint, live.base_url)
    assert await other.pool.fetch(ALICE) is found
    assert await other.pool.get_or_start(ALICE, ignore_progress) is found
    assert sandboxes.starts == 1


async def test_what_one_hub_starts_and_ends_the_other_follows_with_the_reason(
    two: tuple[Hub, Hub],
) -> None:
    one, other = two
    changes: list[SessionKey] = []
    other.pool.on_change = changes.append
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    await until(lambda: other.pool.by_id(live.id) is not None)
    await one.pool.end(live, EndReason.IDLE)
    await until(lambda: other.pool.by_id(live.id) is None)
    await until(lambda: other.pool.history.of_session(live.id) is not None)
    ending = other.pool.history.of_session(live.id)
    assert ending is not None
    assert (ending.key, ending.reason) == (ALICE, EndReason.IDLE)
    assert set(changes) == {ALICE}
    again = await other.pool.get_or_start(ALICE, ignore_progress)
    assert again.id != live.id
    assert other.pool.history.of_key(ALICE) is None


async def test_a_session_may_be_stopped_at_a_hub_that_did_not_start_it(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    await one.pool.get_or_start(ALICE, ignore_progress)
    await other.shared.look()
    assert await other.pool.stop(ALICE)
    assert not sandboxes.live
    await until(lambda: one.pool.find(ALICE) is None)
    assert await asyncio.to_thread(one.shared.locks.all) == ()


async def test_a_crash_is_recorded_once_and_known_to_both(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    live = await two[0].pool.get_or_start(ALICE, ignore_progress)
    await two[1].shared.look()
    sandboxes.end(live.id, asked=False)
    await until(lambda: all(hub.pool.by_id(live.id) is None for hub in two))
    await until(lambda: all(hub.pool.history.of_session(live.id) for hub in two))
    reasons = [hub.pool.history.of_session(live.id) for hub in two]
    assert [each.reason for each in reasons if each] == [EndReason.CRASHED] * 2
    await until(lambda: not two[0].pool.states()["ending"] and not two[1].pool.states()["ending"])
    row = await asyncio.to_thread(two[0].shared.locks.ending, "alice", "A1", "edit")
    assert row is not None
    assert row.session_id == live.id


async def test_files_are_replaced_while_no_hub_has_a_session_of_them(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    async with other.pool.without_session(ALICE):
        assert live.id not in sandboxes.live
        told: list[str] = []
        opening = asyncio.create_task(one.pool.get_or_start(ALICE, told.append))
        await until(lambda: bool(told))
        assert told[0] == "Waiting until the notebook's files are in place"
        assert not sandboxes.live
    again = await soon_result(opening)
    assert people(sandboxes) == ["alice"]
    assert again.id in sandboxes.live


async def test_the_activity_that_another_hub_saw_keeps_a_session(
    url: str, sandboxes: Sandboxes
) -> None:
    async with hub_on(url, sandboxes, ttl=4.0) as one, hub_on(url, sandboxes) as other:
        live = await one.pool.get_or_start(ALICE, ignore_progress)
        same = await other.pool.fetch(ALICE)
        assert same is not None
        for _ in range(12):  # longer than the idle timeout of the hub that sees no request
            other.pool.touch(same)
            await asyncio.to_thread(other.pool.note_down)
            await asyncio.sleep(0.5)
            assert live.id in sandboxes.live
        await until(lambda: live.id not in sandboxes.live)


async def test_sessions_outlive_the_hub_that_started_them(
    url: str, sandboxes: Sandboxes, two: tuple[Hub, Hub]
) -> None:
    one, other = two
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    one.kill()
    found = await other.pool.get_or_start(ALICE, ignore_progress)
    assert found.id == live.id
    async with hub_on(url, sandboxes) as third:
        assert third.pool.by_id(live.id) is not None
    assert sandboxes.starts == 1


@pytest.mark.parametrize("launched", [False, True], ids=["before", "after"])
async def test_a_start_of_a_hub_that_died_is_cleared_before_another_one(
    two: tuple[Hub, Hub], sandboxes: Sandboxes, launched: bool
) -> None:
    one, other = two
    sandboxes.slow = 0.3
    one.server.up.clear()
    dying = asyncio.create_task(one.pool.get_or_start(ALICE, ignore_progress))
    if launched:
        await until(lambda: bool(sandboxes.live))
    else:
        await until(lambda: bool(sandboxes.tasks))
    one.kill()
    sandboxes.slow = 0.004
    live = await other.pool.get_or_start(ALICE, ignore_progress)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await asyncio.gather(*sandboxes.tasks, return_exceptions=True)
    assert list(sandboxes.live) == [live.id]
    assert not sandboxes.faults


async def test_a_change_of_a_hub_that_died_does_not_lock_the_copy_for_ever(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    entered = asyncio.Event()

    async def change() -> None:
        async with one.pool.without_session(ALICE):
            entered.set()
            await asyncio.Event().wait()

    dying = asyncio.create_task(change())
    await soon(entered.wait())
    one.kill()
    await other.pool.get_or_start(ALICE, ignore_progress)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert people(sandboxes) == ["alice"]


async def test_no_session_is_given_up_while_its_machine_cannot_be_reached(
    two: tuple[Hub, Hub], sandboxes: Sandboxes
) -> None:
    one, other = two
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    await other.shared.look()
    other.view.cut()
    stopping = asyncio.create_task(other.pool.stop(ALICE))
    held = await row_in(other, SessionState.ENDING)
    assert held == live.id, "the lock is kept until the session has certainly ended"
    opening = asyncio.create_task(one.pool.get_or_start(ALICE, ignore_progress))
    await asyncio.sleep(0.3)
    assert not opening.done()
    assert list(sandboxes.live) == [live.id]
    other.view.connected = True
    await soon(stopping)
    assert (await soon_result(opening)).id != live.id
    assert not sandboxes.faults


@pytest.mark.parametrize("step", ["remove", "give_up"])
async def test_a_row_that_could_not_be_removed_is_removed_later(
    two: tuple[Hub, Hub], sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    one, other = two
    locks = one.shared.locks
    real = getattr(locks, step)

    def fail(*_: object, **__: object) -> bool:
        monkeypatch.setattr(locks, step, real)
        raise Busy("The database is busy.")

    if step == "remove":
        await one.pool.get_or_start(ALICE, ignore_progress)
        monkeypatch.setattr(locks, step, fail)
        with pytest.raises(Busy):
            await one.pool.stop(ALICE)
    else:
        monkeypatch.setattr(locks, step, fail)
        one.server.reply = lambda: False
        with pytest.raises(MograderError):
            await one.pool.get_or_start(ALICE, ignore_progress)
        one.server.reply = lambda: True
    live = await one.pool.get_or_start(ALICE, ignore_progress)
    assert list(sandboxes.live) == [live.id]
    await until(lambda: other.pool.by_id(live.id) is not None)
    assert not sandboxes.faults


async def row_in(hub: Hub, state: SessionState) -> str:
    """Wait until there is a row in this state, and return its session's id."""
    found: list[str] = []
    async with asyncio.timeout(20):
        while not found:
            rows = await asyncio.to_thread(hub.shared.locks.all)
            found = [each.row.session_id for each in rows if each.row.state is state]
    return found[0]


async def soon_result(task: asyncio.Task[LiveSession]) -> LiveSession:
    """Wait for what must happen, but not for ever."""
    await soon(asyncio.wait({task}))
    return task.result()
