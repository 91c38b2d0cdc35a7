"""Why a session ended, in words for its student, and remembered for the next hub."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.limits.procfs import Memory
from mograder.sandbox.limits.rules import View, decide
from mograder.sandbox.protocol import Ended, LimitReason, MachineReason, Mode
from mograder.sessions.end_reasons import (
    Ending,
    EndReason,
    describe,
    describe_to_others,
    last_words,
    reason_of,
)
from mograder.sessions.session import SessionKey
from tests.support.session_pools import ALICE, BOB, LECTURE, Rig, gone, ignore_progress

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LIMITS = limits_of(LimitsSettings(memory_mb=1536, workspace_mb=512, processes=77))


@pytest.mark.parametrize("key", [ALICE, LECTURE])
@pytest.mark.parametrize("reason", EndReason)
def test_every_ending_is_explained_with_what_to_do(reason: EndReason, key: SessionKey) -> None:
    explained = describe(Ending(key, "s", reason, NOW), LIMITS)
    assert explained.title.endswith(".")
    assert "Open it again" in explained.text
    words = f"{explained.title} {explained.text}"
    assert re.search(r"\blost\b|\bdeleted\b", words) is None, "it frightens"
    assert re.search(r"\bwork is\b|\bis saved\b|\bis safe\b", words) is None, "it cannot know that"
    for text in (explained.title, explained.text):
        assert "{" not in text
        assert "  " not in text


def test_the_limits_are_told_in_numbers() -> None:
    def text(reason: EndReason) -> str:
        return describe(Ending(ALICE, "s", reason, NOW), LIMITS).text

    assert "more than 1.5 GB" in text(EndReason.MEMORY)
    assert "512 MB" in text(EndReason.WORKSPACE)
    assert "77 processes" in text(EndReason.PROCESSES)
    two = limits_of(LimitsSettings(memory_mb=2048))
    assert "more than 2 GB," in describe(Ending(ALICE, "s", EndReason.MEMORY, NOW), two).text


def test_what_is_told_of_memory_is_true_where_the_machine_had_none_left() -> None:
    """The session that grows most ends for that, however little it has."""
    grows = View("s", memory=200 << 20, limit=2048 << 20, grown=100 << 20)
    (end,) = decide([grows], Memory(available=1, total=4 << 30), now=0.0)
    ending = Ending(ALICE, "s", reason_of(_ended(-9, end.reason)), NOW)
    assert "or more than the server had left." in describe(ending, LIMITS).text


def test_the_last_words_of_a_crash_are_told_as_they_are() -> None:
    ending = Ending(ALICE, "s", EndReason.CRASHED, NOW, "boom {memory} <b>")
    assert describe(ending, LIMITS).text.endswith("Its last words were: boom {memory} <b>")


def test_an_ending_tells_the_limits_that_it_ran_under() -> None:
    """They may be the item's own, or have been changed since."""
    ran_under = LIMITS.model_copy(update={"memory_mb": 512})
    ending = Ending(ALICE, "s", EndReason.MEMORY, NOW, limits=ran_under)
    assert "more than 512 MB," in describe(ending, LIMITS).text


def _ended(status: int, reason: str = "") -> Ended:
    return Ended(session_id="s", status=status, log_tail="", reason=reason)


def test_every_reason_that_a_supervisor_tells_is_one_of_ours() -> None:
    for reason in {*get_args(LimitReason), *get_args(MachineReason)} - {"shortage"}:
        assert reason_of(_ended(-9, reason)).value == reason
    assert reason_of(_ended(-9, "shortage")) is EndReason.MEMORY


def test_an_end_that_nobody_asked_for_is_a_crash_unless_it_ended_well() -> None:
    assert reason_of(_ended(1)) is EndReason.CRASHED
    assert reason_of(_ended(0)) is EndReason.STOPPED
    assert reason_of(_ended(-9, "a limit of a newer supervisor")) is EndReason.CRASHED


def test_last_words_are_one_short_line_without_tricks() -> None:
    assert last_words("first\n\n  the \x1b[31mlast\x00  \n \n") == "the [31mlast"
    assert last_words("") == ""
    assert len(last_words("x" * 100_000)) == 500


# --- kept -----------------------------------------------------------------------------------


async def test_each_end_has_its_reason(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        assert (pool.history.of_session(session.id), pool.history.of_key(ALICE)) == (None, None)
        heard: list[Ending | None] = []
        session.on_stop.append(lambda: heard.append(pool.history.of_session(session.id)))
        await pool.stop(ALICE)
        ending = pool.history.of_session(session.id)
        assert ending == Ending(ALICE, session.id, EndReason.STOPPED, rig.clock.now())
        assert pool.history.of_key(ALICE) == ending
        assert heard == [ending], "it is known when open pages hear of the end"
        assert pool.tally.endings == {EndReason.STOPPED: 1}


async def test_a_limit_a_crash_and_a_loss_are_told_apart(rig: Rig) -> None:
    async with rig.pool() as pool:
        greedy, broken, bereaved = [
            await pool.get_or_start(key, ignore_progress) for key in (ALICE, BOB, LECTURE)
        ]
        ends = [gone(session) for session in (greedy, broken, bereaved)]
        rig.launcher.die(greedy.id, status=-9, log_tail="whatever", reason="memory")
        rig.launcher.die(broken.id, status=-11, log_tail="Segmentation\nfault\n")
        await ends[0]
        await ends[1]
        rig.launcher.requests.clear()
        rig.launcher.lose()
        await ends[2]
        found = [pool.history.of_session(each.id) for each in (greedy, broken, bereaved)]
        assert [(each.reason, each.detail) for each in found if each is not None] == [
            (EndReason.MEMORY, ""),
            (EndReason.CRASHED, "fault"),
            (EndReason.LOST, ""),
        ]


async def test_a_start_forgets_the_last_ending_but_an_old_page_may_still_ask(rig: Rig) -> None:
    async with rig.pool() as pool:
        first = await pool.get_or_start(ALICE, ignore_progress)
        await pool.stop(ALICE)
        await pool.get_or_start(ALICE, ignore_progress)
        assert pool.history.of_key(ALICE) is None
        assert pool.history.of_user("alice") == []
        old = pool.history.of_session(first.id)
        assert old is not None
    async with rig.pool() as pool:
        assert pool.history.of_key(ALICE) is None, "nor does the next hub know it"


async def test_every_ending_of_a_large_course_is_told(rig: Rig) -> None:
    """500 students, each of whom has used 30 items within the month."""
    pairs = ((user, item) for user in range(500) for item in range(30))
    keys = [SessionKey(f"student-{user}", f"A{item}", Mode.EDIT) for user, item in pairs]
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
        for key in keys:
            pool.history.note(replace(session, id=key.url, key=key), EndReason.IDLE)
        assert all(pool.history.of_key(key) is not None for key in keys)


async def test_endings_survive_the_hub(rig: Rig) -> None:
    async with rig.pool() as pool:
        sessions = [await pool.get_or_start(key, ignore_progress) for key in (ALICE, LECTURE, BOB)]
        end = gone(sessions[1])
        await pool.stop(ALICE)
        rig.clock.advance(60)
        rig.launcher.die(sessions[1].id, log_tail="boom")
        await end
        before = pool.history.of_user("alice")
        assert [each.key for each in before] == [LECTURE, ALICE], "the newest first"
    async with rig.pool() as pool:
        assert pool.history.of_user("alice") == before
        assert pool.history.of_session(sessions[0].id) == before[1]
        assert pool.tally.endings == {}, "the hub before counted them"


async def test_what_ended_while_no_hub_was_there_is_told_as_lost(rig: Rig) -> None:
    async with rig.pool() as pool:
        session = await pool.get_or_start(ALICE, ignore_progress)
    rig.launcher.requests.clear()
    async with rig.pool() as pool:
        ending = pool.history.of_key(ALICE)
        assert ending is not None
        assert (ending.session_id, ending.reason) == (session.id, EndReason.LOST)
    async with rig.pool() as pool:
        assert pool.history.of_key(ALICE) == ending


async def test_endings_are_forgotten_after_a_month(rig: Rig) -> None:
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, ignore_progress)
        await pool.stop(ALICE)
    rig.clock.advance(31 * 86_400)
    async with rig.pool() as pool:
        assert pool.history.of_key(ALICE) is None
        await pool.get_or_start(BOB, ignore_progress)
        await pool.stop(BOB)
    kept = rig.state.endings(NOW.replace(year=2020))
    assert [row.username for row in kept] == ["bob"], "alice's went when bob's came"


async def test_a_reason_of_a_newer_program_is_a_crash_to_this_one(rig: Rig) -> None:
    async with rig.pool() as pool:
        await pool.get_or_start(ALICE, ignore_progress)
        await pool.stop(ALICE)
    (row,) = rig.state.endings(NOW.replace(year=2020))
    newer = type(row)(
        row.username, row.item, row.mode, row.session_id, "sunspots", row.ended_at, row.detail
    )
    rig.state.save_ending(newer, forget_before=NOW.replace(year=2020))
    async with rig.pool() as pool:
        ending = pool.history.of_key(ALICE)
        assert ending is not None
        assert ending.reason is EndReason.CRASHED


@pytest.mark.parametrize("reason", EndReason)
def test_others_who_were_in_a_session_are_not_told_to_open_it_again(reason: EndReason) -> None:
    explained = describe_to_others(Ending(ALICE, "s", reason, NOW, "boom"), helps=True)
    words = f"{explained.title} {explained.text}"
    assert "pen it again" not in words
    assert "Your " not in words
    assert "{" not in words
    assert "Its last words were: boom" in words
