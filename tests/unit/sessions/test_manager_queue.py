"""The pool's queue: waiting, reasons, freed capacity, and a restart of the hub (decision 25)."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.errors import Busy, Conflict, TimedOut
from mograder.sandbox.protocol import Arrived, Mode, SessionInfo
from mograder.sessions.capacity import MEGABYTE, UNKNOWN, YOUNG_SECONDS
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import LiveSession, SessionKey
from tests.support.session_pools import (
    ALICE,
    BOB,
    CAROL,
    LECTURE,
    TWO,
    Rig,
    ignore_progress,
    measure,
    owner,
    soon,
    terms,
    waiting,
)
from tests.support.supervisors import until


def both_ask(pool: SessionManager) -> list[asyncio.Task[LiveSession]]:
    """Let alice and bob ask for their sessions."""
    return [asyncio.create_task(pool.get_or_start(key, ignore_progress)) for key in (ALICE, BOB)]


# --- places ---------------------------------------------------------------------------------


async def test_only_so_many_start_at_a_time_and_the_others_know_their_place(rig: Rig) -> None:
    told: list[str] = []
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool)
        second = await rig.line_up(pool, BOB, told.append)
        assert any(text.startswith("You are number 1 in line: many") for text in told)
        assert pool.states() == {"waiting": 1, "starting": 1, "running": 0, "ending": 0}
        assert pool.tally.queue_length == 1
        assert len(rig.launcher.requests) == 1
        rig.server.up.set()
        await asyncio.gather(first, second)
        assert told[-1] == "Starting the notebook"
        assert pool.states() == {"waiting": 0, "starting": 0, "running": 2, "ending": 0}


async def test_a_hundred_at_once_start_in_the_order_in_which_they_asked(rig: Rig) -> None:
    keys = [SessionKey(f"user-{number}", "A1", Mode.EDIT) for number in range(100)]
    async with rig.pool(terms(starts=1)) as pool:
        await asyncio.gather(*(pool.get_or_start(key, ignore_progress) for key in keys))
        order = [owner(each) for each in rig.launcher.requests.values()]
        assert order == [key.user for key in keys]
        assert pool.tally.starts == {("unknown", "ok"): 100}
        assert pool.tally.start_seconds.count == 100


async def test_a_session_that_runs_is_found_without_waiting(rig: Rig) -> None:
    async with rig.pool(terms(starts=1)) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        other = await rig.begin(pool, BOB)
        assert await pool.get_or_start(ALICE, ignore_progress) is session
        rig.server.up.set()
        await other


async def test_a_start_that_fails_gives_its_place_to_the_next(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool(terms(starts=1, start_timeout=0.05, memory_mb=200)) as pool:
        asking = both_ask(pool)
        for each in asking:
            with pytest.raises(TimedOut):
                await each
        assert pool.tally.starts == {("unknown", "failed"): 2}
        assert rig.launcher.requests == {}
        rig.server.up.set()
        await pool.get_or_start(ALICE, ignore_progress)


async def test_the_time_to_start_counts_from_being_let_in(rig: Rig) -> None:
    """However long the line is, who waits in it has all the time to start."""
    async with rig.pool(terms(starts=1, start_timeout=0.3)) as pool:
        first = await rig.begin(pool)
        second = asyncio.create_task(pool.get_or_start(BOB, ignore_progress))
        with pytest.raises(TimedOut):
            await first
        rig.server.up.set()
        await second


async def test_a_full_line_is_busy_and_says_for_how_long(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool(terms(starts=1, line=1)) as pool:
        asking = both_ask(pool)
        await until(lambda: waiting(pool) == 1)
        with pytest.raises(Busy) as refused:
            await pool.get_or_start(CAROL, ignore_progress)
        assert refused.value.retry_after >= 10
        assert pool.tally.starts["unknown", "refused"] == 1
        rig.server.up.set()
        await asyncio.gather(*asking)


async def test_who_gives_up_waiting_leaves_the_line_unless_somebody_else_waits_too(
    rig: Rig,
) -> None:
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool)
        asking = [asyncio.create_task(pool.get_or_start(BOB, ignore_progress)) for _ in range(2)]
        await until(lambda: waiting(pool) == 1)
        asking[0].cancel()
        await asyncio.wait({asking[0]})
        assert waiting(pool) == 1
        asking[1].cancel()
        await asyncio.wait({asking[1]})
        await until(lambda: waiting(pool) == 0)
        rig.server.up.set()
        await first
        assert [owner(each) for each in rig.launcher.requests.values()] == ["alice"]


async def test_who_gives_up_before_the_line_never_enters_it(rig: Rig) -> None:
    """An environment may take minutes to build."""
    rig.spawner.hold = asyncio.Event()
    async with rig.pool() as pool:
        told: list[str] = []
        left, kept = (asyncio.create_task(pool.get_or_start(e, told.append)) for e in (ALICE, BOB))
        await until(lambda: told.count("Downloading") == 2)
        left.cancel()
        await asyncio.wait({left})
        rig.spawner.hold.set()
        assert (await kept).key == BOB
        assert [owner(each) for each in rig.launcher.requests.values()] == ["bob"]
        assert pool.tally.starts == {("unknown", "ok"): 1}


async def test_stop_takes_one_who_waits_out_of_the_line(rig: Rig) -> None:
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool)
        second = await rig.line_up(pool, BOB)
        assert await pool.stop(BOB)
        with pytest.raises(Conflict, match="before its turn"):
            await second
        rig.server.up.set()
        await first
        assert pool.find(BOB) is None


@pytest.mark.parametrize("built", [False, True])
async def test_stop_ends_a_start_unless_somebody_asks_again(rig: Rig, built: bool) -> None:
    """Before its place in the line, while the environment is built, and after it."""
    rig.server.up.clear()
    rig.spawner.hold = hold = asyncio.Event()
    if built:
        hold.set()
    async with rig.pool() as pool:
        told: list[str] = []
        first, second = (
            asyncio.create_task(pool.get_or_start(key, told.append)) for key in (ALICE, BOB)
        )
        await until(lambda: told.count("Starting the notebook" if built else "Downloading") == 2)
        for key in (ALICE, BOB):
            assert await pool.stop(key)
        again = asyncio.create_task(pool.get_or_start(BOB, ignore_progress))
        await asyncio.sleep(0)
        hold.set()
        rig.server.up.set()
        with pytest.raises(Conflict, match="stopped while it started"):
            await first
        assert await second is await again
        assert pool.find(ALICE) is None
    assert [owner(each) for each in rig.launcher.requests.values()] == ["bob"]
    assert rig.rows() == [("bob", "A1", "running")]


async def test_what_was_published_while_one_waited_is_what_starts(rig: Rig) -> None:
    rig.spawner.versions["L01"] = "1"
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool)
        second = await rig.line_up(pool, LECTURE)
        rig.spawner.versions["L01"] = "2"
        rig.server.up.set()
        assert (await second).version == "2"
        await first


async def test_closing_empties_the_line(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool(terms(starts=1)) as pool:
        asking = both_ask(pool)
        await until(lambda: waiting(pool) == 1)
    assert (rig.launcher.requests, rig.rows()) == ({}, [])
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(end, BaseException) for end in ends)


# --- memory ---------------------------------------------------------------------------------


async def test_sessions_that_turn_out_small_make_room_as_they_grow_up(rig: Rig) -> None:
    told: list[str] = []
    async with rig.pool(terms(memory_mb=TWO)) as pool:
        sessions = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB)]
        third = await rig.line_up(pool, CAROL, told.append)
        assert any("memory is in use" in text for text in told)
        measure(rig, *((session, 10) for session in sessions))
        assert waiting(pool) == 1, "their cells have yet to run"
        rig.clock.advance(YOUNG_SECONDS)
        measure(rig, *((session, 10) for session in sessions))
        await third


async def test_those_who_wait_and_the_young_count_with_what_is_known_by_now(rig: Rig) -> None:
    """The first students of a new item show what it needs: nobody waits for the guess."""
    keys = [SessionKey(f"user-{number}", "A1", Mode.EDIT) for number in range(12)]
    async with rig.pool(terms(memory_mb=8 * UNKNOWN // MEGABYTE)) as pool:
        first = [await pool.get_or_start(key, ignore_progress) for key in keys[:4]]
        rig.clock.advance(YOUNG_SECONDS - 1)
        young = [await pool.get_or_start(key, ignore_progress) for key in keys[4:8]]
        others = [asyncio.create_task(pool.get_or_start(key, ignore_progress)) for key in keys[8:]]
        await until(lambda: waiting(pool) == 4)
        rig.clock.advance(1)
        measure(rig, *((session, 50) for session in (*first, *young)))
        await asyncio.gather(*others)  # by 50 and 75 each; at 150, only two of them fit


async def test_sessions_that_grow_keep_the_next_one_out(rig: Rig) -> None:
    async with rig.pool(terms(memory_mb=1000)) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        measure(rig, (session, 900))
        assert (session.usage.memory, session.usage.processes) == (900 * MEGABYTE, 3)
        second = await rig.line_up(pool, BOB)
        measure(rig, (session, 100))
        await second


async def test_adopted_sessions_count_though_nothing_is_known_of_them(rig: Rig) -> None:
    async with rig.pool() as pool:
        for key in (ALICE, BOB):
            await pool.get_or_start(key, ignore_progress)
    async with rig.pool(terms(memory_mb=TWO)) as pool:
        adopted = pool.find(ALICE)
        assert adopted is not None
        usage = adopted.usage
        assert (usage.memory, usage.cpu, usage.warm, usage.busy) == (0, 0.0, None, False)
        assert pool.tally.starts == {}, "the hub before counted them"
        third = await rig.line_up(pool, CAROL)
        rig.launcher.die(adopted.id)
        await third


async def test_adopted_sessions_are_as_old_as_they_are(rig: Rig) -> None:
    """A hub that is replaced during a class lets nobody wait for memory that is not in use."""
    async with rig.pool() as pool:
        for key in (ALICE, BOB):
            await pool.get_or_start(key, ignore_progress)
    rig.clock.advance(YOUNG_SECONDS)
    async with rig.pool(terms(memory_mb=TWO)) as pool:
        adopted = [pool.find(key) for key in (ALICE, BOB)]
        measure(rig, *((live, 50) for live in adopted if live is not None))
        await soon(pool.get_or_start(CAROL, ignore_progress))


async def test_measures_that_come_while_the_hub_adopts_are_not_lost(rig: Rig) -> None:
    """A supervisor tells only what changes: it may not say it again for an hour."""
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
    sessions = rig.launcher.sessions

    async def tell_and_answer() -> tuple[SessionInfo, ...]:
        measure(rig, (session, 70))
        return await sessions()

    rig.launcher.sessions = tell_and_answer  # type: ignore[method-assign]
    async with rig.pool() as pool:
        adopted = pool.find(ALICE)
        assert adopted is not None
        assert adopted.usage.memory == 70 * MEGABYTE


# --- counting -------------------------------------------------------------------------------


async def test_how_sessions_started_is_counted(rig: Rig) -> None:
    async with rig.pool() as pool:
        asking = await rig.begin(pool)
        (session_id,) = rig.launcher.requests
        rig.launcher.tell(Arrived(session_id=session_id, warm=False, fallback="another marimo"))
        rig.server.up.set()
        assert (await asking).usage.warm is False
        assert pool.tally.starts == {("cold", "ok"): 1}
        assert pool.tally.fallbacks == {"another marimo": 1}


async def test_reasons_of_fallbacks_are_bounded_in_number(rig: Rig) -> None:
    async with rig.pool() as pool:
        for number in range(100):
            rig.launcher.tell(Arrived(session_id="s", warm=False, fallback=f"reason {number}"))
        assert len(pool.tally.fallbacks) == 51
        assert pool.tally.fallbacks["other"] == 50
