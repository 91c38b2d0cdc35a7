"""The rules that select the sessions to end; :mod:`.idle_culler` ends them.

A session counts as used at each request or message (``last_seen``), and also while one of its
pages is open (``paged``) or its kernel computes (``computed``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from mograder.core.names import is_rehearsal
from mograder.sessions.session import LiveSession

FORGOTTEN = 4
"""Multiple of the idle timeout after which a session without any request or message is idle even
if a page is open or its kernel computes. Otherwise an endless loop or a forgotten tab would keep
its memory without end."""

SETTLED = timedelta(seconds=5)
"""Minimum time between a request and the session's end: marimo saves 1 s after each change."""

QUIET = timedelta(seconds=60)
"""Time without an open page after which a session may be ended when others wait for memory: a
page that reloads, or a laptop that changes networks, has reconnected by then."""

IN_SIGHT = timedelta(minutes=10)
"""Time since the last request after which a session with an open page or a computing kernel (not
both) may be ended when others wait for memory. All edits have long been saved by then, unless the
student switched marimo's autosave off."""


def idle(sessions: Iterable[LiveSession], now: datetime, ttl: timedelta) -> list[LiveSession]:
    """Return the sessions that were not in use for longer than ``ttl``, oldest activity first."""
    return _oldest_first(each for each in sessions if _is_idle(each, now, max(ttl, SETTLED)))


def pressed(sessions: Iterable[LiveSession], now: datetime) -> list[LiveSession]:
    """Return the sessions that may end when others wait for memory, oldest activity first.

    A session with an open page and a computing kernel is never returned, nor one whose last
    request is less than :data:`QUIET` ago.
    """
    return _oldest_first(each for each in sessions if _may_go(each, now))


def rehearsed(sessions: Iterable[LiveSession], _now: datetime) -> list[LiveSession]:
    """Return the sessions of rehearsals, the newest first: they end before any student's."""
    found = (each for each in sessions if is_rehearsal(each.key.user))
    return sorted(found, key=lambda live: live.started_at, reverse=True)


def relief(candidates: Iterable[LiveSession], shortage: int) -> list[LiveSession]:
    """Return the first candidates whose memory adds up to ``shortage`` bytes, or all of them."""
    chosen: list[LiveSession] = []
    for live in candidates:
        if shortage <= 0:
            break
        chosen.append(live)
        shortage -= live.usage.memory or live.usage.expected
    return chosen


def attend(sessions: Iterable[LiveSession], now: datetime) -> None:
    """Set ``paged`` and ``computed`` of sessions with an open page or a computing kernel."""
    for live in sessions:
        if live.connections:
            live.paged = now
        if live.usage.busy:
            live.computed = now


def page_known(live: LiveSession, now: datetime) -> bool:
    """Return whether a page is open or was within :data:`QUIET`; the server is not asked then."""
    return live.connections > 0 or (live.paged is not None and now - live.paged <= QUIET)


def _is_idle(live: LiveSession, now: datetime, ttl: timedelta) -> bool:
    used = max(each for each in (live.last_seen, live.paged, live.computed) if each is not None)
    return now - used > ttl or now - live.last_seen > ttl * FORGOTTEN


def _may_go(live: LiveSession, now: datetime) -> bool:
    connected = page_known(live, now)
    if connected and live.usage.busy:
        return False
    return now - live.last_seen > (IN_SIGHT if connected or live.usage.busy else QUIET)


def _oldest_first(sessions: Iterable[LiveSession]) -> list[LiveSession]:
    return sorted(sessions, key=lambda live: live.last_seen)
