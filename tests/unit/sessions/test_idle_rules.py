"""Sessions that are culled, decided from recorded activity (B65, B77; decision 25)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.idle_culler import (
    FORGOTTEN,
    IN_SIGHT,
    QUIET,
    SETTLED,
    attend,
    idle,
    put_right,
    relief,
    spare,
    unattended,
)
from mograder.sessions.session import LiveSession, SessionKey, Usage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def live(
    name: str,
    quiet: timedelta,
    *,
    connections: int = 0,
    busy: bool = False,
    memory: int = 10,
    user: str = "",
    asked: timedelta | None = None,
) -> LiveSession:
    """Return a session of a person whose last message was so long ago, and ``asked`` a page's."""
    return LiveSession(
        id=name,
        key=SessionKey(user or name, "A1", Mode.EDIT),
        endpoint=Endpoint(Path("/nowhere")),
        base_url="/edit/user/alice/A1",
        version="",
        started_at=NOW - timedelta(days=1),
        last_seen=NOW - quiet,
        connections=connections,
        usage=Usage(expected=50, born=0.0, memory=memory, busy=busy),
        asked=None if asked is None else NOW - asked,
    )


def names(sessions: list[LiveSession]) -> list[str]:
    """Return the ids of the sessions."""
    return [session.id for session in sessions]


# --- idle -----------------------------------------------------------------------------------


def test_who_was_not_in_use_for_longer_than_the_idle_time_is_idle_the_oldest_first() -> None:
    sessions = [live("a", HOUR + SECOND), live("b", HOUR), live("c", 2 * HOUR)]
    assert names(idle(sessions, NOW, HOUR)) == ["c", "a"]


def test_an_open_page_or_a_computing_kernel_counts_as_use_for_a_while() -> None:
    reader = live("reader", 2 * HOUR, connections=1)
    thinker = live("thinker", 2 * HOUR, busy=True)
    attend([reader, thinker], NOW)
    assert idle([reader, thinker], NOW, HOUR) == []
    assert names(idle([reader, thinker], NOW + HOUR + SECOND, HOUR)) == ["reader", "thinker"], (
        "from the moment when it was last so"
    )


def test_neither_keeps_a_session_for_ever() -> None:
    """A tab left open, an endless loop, and a server that lies about its pages."""
    sessions = [
        live("tab", FORGOTTEN * HOUR + SECOND, connections=1),
        live("loop", FORGOTTEN * HOUR + SECOND, busy=True),
        live("both", FORGOTTEN * HOUR + SECOND, connections=1, busy=True),
        live("almost", FORGOTTEN * HOUR, connections=1, busy=True),
    ]
    attend(sessions, NOW)
    assert names(idle(sessions, NOW, HOUR)) == ["tab", "loop", "both"]


def test_nobody_is_idle_within_seconds_of_a_change_whatever_the_idle_time() -> None:
    assert idle([live("a", SETTLED)], NOW, SECOND) == []
    assert names(idle([live("a", SETTLED + SECOND)], NOW, SECOND)) == ["a"]


# --- pressure -------------------------------------------------------------------------------


def test_under_pressure_who_has_no_page_goes_soon_and_the_oldest_first() -> None:
    sessions = [live("a", QUIET + SECOND), live("b", QUIET), live("c", HOUR)]
    assert names(unattended(sessions, NOW)) == ["c", "a"]


def test_under_pressure_an_open_page_or_a_computing_kernel_has_longer() -> None:
    for each in (
        live("page", IN_SIGHT, connections=1),
        live("kernel", IN_SIGHT, busy=True),
    ):
        assert unattended([each], NOW) == []
        assert names(unattended([each], NOW + SECOND)) == [each.id]


def test_a_page_that_was_open_a_moment_ago_counts_as_open() -> None:
    """Through another hub: only its own server knows, and is not asked again at once."""
    session = live("page", HOUR / 12)
    session.paged = NOW - QUIET
    assert unattended([session], NOW) == []
    assert names(unattended([session], NOW + SECOND)) == ["page"]


def test_a_page_and_a_computing_kernel_together_are_never_put_away_for_others() -> None:
    assert unattended([live("a", 100 * HOUR, connections=1, busy=True)], NOW) == []


def test_of_a_person_with_several_sessions_all_but_the_one_used_last_may_go() -> None:
    """A page that is open, a kernel that computes and what it prints keep none of these."""

    def at_work(name: str, asked: timedelta | None) -> LiveSession:
        return live(name, SECOND, connections=1, busy=True, user="alice", asked=asked)

    sessions = [
        live("other", HOUR),
        at_work("printing", HOUR),
        at_work("typing", 2 * SECOND),
        at_work("before", HOUR / 2),
        at_work("never asked", None),
        live("alone", SECOND, connections=1, busy=True),
    ]
    assert names(spare(sessions, NOW)) == ["never asked", "printing", "before"]
    assert names(unattended(sessions, NOW)) == ["other"]


def test_of_two_pages_that_are_used_by_turns_none_may_go() -> None:
    """What was typed into the first one is saved a second later."""
    first = live("first", SECOND, connections=1, user="alice", asked=QUIET)
    second = live("second", SECOND, connections=1, user="alice", asked=SECOND)
    assert spare([first, second], NOW) == []
    assert names(spare([first, second], NOW + SECOND)) == ["first"]


def test_a_clock_that_is_set_moves_the_last_use_of_a_page() -> None:
    session = live("a", SECOND, asked=SECOND)
    put_right([session], HOUR, NOW + HOUR)
    assert session.asked == NOW + HOUR - SECOND


def test_no_more_go_than_the_shortage_asks_for() -> None:
    sessions = [live("a", HOUR, memory=30), live("b", HOUR, memory=30), live("c", HOUR)]
    assert names(relief(sessions, 31)) == ["a", "b"]
    assert names(relief(sessions, 30)) == ["a"]
    assert relief(sessions, 0) == []
    assert names(relief([live("unmeasured", HOUR, memory=0), *sessions], 50)) == ["unmeasured"]
