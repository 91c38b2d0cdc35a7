"""Ending of idle sessions after the idle timeout, and sooner when others wait for memory.

Rules, which are pure, select the sessions. A session counts as used at each request or message
(``last_seen``), and also while one of its pages is open (``paged``) or its kernel computes
(``computed``). A round reads only values in memory: a session's server
is asked for its open pages only before it is ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.names import is_rehearsal
from mograder.core.tasks import repeat
from mograder.sessions.admission import AdmissionQueue
from mograder.sessions.capacity import rest
from mograder.sessions.connections import Census
from mograder.sessions.end_reasons import EndReason
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

END_SECONDS = 20.0
"""How long an end is waited for; it usually takes two. It goes on then, but other sessions do not
wait for one whose process or machine hangs."""


def idle(sessions: Iterable[LiveSession], now: datetime, ttl: timedelta) -> list[LiveSession]:
    """Return the sessions that were not in use for longer than ``ttl``, oldest activity first."""
    ttl, found = max(ttl, SETTLED), []
    for live in sessions:
        uses = (live.last_seen, live.paged, live.computed)
        used = max(each for each in uses if each is not None)
        if now - used > ttl or now - live.last_seen > ttl * FORGOTTEN:
            found.append(live)
    return sorted(found, key=_last_seen)


def unattended(sessions: Iterable[LiveSession], now: datetime) -> list[LiveSession]:
    """Return the sessions that their students do not seem to need now, oldest activity first.

    A session with an open page and a computing kernel is never returned, nor one whose last
    request is less than :data:`QUIET` ago.
    """
    found = []
    for live in sessions:
        connected, busy = page_known(live, now), live.usage.busy
        enough = IN_SIGHT if connected or busy else QUIET
        if not (connected and busy) and now - live.last_seen > enough:
            found.append(live)
    return sorted(found, key=_last_seen)


def spare(sessions: Iterable[LiveSession], now: datetime) -> list[LiveSession]:
    """Return all sessions of each person but the one whose page they used last, oldest use first.

    Their pages and kernels do not matter: no person may keep others out by many notebooks that
    compute or print. What the server of a session sends is no use of it. One whose page was used
    less than :data:`QUIET` ago is never returned.
    """
    ordered = sorted(sessions, key=_page_used)
    last = {live.key.user: live for live in ordered}
    quiet = (live for live in ordered if now - _page_used(live) > QUIET)
    return [live for live in quiet if last[live.key.user] is not live]


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


def put_right(sessions: Iterable[LiveSession], step: timedelta, now: datetime) -> None:
    """Correct the times of activity after the machine's clock was set forward by ``step``.

    After it was set back none is in the future, where it would count as use until then.
    """

    def right(at: datetime) -> datetime:
        return min(at + max(step, timedelta()), now)

    for live in sessions:
        live.last_seen = right(live.last_seen)
        live.asked = live.asked and right(live.asked)
        live.paged = live.paged and right(live.paged)
        live.computed = live.computed and right(live.computed)


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


def _page_used(live: LiveSession) -> datetime:
    return live.asked or live.started_at


def _last_seen(live: LiveSession) -> datetime:
    return live.last_seen


_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 15.0
_PRESSED_SECONDS = 5.0
"""Seconds until the next attempt to free memory, after one that found no session to end."""
_STATUS_SECONDS = 2.5
"""The same after one that ended sessions on nodes: a node tells each 1.5 seconds what it uses."""
_AT_ONCE = 8
"""Sessions ended at the same time: many that save at once would slow down all others."""


_Rule = Callable[[Sequence[LiveSession], datetime], Sequence[LiveSession]]
"""Returns the sessions that may be ended at a time."""


class IdleCuller:
    """The two loops that end idle sessions; the session manager owns their tasks.

    ``end`` ends one, also if its caller is cancelled.
    ``ttl`` is the idle timeout in seconds. ``moving`` returns whether a session runs on a machine
    that is being drained, ``reached`` whether this hub can end it. An end of any other session
    would wait until its machine is back, and the notebook could not be opened meanwhile.
    """

    def __init__(
        self,
        sessions: Callable[[], list[LiveSession]],
        end: Callable[[LiveSession, EndReason], Awaitable[None]],
        queue: AdmissionQueue,
        clock: Clock,
        census: Census,
        ttl: float,
    ) -> None:
        self._sessions = sessions
        self._end_session = end
        self._queue = queue
        self._clock = clock
        self._census = census
        self._ttl = timedelta(seconds=ttl)
        self.moving: Callable[[LiveSession], bool] = lambda _: False
        self.reached: Callable[[LiveSession], bool] = lambda _: True
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._origin = self._steady_origin()

    async def end_idle(self) -> None:
        async def look() -> None:
            self._take_stock()
            await self._end_all(partial(idle, ttl=self._ttl), EndReason.IDLE)
            await self._end_all(self._moved, EndReason.MOVED)
            self._queue.pump()  # sessions that are no longer young count with less memory

        pause = min(_HOUSEKEEPING_SECONDS, self._ttl.total_seconds() / 4)
        await repeat("idle sessions", look, pause, at_once=False)

    async def free_memory(self) -> None:
        while True:
            await self._queue.pressed.wait()
            pause = min(_PRESSED_SECONDS, self._ttl.total_seconds() / 4)
            try:
                if chosen := await self._make_room():
                    left = self._sessions()
                    on_nodes = any(live.endpoint.node and live not in left for live in chosen)
                    pause = _STATUS_SECONDS if on_nodes else 0.0
            except Exception:  # noqa: BLE001 - the loop tries again: starts still wait
                _log.exception("ending sessions to free memory for waiting starts failed")
            await asyncio.sleep(pause)
            self._queue.pump()

    def _steady_origin(self) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.steady())

    def _take_stock(self) -> None:
        before, self._origin = self._origin, self._steady_origin()
        put_right(self._sessions(), self._origin - before, self._clock.now())
        for live in self._sessions():
            rest(live.usage, self._clock.steady())
        attend(self._sessions(), self._clock.now())

    def _moved(self, sessions: Sequence[LiveSession], now: datetime) -> Sequence[LiveSession]:
        """Return those that may go and are to start elsewhere when they are opened again."""
        return unattended(filter(self.moving, sessions), now)

    async def _make_room(self) -> Sequence[LiveSession]:
        """End sessions to free memory for waiting starts; return those that were chosen.

        Only those of the first rule that selects any are ended: they may be enough.
        """
        self._take_stock()
        for rule in (rehearsed, unattended, spare):
            lacking = self._queue.shortage()
            if chosen := await self._end_all(rule, EndReason.PRESSURE, lacking=lacking):
                break
        self._queue.pump()
        return chosen

    def _selected(self, rule: _Rule) -> Sequence[LiveSession]:
        reached = [live for live in self._sessions() if self.reached(live)]
        return rule(reached, self._clock.now())

    async def _end_all(
        self, rule: _Rule, reason: EndReason, *, lacking: int | None = None
    ) -> Sequence[LiveSession]:
        """End and return those that a rule selects, at most as many as use ``lacking`` bytes."""
        chosen = self._selected(rule)
        if lacking is not None:
            chosen = relief(chosen, lacking)
        async with asyncio.TaskGroup() as group:
            for live in chosen:
                group.create_task(self._end(live, reason, rule))
        return chosen

    async def _end(self, live: LiveSession, reason: EndReason, rule: _Rule) -> None:
        key = live.key
        async with self._asking:
            await self._ask(live, reason)
            if live not in self._selected(rule):
                return
            _log.info("ending %s of %s for %s: %s", key.mode, key.item, key.user, reason)
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._end_session(live, reason)
            except TimeoutError:
                _log.warning("session %s has not ended yet", live.id)
            except MograderError as error:
                _log.warning("session %s was not ended completely: %s", live.id, error)

    async def _ask(self, live: LiveSession, reason: EndReason) -> None:
        """Ask a session's server for its open pages, and set ``paged`` if it has any.

        Without a valid answer an idle session is taken to have no page. Any other one is taken to
        have a page: a server that is short of processor time must not lose its student's page.
        """
        under_pressure = reason is not EndReason.IDLE
        if live.connections or is_rehearsal(live.key.user):  # no person looks at a rehearsal's
            return
        if under_pressure and page_known(live, self._clock.now()):
            return
        pages = await self._census(live.endpoint, live.base_url)
        if under_pressure if pages is None else pages > 0:
            live.paged = self._clock.now()
