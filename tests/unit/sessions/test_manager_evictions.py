"""Sessions ended when others wait, or when unused (B77; decision 25)."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.errors import RemoteFailed
from mograder.sandbox.protocol import Endpoint, Measured, Mode, SessionUse
from mograder.sessions.capacity import UNKNOWN, CapacityLimits
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey
from tests.support.session_pools import (
    ALICE,
    BOB,
    CAROL,
    LECTURE,
    PATIENCE,
    QUICK,
    TWO,
    Rig,
    gone,
    ignore_progress,
    measure,
    soon,
    terms,
    waiting,
)
from tests.support.supervisors import until


async def looked_at(pool: SessionManager, limits: CapacityLimits) -> None:
    """Return once sessions that may end were looked for some times, or nobody waits any more."""
    asked = 0

    def fits(_: int) -> bool:
        nonlocal asked
        asked += 1
        return True

    limits.fits = fits
    await until(lambda: asked > 9 or waiting(pool) == 0)  # three times a look


# --- pressure -------------------------------------------------------------------------------


async def test_who_is_idle_makes_room_for_those_who_wait_the_oldest_first(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=TWO)) as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        rig.clock.advance(30)
        second = await pool.get_or_start(BOB, ignore_progress)
        rig.clock.advance(100)
        await pool.get_or_start(CAROL, ignore_progress)
        assert rig.why_ended(pool, first) is EndReason.PRESSURE
        assert pool.find(BOB) is second
        assert pool.tally.endings == {EndReason.PRESSURE: 1}


async def test_nobody_at_work_has_to_go_for_others(rig: Rig) -> None:
    async with rig.pool(terms(ttl=40, memory_mb=TWO)) as pool:
        here = await pool.get_or_start(ALICE, ignore_progress)
        elsewhere = await pool.get_or_start(BOB, ignore_progress)
        rig.pages.open[elsewhere.base_url] = 1  # through another hub: only its server knows
        with pool.connected(here):
            rig.clock.advance(300)
            third = asyncio.create_task(pool.get_or_start(CAROL, ignore_progress))
            await until(lambda: waiting(pool) == 1 and rig.pages.asked != [])
            await pool.stop(BOB)
            await third
            assert {live.key for live in pool.all()} == {ALICE, CAROL}
            assert pool.tally.endings == {EndReason.STOPPED: 1}
            assert rig.pages.asked == [elsewhere.base_url], "once, and only who might go"


async def test_nobody_keeps_others_out_by_several_sessions_however_busy_they_are(rig: Rig) -> None:
    """Only the one that its student used last stays; what the other one prints is no use of it."""
    async with rig.pool(terms(memory_mb=TWO)) as pool:
        prints, used = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, LECTURE)]
        with pool.connected(prints), pool.connected(used):
            rig.clock.advance(70)
            pool.touch(used)
            prints.usage.busy = used.usage.busy = True
            prints.usage.marked = used.usage.marked = rig.clock.steady()
            rig.clock.advance(1)
            pool.heard(prints)
            await pool.get_or_start(BOB, ignore_progress)
            assert rig.why_ended(pool, prints) is EndReason.PRESSURE
            assert {live.key for live in pool.all()} == {LECTURE, BOB}


async def test_a_session_that_only_seemed_unattended_is_in_the_last_round(rig: Rig) -> None:
    """Sessions without a page end first, and here they free enough memory."""
    async with rig.pool(terms(memory_mb=TWO * 3 // 2)) as pool:
        looks = await pool.get_or_start(ALICE, ignore_progress)
        rig.pages.open[looks.base_url] = 1  # through another hub: only its server knows
        rig.clock.advance(1)
        away = await pool.get_or_start(CAROL, ignore_progress)
        rig.clock.advance(100)
        used = await pool.get_or_start(LECTURE, ignore_progress)
        await pool.get_or_start(BOB, ignore_progress)
        assert rig.why_ended(pool, away) is EndReason.PRESSURE
        assert {pool.find(ALICE), pool.find(LECTURE)} == {looks, used}


async def test_adopted_sessions_of_one_person_are_spared_for_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub does not know which of them was used last until their pages have connected."""
    monkeypatch.setattr("mograder.sessions.idle_culler._PRESSED_SECONDS", 0.01)
    async with rig.pool() as pool:
        for key in (ALICE, LECTURE):
            await pool.get_or_start(key, ignore_progress)
        rig.clock.advance(300)
    limits = terms(memory_mb=TWO)
    async with rig.pool(limits) as pool:
        used = pool.find(ALICE)
        assert used is not None
        third = await rig.line_up(pool, BOB)
        rig.clock.advance(50)
        pool.touch(used)
        await looked_at(pool, limits)
        assert waiting(pool) == 1
        rig.clock.advance(11)
        await third
        assert {live.key for live in pool.all()} == {ALICE, BOB}


async def test_a_server_that_cannot_say_is_not_put_away_for_others(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=TWO // 2)) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        measure(rig, (session, TWO // 2))
        rig.pages.open[session.base_url] = None
        rig.clock.advance(300)
        second = asyncio.create_task(pool.get_or_start(BOB, ignore_progress))
        await until(lambda: rig.pages.asked != [])
        assert await pool.stop(ALICE)
        await second
        assert pool.tally.endings == {EndReason.STOPPED: 1}


async def test_an_end_that_takes_long_costs_no_other_session(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hangs, say; the memory of the first one is enough once it has ended."""
    monkeypatch.setattr("mograder.sessions.idle_culler.END_SECONDS", 0.01)
    monkeypatch.setattr("mograder.sessions.idle_culler._PRESSED_SECONDS", 0.01)
    limits = terms(memory_mb=TWO)
    async with rig.pool(limits) as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        rig.clock.advance(1)
        second = await pool.get_or_start(BOB, ignore_progress)
        rig.clock.advance(100)
        rig.launcher.go_on.clear()
        left = gone(first)
        third = await rig.line_up(pool, CAROL)
        await left
        await looked_at(pool, limits)
        assert pool.all() == [second]
        rig.launcher.go_on.set()
        await third
        assert pool.find(BOB) is second


@pytest.mark.parametrize("what", ["reached", "moving"])
async def test_an_end_on_a_node_that_does_not_count_frees_no_memory(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Its session is cut off or to move, and is no part of what the other nodes use."""
    limits = terms()
    async with rig.pool(limits) as pool:
        far, idle, used = [
            await pool.get_or_start(key, ignore_progress) for key in (LECTURE, BOB, ALICE)
        ]
        monkeypatch.setattr(
            pool.culler, what, lambda live: (live.key == LECTURE) is (what == "moving")
        )
        limits.memory = 2 * UNKNOWN
        uses = [
            SessionUse(session_id=each.id, memory=UNKNOWN, cpu=0, processes=3)
            for each in (far, idle, used)
        ]
        rig.launcher.tell(Measured(sessions=tuple(uses), used=2 * UNKNOWN))
        rig.clock.advance(100)
        pool.touch(used)
        rig.launcher.go_on.clear()
        ending = asyncio.create_task(pool.end(far, EndReason.STOPPED))
        await soon(rig.launcher.stopping.wait())
        left = gone(idle)
        third = await rig.line_up(pool, CAROL)
        await left
        rig.launcher.go_on.set()
        await asyncio.gather(ending, third)


@pytest.mark.parametrize("oldest", [ALICE, SessionKey("__rehearsal-1", "A1", Mode.EDIT)])
async def test_a_node_tells_what_is_free_before_more_sessions_have_to_go(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, oldest: SessionKey
) -> None:
    pauses, sleep = set[float](), asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.add(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    monkeypatch.setattr("mograder.sessions.idle_culler._STATUS_SECONDS", PATIENCE)
    limits, told = terms(memory_mb=TWO), True
    limits.fits = lambda _: told
    async with rig.pool(limits) as pool:
        first = await pool.get_or_start(oldest, ignore_progress)
        rig.clock.advance(1)
        second = await pool.get_or_start(BOB, ignore_progress)
        for each in (first, second):
            each.endpoint = Endpoint(each.endpoint.socket, "one")
        rig.clock.advance(100)
        told = False
        third = asyncio.create_task(pool.get_or_start(CAROL, ignore_progress))
        await gone(first)
        await until(lambda: PATIENCE in pauses or pool.all() == [])
        assert pool.all() == [second]
        told = True
        pool.admission.pump()  # as the node's next status does
        await third
        assert pool.find(BOB) is second


# --- machines that are drained ---------------------------------------------------------------


async def test_sessions_leave_a_drained_machine_unless_somebody_is_at_work(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mograder.sessions.idle_culler._HOUSEKEEPING_SECONDS", 0.01)
    async with rig.pool() as pool:
        pool.culler.moving = lambda live: live.key != CAROL
        away, here, _ = [
            await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB, CAROL)
        ]
        rig.pages.open[here.base_url] = 1
        left = gone(away)
        rig.clock.advance(61)
        await left
        assert rig.why_ended(pool, away) is EndReason.MOVED
        assert {live.key for live in pool.all()} == {BOB, CAROL}


async def test_a_session_whose_machine_this_hub_does_not_reach_is_left_to_the_others(
    rig: Rig,
) -> None:
    async with rig.pool(terms(ttl=QUICK)) as pool:
        pool.culler.reached = lambda live: live.key != BOB
        ours, other = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB)]
        left = gone(ours)
        rig.clock.advance(1000)
        await left
        assert pool.find(BOB) is other


async def test_a_session_that_cannot_be_ended_keeps_no_other_running(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process or its machine hangs."""
    monkeypatch.setattr("mograder.sessions.idle_culler.END_SECONDS", 0.05)
    async with rig.pool(terms(ttl=QUICK)) as pool:
        for key in (ALICE, BOB):
            session = await pool.get_or_start(key, ignore_progress)
            rig.launcher.unstoppable[session.id] = RemoteFailed("It hangs.")
            left = gone(session)
            rig.clock.advance(10)
            await left
        assert pool.states()["ending"] == 2
        rig.launcher.unstoppable.clear()


# --- idleness, with what only servers and measurements know ----------------------------------


async def test_a_server_is_asked_for_its_pages_before_it_is_put_away(rig: Rig) -> None:
    """Another hub may have the page's WebSocket."""
    async with rig.pool(terms(ttl=QUICK)) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        rig.pages.open[session.base_url] = 2
        rig.clock.advance(10)
        await until(lambda: session.paged is not None)
        assert pool.find(ALICE) is session
        end = gone(session)
        rig.pages.open[session.base_url] = None
        rig.clock.advance(10)
        await end
        assert rig.why_ended(pool, session) is EndReason.IDLE


async def test_a_kernel_that_computes_is_not_idle_until_it_rests(rig: Rig) -> None:
    async with rig.pool(terms(ttl=QUICK)) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        for seconds in (0.0, 2.0, 2.0, 2.0):
            rig.clock.advance(seconds)
            pool.touch(session)
            measure(rig, (session, 50), cpu=10 * session.usage.cpu + 1)
        assert session.usage.busy
        rig.clock.advance(10)
        await until(lambda: session.computed is not None)
        assert pool.find(ALICE) is session
        end = gone(session)
        rig.clock.advance(30)
        await end
