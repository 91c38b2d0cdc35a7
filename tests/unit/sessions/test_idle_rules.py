"""Sessions that are culled, decided from recorded activity (B65, B77; decision 25)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.idle_culler import (
    FORGOTTEN,
    IN_SIGHT,
    QUIET,
    SETTLED,
    attend,
    idle,
    pressed,
    relief,
)
from mograder.sessions.session import LiveSession, Usage
from tests.support.session_pools import ALICE

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
) -> LiveSession:
    """Return a session whose last request was this long ago."""
    return LiveSession(
        id=name,
        key=ALICE,
        endpoint=Endpoint(Path("/nowhere")),
        base_url="/edit/user/alice/A1",
        version="",
        started_at=NOW - timedelta(days=1),
        last_seen=NOW - quiet,
        connections=connections,
        usage=Usage(expected=50, born=0.0, memory=memory, busy=busy),
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
    assert names(pressed(sessions, NOW)) == ["c", "a"]


def test_under_pressure_an_open_page_or_a_computing_kernel_has_longer() -> None:
    for each in (
        live("page", IN_SIGHT, connections=1),
        live("kernel", IN_SIGHT, busy=True),
    ):
        assert pressed([each], NOW) == []
        assert names(pressed([each], NOW + SECOND)) == [each.id]


def test_a_page_that_was_open_a_moment_ago_counts_as_open() -> None:
    """Through another hub: only its own server knows, and is not asked again at once."""
    session = live("page", HOUR / 12)
    session.paged = NOW - QUIET
    assert pressed([session], NOW) == []
    assert names(pressed([session], NOW + SECOND)) == ["page"]


def test_a_page_and_a_computing_kernel_together_are_never_put_away_for_others() -> None:
    assert pressed([live("a", 100 * HOUR, connections=1, busy=True)], NOW) == []


def test_no_more_go_than_the_shortage_asks_for() -> None:
    sessions = [live("a", HOUR, memory=30), live("b", HOUR, memory=30), live("c", HOUR)]
    assert names(relief(sessions, 31)) == ["a", "b"]
    assert names(relief(sessions, 30)) == ["a"]
    assert relief(sessions, 0) == []
    assert names(relief([live("unmeasured", HOUR, memory=0), *sessions], 50)) == ["unmeasured"]
