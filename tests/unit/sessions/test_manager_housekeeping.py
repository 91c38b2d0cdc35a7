"""Idle sessions are culled; the next hub adopts what runs (B65, B77; architecture.md)."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from mograder.sandbox.protocol import Ended
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.hub_state import SessionRow, SessionState
from tests.support.session_pools import ALICE, BOB, LECTURE, TTL, Rig, gone, ignore_progress, soon
from tests.support.supervisors import until

SHORT = 0.04
"""A time to live in seconds that makes the housekeeping look every 10 ms; the manual clock
alone decides which sessions are idle."""


# --- idleness -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ALICE, LECTURE], ids=lambda key: key.mode)
async def test_an_idle_session_is_culled_and_an_active_one_is_not(
    rig: Rig, key: SessionKey
) -> None:
    """B65, B77; an HTTP request counts as activity."""
    async with rig.pool(ttl=SHORT) as pool:
        sleepy, busy = [await pool.get_or_start(each, ignore_progress) for each in (key, BOB)]
        culled = gone(sleepy)
        rig.clock.advance(10)
        pool.touch(busy)
        await culled
        assert pool.all() == [busy]
    assert list(rig.launcher.requests) == [busy.id]
    assert rig.rows() == [("bob", "A1", "running")]


@pytest.mark.parametrize("hours", [9, -9])
async def test_a_clock_that_is_set_ends_no_session_in_use_and_keeps_no_idle_one(
    rig: Rig, hours: int
) -> None:
    async with rig.pool(ttl=SHORT) as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        looks = 0

        def look(_: LiveSession) -> bool:
            nonlocal looks
            looks += 1
            return True

        pool.culler.reached = look
        rig.clock.set_by(hours * 3600)
        await until(lambda: looks > 4 or pool.all() == [])
        assert pool.all() == [session]
        culled = gone(session)
        rig.clock.advance(10)
        await culled
        assert pool.all() == []


async def test_websockets_count_as_activity_when_they_open_and_close(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        rig.clock.advance(100)
        with pool.connected(session):
            opened = rig.clock.now()
            assert (session.connections, session.last_seen) == (1, opened)
            with pool.connected(session):
                assert session.connections == 2
            rig.clock.advance(100)
        assert (session.connections, session.last_seen) == (0, rig.clock.now())


# --- a hub's restart ------------------------------------------------------------------------


async def test_a_machine_cannot_end_the_session_of_another_one(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        await pool.note_exit(Ended(session_id=session.id, status=0, log_tail="", node="liar"))
        assert pool.all() == [session]
        assert rig.rows() == [("alice", "A1", "running")]
        await pool.note_exit(Ended(session_id=session.id, status=0, log_tail=""))
        assert pool.all() == []


async def test_the_next_hub_adopts_what_runs(rig: Rig) -> None:
    rig.spawner.versions["L01"] = "7"
    async with rig.pool() as pool:
        before = {key: await pool.get_or_start(key, ignore_progress) for key in (ALICE, LECTURE)}
    assert len(rig.launcher.requests) == 2, "a hub's end is no session's end"
    rig.clock.advance(10 * TTL)
    async with rig.pool() as pool:
        for key, old in before.items():
            adopted = pool.find(key)
            assert adopted is not None
            assert (adopted.id, adopted.endpoint) == (old.id, old.endpoint)
            assert (adopted.base_url, adopted.version) == (old.base_url, old.version)
            assert adopted.last_seen == rig.clock.now(), "the hub was away, not the student"
            assert await pool.get_or_start(key, ignore_progress) is adopted


async def test_the_next_hub_ends_what_nobody_can_reach(rig: Rig) -> None:
    """Stray sessions, and those whose start the hub before did not see through."""
    row = _row("halfway", SessionState.STARTING, rig.clock.now())
    rig.state.add_session(row)
    async with rig.pool() as pool:
        stray = await pool.get_or_start(BOB, ignore_progress)
        request = rig.launcher.requests[stray.id]
    rig.state.remove_session(stray.id)
    rig.launcher.requests["halfway"] = request
    async with rig.pool() as pool:
        assert pool.all() == []
        await until(lambda: not rig.launcher.requests and not rig.rows())


async def test_closing_waits_for_a_stop_under_way(rig: Rig) -> None:
    """The next hub would take a session that is half stopped for a running one."""
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, ignore_progress)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        stop.cancel()
        asyncio.get_running_loop().call_later(0.05, rig.launcher.go_on.set)
    assert (rig.launcher.requests, rig.rows()) == ({}, [])


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
    )
