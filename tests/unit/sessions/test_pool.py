"""One session per user, item and mode: started once, shared, stopped, culled, adopted.

B65, B72, B77; architecture.md, "A supervisor owns the sessions"; compat.md 2.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from mograder.core.errors import Busy, NotFound, SandboxUnavailable, TimedOut
from mograder.sessions.launcher import Endpoint
from mograder.sessions.live import LiveSession
from mograder.sessions.pool import idle, orphans
from mograder.store.hub_state import SessionRow, SessionState
from tests.unit.sessions.poolkit import ALICE, BOB, LECTURE, PATIENCE, TTL, Rig, soon, unheard

SHORT = 0.04
"""A time to live in seconds that makes the housekeeping look every 10 ms; the manual clock
alone decides who is idle."""


def gone(session: LiveSession) -> Coroutine[None, None, None]:
    """Listen from now on for a session's end, whatever ends it; wait for it later."""
    over = asyncio.Event()
    session.on_stop.append(over.set)
    return soon(over.wait())


# --- starting -------------------------------------------------------------------------------


async def test_a_session_is_started_once_and_found_again(rig: Rig) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, unheard)
        assert await pool.get_or_start(ALICE, unheard) is first
        assert pool.find(ALICE) is first
        assert pool.by_id(first.id) is first
        assert pool.all() == [first]
        assert first.base_url == "/edit/user/alice/A1"
        assert len(rig.launcher.specs) == 1
        assert rig.rows() == [("alice", "A1", "running")]


async def test_each_person_has_a_session_of_their_own(rig: Rig) -> None:
    async with rig.pool() as pool:
        sessions = [await pool.get_or_start(key, unheard) for key in (ALICE, BOB, LECTURE)]
        assert len({session.id for session in sessions}) == 3
        assert len({session.endpoint for session in sessions}) == 3


async def test_those_who_ask_while_it_starts_wait_for_the_same_one(rig: Rig) -> None:
    rig.server.up.clear()
    told: list[str] = []
    async with rig.pool() as pool:
        asking = [asyncio.create_task(pool.get_or_start(ALICE, told.append)) for _ in range(3)]
        await soon(rig.server.asked.wait())
        assert pool.find(ALICE) is None
        assert rig.rows() == [("alice", "A1", "starting")]
        rig.server.up.set()
        first, *others = await asyncio.gather(*asking)
        assert others == [first, first]
        assert told.count("Starting the notebook") == 3
        assert len(rig.launcher.specs) == 1


async def test_one_who_gives_up_waiting_does_not_stop_the_start(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool() as pool:
        impatient = asyncio.create_task(pool.get_or_start(ALICE, unheard))
        await soon(rig.server.asked.wait())
        impatient.cancel()
        await asyncio.wait({impatient})
        rig.server.up.set()
        await pool.get_or_start(ALICE, unheard)
        assert len(rig.launcher.specs) == 1


async def test_what_cannot_be_opened_is_said_and_recorded_nowhere(rig: Rig) -> None:
    rig.spawner.failure = NotFound("Notebook not found")
    async with rig.pool() as pool:
        with pytest.raises(NotFound):
            await pool.get_or_start(ALICE, unheard)
        assert rig.rows() == []
        rig.spawner.failure = None
        await pool.get_or_start(ALICE, unheard)


async def test_a_launcher_that_cannot_start_leaves_no_row(rig: Rig) -> None:
    rig.launcher.failure = SandboxUnavailable("bubblewrap is gone")
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="bubblewrap is gone"):
            await pool.get_or_start(ALICE, unheard)
        assert rig.rows() == []


async def test_a_death_while_starting_is_told_with_its_last_words(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool() as pool:
        asking = asyncio.create_task(pool.get_or_start(ALICE, unheard))
        await soon(rig.server.asked.wait())
        (session_id,) = rig.launcher.specs
        rig.launcher.die(session_id, status=3, log_tail="Traceback\nImportError: no numpy\n\n")
        with pytest.raises(SandboxUnavailable, match=r"status 3\).*ImportError: no numpy"):
            await asking
        assert rig.rows() == []
        rig.server.up.set()
        await pool.get_or_start(ALICE, unheard)


async def test_a_death_just_after_the_first_answer_is_not_missed(rig: Rig) -> None:
    """Between the answer and the row that says so nobody looked, and a dead session stayed."""

    def die_while_answering() -> bool:
        for session_id in list(rig.launcher.specs):
            rig.launcher.die(session_id, log_tail="out of memory")
        return True

    rig.server.reply = die_while_answering
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="out of memory"):
            await pool.get_or_start(ALICE, unheard)
        assert pool.find(ALICE) is None
        assert rig.rows() == []


async def test_one_that_never_answers_is_ended_after_its_time(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool(start_timeout=0.05) as pool:
        with pytest.raises(TimedOut, match="did not start within"):
            await pool.get_or_start(ALICE, unheard)
        assert rig.launcher.specs == {}
        assert rig.rows() == []


@pytest.mark.parametrize("problem", [None, aiohttp.ClientPayloadError("garbage")])
async def test_one_that_answers_nonsense_is_ended(rig: Rig, problem: Exception | None) -> None:
    def reply() -> bool:
        if problem is not None:
            raise problem
        return False

    rig.server.reply = reply
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="no sensible answer"):
            await pool.get_or_start(ALICE, unheard)
        assert rig.launcher.specs == {}
        assert rig.rows() == []


async def test_a_line_that_breaks_just_before_the_news_of_the_death_tells_the_death(
    rig: Rig,
) -> None:
    def break_off() -> bool:
        (session_id,) = rig.launcher.specs
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, lambda: rig.launcher.die(session_id, log_tail="no such module"))
        raise ConnectionResetError

    rig.server.reply = break_off
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="no such module"):
            await pool.get_or_start(ALICE, unheard)


# --- stopping -------------------------------------------------------------------------------


async def test_stop_ends_it_everywhere_and_tells_once(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
        calls: list[int] = []
        session.on_stop.append(lambda: calls.append(1))
        assert await pool.stop(ALICE)
        assert await pool.stop(ALICE) is False
        assert (pool.find(ALICE), pool.by_id(session.id), rig.rows()) == (None, None, [])
        assert rig.launcher.specs == {}
        assert calls == [1]


async def test_a_start_during_a_stop_waits_for_its_end(rig: Rig) -> None:
    """Two servers on one workspace would overwrite each other's saves."""
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, unheard)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        again = asyncio.create_task(pool.get_or_start(ALICE, unheard))
        await asyncio.wait({again}, timeout=0.05)
        assert list(rig.launcher.specs) == [first.id]
        rig.launcher.go_on.set()
        second = await again
        assert await stop
        assert list(rig.launcher.specs) == [second.id]
        assert rig.rows() == [("alice", "A1", "running")]


async def test_a_stop_whose_asker_hangs_up_is_finished(rig: Rig) -> None:
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, unheard)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        stop.cancel()
        await asyncio.wait({stop})
        rig.launcher.go_on.set()
        await pool.get_or_start(ALICE, unheard)
        assert len(rig.launcher.specs) == 1
        assert rig.rows() == [("alice", "A1", "running")]


async def test_a_crash_is_noticed_and_cleaned_up_once(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
        calls: list[int] = []
        session.on_stop.append(lambda: calls.append(1))
        end = gone(session)
        rig.launcher.die(session.id, log_tail="Killed")
        await end
        second = await pool.get_or_start(ALICE, unheard)
        assert second.id != session.id
        assert calls == [1]
        assert rig.rows() == [("alice", "A1", "running")]


async def test_a_lost_launcher_takes_its_sessions_along(rig: Rig) -> None:
    async with rig.pool() as pool:
        sessions = [await pool.get_or_start(key, unheard) for key in (ALICE, BOB)]
        ends = [gone(session) for session in sessions]
        rig.launcher.specs.clear()
        rig.launcher.lose()
        await asyncio.gather(*ends)
        assert pool.all() == []
        again = await pool.get_or_start(ALICE, unheard)
        assert ("alice", "A1", "running") in rig.rows()
        assert again.id not in {session.id for session in sessions}


async def test_what_runs_on_behind_a_lost_connection_is_ended(rig: Rig) -> None:
    """The line broke, the launcher lives: nobody can reach those sessions any more."""
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
        ended = asyncio.Event()
        rig.launcher.watch(lambda _: ended.set(), rig.launcher.lose)
        end = gone(session)
        rig.launcher.lose()
        await end
        await soon(ended.wait())
        assert rig.launcher.specs == {}


async def test_a_loss_while_one_starts_is_told_to_who_waits(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool() as pool:
        asking = asyncio.create_task(pool.get_or_start(ALICE, unheard))
        await soon(rig.server.asked.wait())
        rig.launcher.lose()
        with pytest.raises(SandboxUnavailable, match="while it was starting"):
            await asking
        assert rig.rows() == []


async def test_exits_are_noticed_after_one_that_could_not_be_written_down(rig: Rig) -> None:
    """A busy database at the wrong moment must not end the noticing of exits."""
    async with rig.pool() as pool:
        unlucky, lucky = [await pool.get_or_start(key, unheard) for key in (ALICE, BOB)]
        rig.state.not_removed.add(unlucky.id)
        end = gone(lucky)
        for session in (unlucky, lucky):
            rig.launcher.die(session.id)
        await end
        assert pool.all() == []


# --- idleness -------------------------------------------------------------------------------


async def test_an_idle_session_is_culled_and_an_active_one_is_not(rig: Rig) -> None:
    """B77; an HTTP request counts as activity."""
    async with rig.pool(ttl=SHORT) as pool:
        sleepy, busy = [await pool.get_or_start(key, unheard) for key in (ALICE, BOB)]
        culled = gone(sleepy)
        rig.clock.advance(1)
        pool.touch(busy)
        await culled
        assert pool.all() == [busy]
    assert list(rig.launcher.specs) == [busy.id]
    assert rig.rows() == [("bob", "A1", "running")]


async def test_lectures_are_culled_like_edits(rig: Rig) -> None:
    """B65"""
    async with rig.pool(ttl=SHORT) as pool:
        session = await pool.get_or_start(LECTURE, unheard)
        culled = gone(session)
        rig.clock.advance(1)
        await culled
        assert pool.all() == []


async def test_culling_goes_on_after_a_failure_of_the_database(rig: Rig) -> None:
    async with rig.pool(ttl=SHORT) as pool:
        session = await pool.get_or_start(ALICE, unheard)
        rig.state.failures = 2
        async with asyncio.timeout(PATIENCE):
            while rig.state.failures:  # noqa: ASYNC110 - the housekeeping tells nobody
                await asyncio.sleep(0.005)
        culled = gone(session)
        rig.clock.advance(1)
        await culled


async def test_a_start_that_cannot_be_written_down_leaves_nothing_running(rig: Rig) -> None:
    rig.state.failures = 1
    async with rig.pool() as pool:
        with pytest.raises(Busy):
            await pool.get_or_start(ALICE, unheard)
        assert (rig.launcher.specs, rig.rows()) == ({}, [])
        await pool.get_or_start(ALICE, unheard)


async def test_websockets_count_as_activity_when_they_open_and_close(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
        rig.clock.advance(100)
        with pool.connected(session):
            opened = rig.clock.now()
            assert (session.connections, session.last_seen) == (1, opened)
            with pool.connected(session):
                assert session.connections == 2
            rig.clock.advance(100)
        assert (session.connections, session.last_seen) == (0, rig.clock.now())


def test_idle_names_the_longest_idle_first(rig: Rig) -> None:
    now = rig.clock.now()
    rig.clock.advance(TTL)
    sessions = [_live("new", rig.clock.now()), _live("old", now), _live("edge", now)]
    rig.clock.advance(1)
    older = _live("older", now.replace(year=2020))
    found = idle([*sessions, older], rig.clock.now(), timedelta(seconds=TTL))
    assert [session.id for session in found] == ["older", "old", "edge"]


# --- lectures -------------------------------------------------------------------------------


async def test_a_lecture_that_was_published_again_is_started_anew(rig: Rig) -> None:
    rig.spawner.versions["L01"] = "1"
    async with rig.pool() as pool:
        first = await pool.get_or_start(LECTURE, unheard)
        assert await pool.get_or_start(LECTURE, unheard) is first
        rig.spawner.versions["L01"] = "2"
        both = await asyncio.gather(*(pool.get_or_start(LECTURE, unheard) for _ in range(2)))
        assert both[0] is both[1]
        assert both[0].version == "2"
        assert list(rig.launcher.specs) == [both[0].id]


# --- a hub's restart ------------------------------------------------------------------------


async def test_the_next_hub_adopts_what_runs(rig: Rig) -> None:
    rig.spawner.versions["L01"] = "7"
    async with rig.pool() as pool:
        before = {key: await pool.get_or_start(key, unheard) for key in (ALICE, LECTURE)}
    assert len(rig.launcher.specs) == 2, "a hub's end is no session's end"
    rig.clock.advance(10 * TTL)
    async with rig.pool() as pool:
        for key, old in before.items():
            adopted = pool.find(key)
            assert adopted is not None
            assert (adopted.id, adopted.endpoint) == (old.id, old.endpoint)
            assert (adopted.base_url, adopted.version) == (old.base_url, old.version)
            assert adopted.last_seen == rig.clock.now(), "the hub was away, not the student"
            assert await pool.get_or_start(key, unheard) is adopted


async def test_the_next_hub_forgets_what_ended_meanwhile(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
    rig.launcher.die(session.id)
    async with rig.pool() as pool:
        assert pool.all() == []
        assert rig.rows() == []


async def test_the_next_hub_ends_what_nobody_can_reach(rig: Rig) -> None:
    """Stray sessions, and those whose start the hub before did not see through."""
    row = _row("halfway", SessionState.STARTING, rig.clock.now())
    rig.state.add_session(row)
    async with rig.pool() as pool:
        stray = await pool.get_or_start(BOB, unheard)
        spec = rig.launcher.specs[stray.id]
    rig.state.remove_session(stray.id)
    rig.launcher.specs["halfway"] = spec
    async with rig.pool() as pool:
        assert pool.all() == []
        assert rig.launcher.specs == {}
        assert rig.rows() == []


async def test_the_last_activity_is_written_down_at_the_end(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, unheard)
        rig.clock.advance(60)
        pool.touch(session)
    (row,) = rig.state.sessions()
    assert row.last_seen == session.last_seen == rig.clock.now()


async def test_closing_waits_for_a_stop_under_way(rig: Rig) -> None:
    """The next hub would take a session that is half stopped for a running one."""
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, unheard)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        stop.cancel()
        asyncio.get_running_loop().call_later(0.05, rig.launcher.go_on.set)
    assert (rig.launcher.specs, rig.rows()) == ({}, [])


async def test_closing_ends_starts_under_way(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool() as pool:
        asking = asyncio.create_task(pool.get_or_start(ALICE, unheard))
        await soon(rig.server.asked.wait())
    assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], BaseException)
    assert rig.launcher.specs == {}
    assert rig.rows() == []


def test_orphans_are_what_runs_without_the_row_of_a_running_session(rig: Rig) -> None:
    now = rig.clock.now()
    rows = [_row("known", SessionState.RUNNING, now), _row("half", SessionState.STARTING, now)]
    assert orphans(rows, ["known", "half", "stray"]) == ["half", "stray"]


def _live(name: str, last_seen: datetime) -> LiveSession:
    endpoint = Endpoint(Path("/nowhere"))
    return LiveSession(name, ALICE, endpoint, "/edit/user/alice/A1", "", last_seen, last_seen)


def _row(session_id: str, state: SessionState, now: datetime) -> SessionRow:
    return SessionRow(
        session_id=session_id,
        username="carol",
        item="A1",
        mode="edit",
        state=state,
        socket="",
        version="",
        environment="",
        started_at=now,
        last_seen=now,
    )
