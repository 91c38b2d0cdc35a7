"""One session per user, item and mode: started once, shared, stopped, culled, adopted.

B65, B72, B77; decision 3; compatibility-0.3.16.md 2.3.
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from mograder.core.errors import Busy, NotFound, RemoteFailed, SandboxUnavailable, TimedOut
from mograder.core.tasks import Progress
from mograder.sandbox.protocol import Checked, SessionChecks, SessionInfo, StartSession
from mograder.sessions import manager as pool_module
from mograder.sessions import startup
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import SessionKey
from tests.support.session_pools import ALICE, BOB, LECTURE, Rig, gone, ignore_progress, soon
from tests.support.supervisors import until

# --- reports of checks ----------------------------------------------------------------------


async def test_the_listener_hears_what_a_running_editor_reports(rig: Rig) -> None:
    told: list[tuple[SessionKey, list[str]]] = []
    async with rig.pool() as pool:
        pool.checks.listener = lambda key, reports, _: told.append(
            (key, [each.label for each in reports])
        )
        live = await pool.get_or_start(ALICE, ignore_progress)
        line = '{"label": "Q1", "status": "success", "earned": 1.0, "total": 1.0}'
        news = SessionChecks(session_id=live.id, reports=(line, "junk"))
        rig.launcher.tell(Checked(sessions=(news,)))
        await pool.stop(ALICE)
        rig.launcher.tell(Checked(sessions=(news,)))
    assert told == [(ALICE, ["Q1"])]


# --- starting -------------------------------------------------------------------------------


async def test_a_session_is_started_once_and_found_again(rig: Rig) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        assert await pool.get_or_start(ALICE, ignore_progress) is first
        assert pool.find(ALICE) is first
        assert pool.by_id(first.id) is first
        assert pool.all() == [first]
        assert first.base_url == "/edit/user/alice/A1"
        assert len(rig.launcher.requests) == 1
        assert rig.launcher.answering == [first.id], "its start is over"
        assert rig.rows() == [("alice", "A1", "running")]


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
        assert len(rig.launcher.requests) == 1


async def test_one_who_gives_up_waiting_does_not_stop_the_start(rig: Rig) -> None:
    async with rig.pool() as pool:
        impatient = await rig.begin(pool)
        impatient.cancel()
        await asyncio.wait({impatient})
        rig.server.up.set()
        await pool.get_or_start(ALICE, ignore_progress)
        assert len(rig.launcher.requests) == 1


async def test_a_session_that_all_have_left_before_it_answers_is_ended(rig: Rig) -> None:
    """Its machine may have had to build the environment first."""
    async with rig.pool() as pool:
        left = await rig.begin(pool)
        left.cancel()
        await asyncio.wait({left})
        rig.server.up.set()
        await until(lambda: (rig.launcher.requests, rig.rows()) == ({}, []))
        assert pool.all() == []
        assert pool.tally.starts == {}
        await pool.get_or_start(ALICE, ignore_progress)


async def test_what_the_machine_does_before_the_start_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = rig.launcher.start

    async def build_first(request: StartSession, progress: Progress) -> SessionInfo:
        progress("The machine is getting the software")
        return await start(request)

    monkeypatch.setattr(rig.launcher, "start", build_first)
    told: list[str] = []
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, told.append)
    assert told[-2:] == ["Starting the notebook", "The machine is getting the software"]


async def test_what_cannot_be_opened_is_said_and_recorded_nowhere(rig: Rig) -> None:
    rig.spawner.failure = NotFound("Notebook not found")
    async with rig.pool() as pool:
        with pytest.raises(NotFound):
            await pool.get_or_start(ALICE, ignore_progress)
        assert rig.rows() == []
        rig.spawner.failure = None
        await pool.get_or_start(ALICE, ignore_progress)


async def test_a_launcher_that_cannot_start_leaves_no_row(rig: Rig) -> None:
    rig.launcher.failure = SandboxUnavailable("bubblewrap is gone")
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="bubblewrap is gone"):
            await pool.get_or_start(ALICE, ignore_progress)
        assert rig.rows() == []


async def test_a_death_while_starting_is_told_with_its_last_words(rig: Rig) -> None:
    async with rig.pool() as pool:
        asking = await rig.begin(pool)
        (session_id,) = rig.launcher.requests
        rig.launcher.die(session_id, status=3, log_tail="Traceback\nImportError: no numpy\n\n")
        with pytest.raises(SandboxUnavailable, match=r"status 3\).*ImportError: no numpy"):
            await asking
        assert rig.rows() == []
        rig.server.up.set()
        await pool.get_or_start(ALICE, ignore_progress)


async def test_a_death_just_after_the_first_answer_is_not_missed(rig: Rig) -> None:
    """Between the answer and the row that says so nobody looked, and a dead session stayed."""

    def die_while_answering() -> bool:
        for session_id in list(rig.launcher.requests):
            rig.launcher.die(session_id, log_tail="out of memory")
        return True

    rig.server.reply = die_while_answering
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="out of memory"):
            await pool.get_or_start(ALICE, ignore_progress)
        assert pool.find(ALICE) is None
        assert rig.rows() == []


async def test_one_that_never_answers_is_ended_after_its_time(rig: Rig) -> None:
    rig.server.up.clear()
    async with rig.pool(start_timeout=0.05) as pool:
        with pytest.raises(TimedOut, match="did not start within"):
            await pool.get_or_start(ALICE, ignore_progress)
        assert rig.launcher.requests == {}
        assert rig.rows() == []


@pytest.mark.parametrize("problem", [None, aiohttp.ClientPayloadError("garbage")])
async def test_one_that_answers_nonsense_is_ended(
    rig: Rig, problem: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_NEWS_SECONDS", 0.05)

    def reply() -> bool:
        if problem is not None:
            raise problem
        return False

    rig.server.reply = reply
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="no sensible answer"):
            await pool.get_or_start(ALICE, ignore_progress)
        assert rig.launcher.requests == {}
        assert rig.rows() == []


async def test_a_line_that_breaks_just_before_the_news_of_the_death_tells_the_death(
    rig: Rig,
) -> None:
    def break_off() -> bool:
        (session_id,) = rig.launcher.requests
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, lambda: rig.launcher.die(session_id, log_tail="no such module"))
        raise ConnectionResetError

    rig.server.reply = break_off
    async with rig.pool() as pool:
        with pytest.raises(SandboxUnavailable, match="no such module"):
            await pool.get_or_start(ALICE, ignore_progress)


async def test_a_start_that_cannot_be_written_down_leaves_nothing_running(rig: Rig) -> None:
    rig.state.failures = 1
    async with rig.pool() as pool:
        with pytest.raises(Busy):
            await pool.get_or_start(ALICE, ignore_progress)
        assert (rig.launcher.requests, rig.rows()) == ({}, [])
        await pool.get_or_start(ALICE, ignore_progress)


# --- stopping -------------------------------------------------------------------------------


async def test_stop_ends_it_everywhere_and_tells_once(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        calls: list[int] = []
        session.on_stop.append(lambda: calls.append(1))
        assert await pool.stop(ALICE)
        assert await pool.stop(ALICE) is False
        assert (pool.find(ALICE), pool.by_id(session.id), rig.rows()) == (None, None, [])
        assert rig.launcher.requests == {}
        assert calls == [1]


async def test_a_start_during_a_stop_waits_for_its_end(rig: Rig) -> None:
    """Two servers on one workspace would overwrite each other's saves."""
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        told: list[str] = []
        again = asyncio.create_task(pool.get_or_start(ALICE, told.append))
        other = await pool.get_or_start(BOB, ignore_progress)
        assert list(rig.launcher.requests) == [first.id, other.id]
        await until(lambda: len(told) == 2)
        assert told[-1] == "Waiting until the notebook's last session has ended"
        rig.launcher.go_on.set()
        second = await again
        assert await stop
        assert list(rig.launcher.requests) == [other.id, second.id]
        assert sorted(rig.rows()) == [("alice", "A1", "running"), ("bob", "A1", "running")]


async def test_a_stop_whose_asker_hangs_up_is_finished(rig: Rig) -> None:
    rig.launcher.go_on.clear()
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, ignore_progress)
        stop = asyncio.create_task(pool.stop(ALICE))
        await soon(rig.launcher.stopping.wait())
        stop.cancel()
        await asyncio.wait({stop})
        rig.launcher.go_on.set()
        await pool.get_or_start(ALICE, ignore_progress)
        assert len(rig.launcher.requests) == 1
        assert rig.rows() == [("alice", "A1", "running")]


async def test_a_crash_is_noticed_and_cleaned_up_once(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        calls: list[int] = []
        session.on_stop.append(lambda: calls.append(1))
        end = gone(session)
        rig.launcher.die(session.id, log_tail="Killed")
        await end
        second = await pool.get_or_start(ALICE, ignore_progress)
        assert second.id != session.id
        assert calls == [1]
        assert rig.rows() == [("alice", "A1", "running")]


async def test_only_what_the_launcher_does_not_have_any_more_is_lost(rig: Rig) -> None:
    async with rig.pool() as pool:
        kept, lost = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB)]
        end = gone(lost)
        del rig.launcher.requests[lost.id]  # its end was not reported
        rig.launcher.lose()
        await end
        assert pool.all() == [kept]
        assert rig.why_ended(pool, lost) is EndReason.LOST


async def test_a_stray_without_a_session_here_is_stopped_after_a_break(rig: Rig) -> None:
    """A start or a stop was under way, and nobody knows what became of it."""
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        stray = rig.launcher.requests[session.id].model_copy(update={"session_id": "stray"})
        await rig.launcher.start(stray)
        rig.launcher.lose()
        await until(lambda: "stray" not in rig.launcher.requests)
        assert [*rig.launcher.requests] == [session.id]


@pytest.mark.parametrize("failure", [RemoteFailed("It does not stop."), ValueError("a bug")])
async def test_a_stray_that_cannot_be_stopped_keeps_no_other_from_it(
    rig: Rig, failure: Exception
) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        request = rig.launcher.requests[session.id]
        strays = [f"stray-{number}" for number in range(20)]
        rig.launcher.unstoppable = {strays[0]: failure}
        for stray in strays:
            await rig.launcher.start(request.model_copy(update={"session_id": stray}))
        rig.launcher.lose()
        await until(lambda: [*rig.launcher.requests] == [session.id, strays[0]])
        rig.launcher.unstoppable.clear()
        rig.launcher.lose()
        await until(lambda: [*rig.launcher.requests] == [session.id])


async def test_sessions_are_kept_while_the_launcher_cannot_be_reached(rig: Rig) -> None:
    """Their own sockets tell which of them live."""
    async with rig.pool() as pool:
        kept, dead = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB)]
        end = gone(dead)
        rig.launcher.dead.add(dead.endpoint)
        rig.launcher.unreachable = RemoteFailed("Nobody answers.")
        rig.launcher.lose()
        await end
        assert pool.all() == [kept]
        rig.launcher.unreachable = None
        rig.launcher.lose()
        await soon(rig.launcher.matched(2))
        assert pool.all() == [kept]


async def test_a_launcher_that_stays_away_fills_no_log(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mograder.core.tasks._RETRY_SECONDS", 0.001)
    attempts = 0

    async def refuse() -> tuple[SessionInfo, ...]:
        nonlocal attempts
        attempts += 1
        raise RemoteFailed("Nobody answers.")

    async with rig.pool():
        monkeypatch.setattr(rig.launcher, "sessions", refuse)
        rig.launcher.lose()
        await until(lambda: attempts >= 5)
    assert caplog.text.count("Nobody answers.") == 1


async def test_a_start_of_which_the_launcher_knows_nothing_any_more_fails(rig: Rig) -> None:
    async with rig.pool() as pool:
        asking = await rig.begin(pool)
        rig.launcher.requests.clear()
        rig.launcher.lose()
        with pytest.raises(SandboxUnavailable, match="while it was starting"):
            await asking
        assert rig.rows() == []


async def test_a_start_goes_on_after_a_break(rig: Rig) -> None:
    async with rig.pool() as pool:
        asking = await rig.begin(pool)
        for times in (1, 2):
            rig.launcher.lose()
            await soon(rig.launcher.matched(times))
        rig.server.up.set()
        assert (await asking).id in rig.launcher.requests


async def test_exits_are_noticed_after_one_that_could_not_be_written_down(rig: Rig) -> None:
    """A busy database at the wrong moment must not end the noticing of exits."""
    async with rig.pool() as pool:
        unlucky, lucky = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB)]
        rig.state.not_removed.add(unlucky.id)
        end = gone(lucky)
        for session in (unlucky, lucky):
            rig.launcher.die(session.id)
        await end
        assert pool.all() == []
        rig.state.not_removed.clear()  # else the end of the pool waits for it


# --- lectures -------------------------------------------------------------------------------


async def test_a_lecture_that_was_published_again_is_started_anew(rig: Rig) -> None:
    rig.spawner.versions["L01"] = "1"
    async with rig.pool() as pool:
        first = await pool.get_or_start(LECTURE, ignore_progress)
        assert await pool.get_or_start(LECTURE, ignore_progress) is first
        rig.spawner.versions["L01"] = "2"
        both = await asyncio.gather(
            *(pool.get_or_start(LECTURE, ignore_progress) for _ in range(2))
        )
        assert both[0] is both[1]
        assert both[0].version == "2"
        assert list(rig.launcher.requests) == [both[0].id]
        assert rig.why_ended(pool, first) is EndReason.REPLACED, "a page that was open says so"


async def test_one_that_is_dead_is_not_given_to_who_asks_before_the_launcher_tells(
    rig: Rig,
) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        rig.launcher.dead.add(first.endpoint)
        asking = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await until(lambda: bool(first.on_stop))
        rig.launcher.die(first.id, status=137, reason="memory")
        assert await asking is not first
        assert rig.why_ended(pool, first) is EndReason.MEMORY, "the launcher knows why"


async def test_one_that_is_dead_is_ended_if_the_launcher_does_not_tell(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_NEWS_SECONDS", 0.05)
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        rig.launcher.dead.add(first.endpoint)
        assert await pool.get_or_start(ALICE, ignore_progress) is not first
        assert list(rig.launcher.requests) != [first.id]
        assert rig.why_ended(pool, first) is EndReason.CRASHED


async def test_who_goes_away_while_a_dead_one_is_waited_for_leaves_nothing_behind(
    rig: Rig,
) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        rig.launcher.dead.add(first.endpoint)
        asking = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await until(lambda: bool(first.on_stop))
        asking.cancel()
        await asyncio.wait({asking})
        assert first.on_stop == []
