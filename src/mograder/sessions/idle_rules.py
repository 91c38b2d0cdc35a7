"""Which sessions are put away, decided from what is known of each; :mod:`.keeper` does it.

A session is in use when a request or a message comes (``last_seen``), and also, without any, while
a page of it is open (``paged``) or its kernel computes (``computed``). All are needed: behind a
web server's fast path the hub sees no message at all, only that requests are authorised.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from mograder.sessions.session import LiveSession

FORGOTTEN = 4
"""So many idle times may a page stay open, or a kernel compute, without a request or a message.
Else an endless loop, or a tab left open over the holidays, would keep its memory for ever."""

SETTLED = timedelta(seconds=5)
"""No session ends sooner after a request: marimo saves a second after each change."""

QUIET = timedelta(seconds=60)
"""After so long without a page, a session may go when others wait: a page that reloads, or a
laptop that changes networks, is back by then."""

IN_SIGHT = timedelta(minutes=10)
"""After so long with a page open or a kernel computing (not both), it may go when others wait.
Whatever was typed is saved since long, unless its student switched marimo's autosave off."""


def idle(sessions: Iterable[LiveSession], now: datetime, ttl: timedelta) -> list[LiveSession]:
    """Return the sessions that were not in use for longer than ``ttl``, oldest activity first."""
    return _oldest_first(each for each in sessions if _is_idle(each, now, max(ttl, SETTLED)))


def forgotten(session: LiveSession, now: datetime, ttl: timedelta) -> bool:
    """Tell whether nobody has asked anything of it for so long that an open page counts no more."""
    return now - session.last_seen > max(ttl, SETTLED) * FORGOTTEN


def pressed(sessions: Iterable[LiveSession], now: datetime) -> list[LiveSession]:
    """Return the sessions that may go when others wait for memory, oldest activity first.

    Never one with a page open and a kernel that computes, and none within seconds of a change.
    """
    return _oldest_first(each for each in sessions if _may_go(each, now))


def relief(candidates: Iterable[LiveSession], shortage: int) -> list[LiveSession]:
    """Return the first of them whose memory together makes up for the shortage, or all."""
    chosen: list[LiveSession] = []
    for live in candidates:
        if shortage <= 0:
            break
        chosen.append(live)
        shortage -= live.memory or live.usage.expected
    return chosen


def attend(sessions: Iterable[LiveSession], now: datetime) -> None:
    """Note which sessions are in use without a request: a page is open, or they compute."""
    for live in sessions:
        if live.connections:
            live.paged = now
        if live.busy:
            live.computed = now


def page_known(live: LiveSession, now: datetime) -> bool:
    """Tell whether a page is open, or was a moment ago: its server need not be asked."""
    return live.connections > 0 or (live.paged is not None and now - live.paged <= QUIET)


def _is_idle(live: LiveSession, now: datetime, ttl: timedelta) -> bool:
    used = max(each for each in (live.last_seen, live.paged, live.computed) if each is not None)
    return now - used > ttl or forgotten(live, now, ttl)


def _may_go(live: LiveSession, now: datetime) -> bool:
    connected = page_known(live, now)
    if connected and live.busy:
        return False
    return now - live.last_seen > (IN_SIGHT if connected or live.busy else QUIET)


def _oldest_first(sessions: Iterable[LiveSession]) -> list[LiveSession]:
    return sorted(sessions, key=lambda live: live.last_seen)
