"""Sessions of several hubs on one database: their rows are the locks, and each hub knows them all.

A hub holds every running session in memory, whichever hub started it. Three things keep that true:
opening a notebook reads its row first, the proxy reads the row of a session that it does not know,
and :meth:`SharedRows.watch` compares all rows every second. A session is started, ended or kept
away by the hub whose id is in its row; the others wait, and take over when that hub is dead.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from mograder.core.clock import Clock
from mograder.core.errors import Busy, Conflict, MograderError
from mograder.core.tasks.background_tasks import BackgroundTasks, to_its_end
from mograder.core.tasks.periodic import repeat
from mograder.core.tasks.single_flight import Progress
from mograder.sandbox.protocol import Endpoint
from mograder.sessions.end_history import KEPT, History, ending_of, ending_row
from mograder.sessions.end_reasons import Ending, EndReason
from mograder.sessions.launcher import Launcher, ignore
from mograder.sessions.session import LiveSession, SessionKey, key_of
from mograder.store.hub.hub_tables import SessionRow, SessionState
from mograder.store.hub.session_locks import HeldRow, SessionLocks

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
_WAIT_SECONDS = 0.2
"""The pause between two looks at a row that another hub holds."""

_AT_ONCE_SECONDS = 1.0
"""How long a caller waits for a stop, which usually succeeds at once; it goes on after that."""

_PATIENCE_SECONDS = 120.0
_GONE = 500
_EXPLAIN_LOOKS = 60
"""Number of looks after which an ending that no hub has written is given up."""


class RowTaken(Conflict):
    """Another hub has begun to start or change the same session; look again."""


class Sessions(Protocol):
    """The part of the session manager that is used here; on the event loop only."""

    history: History
    on_change: Callable[[SessionKey], None]

    def find(self, key: SessionKey) -> LiveSession | None: ...

    def by_id(self, session_id: str) -> LiveSession | None: ...

    def all(self) -> list[LiveSession]: ...

    def adopt(self, row: SessionRow, last_seen: datetime) -> LiveSession:
        """Add a running session, in place of one of the same key that has ended."""
        ...

    def drop(self, live: LiveSession, ending: Ending | None) -> None:
        """Forget a session that another hub ended; ``ending`` is None if the reason is unknown."""
        ...

    def busy(self, key: SessionKey) -> bool:
        """Return whether this hub starts or ends the session now, or changes its files."""
        ...

    def is_closing(self, session_id: str) -> bool:
        """Return whether this hub ends this session now."""
        ...

    def reserve(self, session_id: str, key: SessionKey) -> None:
        """Count the expected memory of a session that another hub starts."""
        ...

    def release(self, session_id: str) -> None:
        """End that, unless the session runs."""
        ...

    async def end(self, live: LiveSession, reason: EndReason) -> None: ...


@dataclass(slots=True)
class _Unexplained:
    key: SessionKey
    looks: int = 0


class SharedRows:
    """The rows, for one hub of several. Call :meth:`open` first and :meth:`close` last.

    Mutable state: ``_reserved``, ids of sessions that other hubs start; ``_unexplained``, sessions
    that ended for a reason that is not known yet; ``_tasks``, the stops in the background;
    ``_mine``, ids of this hub's rows that are being used, and ``_suspects``, ids of those that
    were not at the last look, because the database did not answer when they were to be removed;
    ``_gone``, ids of the last sessions that ended, whose rows may have been read before that.
    """

    def __init__(
        self,
        locks: SessionLocks,
        launcher: Launcher,
        clock: Clock,
        *,
        alone: bool = False,
        look_seconds: float = LOOK_SECONDS,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """``alone``: no other hub was alive at the start. ``look_seconds``: for :meth:`watch`."""
        self.locks = locks
        self._launcher = launcher
        self._clock = clock
        self._alone = alone
        self._look_seconds = look_seconds
        self._wait_seconds = wait_seconds
        self._sessions: Sessions
        self._reserved: set[str] = set()
        self._unexplained: dict[str, _Unexplained] = {}
        self._tasks = BackgroundTasks()
        self._mine: set[str] = set()
        self._suspects: set[str] = set()
        self._gone: deque[str] = deque(maxlen=_GONE)

    def bind(self, sessions: Sessions) -> None:
        """Set the session manager whose memory is kept in agreement with the rows."""
        self._sessions = sessions

    async def open(self) -> None:
        """Adopt all running sessions.

        While no hub ran none recorded any activity, so then the sessions' idle time starts anew.
        """
        now = self._clock.now()
        for held in await to_its_end(self.locks.all):
            if held.running:
                self._sessions.adopt(held.row, now if self._alone else held.row.last_seen)

    async def close(self) -> None:
        """Cancel the stops that are still tried; another hub goes on with them."""
        await self._tasks.close()

    async def watch(self) -> None:
        """Keep the manager's memory in agreement with the rows, until cancelled."""
        await repeat("the sessions of the other hubs", self.look, self._look_seconds)

    async def look(self) -> None:
        """Adopt what other hubs started, forget what they ended, take over what dead ones left."""
        before = [live for live in self._sessions.all() if not self._sessions.is_closing(live.id)]
        states = await to_its_end(self.locks.states)
        running = {each for each, row in states.items() if row.state is SessionState.RUNNING}
        for live in before:
            if live.id not in running and self._sessions.by_id(live.id) is live:
                await self._lost(live)
        starting = {
            each
            for each, row in states.items()
            if row.state is SessionState.STARTING and row.held and row.hub != self.locks.hub_id
        }
        new = {each for each in running if self._is_unknown(each)} | (starting - self._reserved)
        for held in await self._rows(new):
            self._take_note(held)
        for session_id in self._reserved - starting:
            self._reserved.discard(session_id)
            self._sessions.release(session_id)
        mine = self.locks.hub_id
        pending = {each: row for each, row in states.items() if each not in running}
        left = {each for each, row in pending.items() if not row.held and row.hub != mine}
        unused = {
            each for each, row in pending.items() if row.hub == mine and self._is_unused(each)
        }
        await asyncio.gather(*map(self._clear_up, await self._rows(left | unused & self._suspects)))
        self._suspects = unused
        await self._explain(states.keys())

    async def agree(self, key: SessionKey, tell: Progress = ignore) -> None:
        """Bring the memory of one key in agreement with its row; wait for a hub that changes it.

        Raises: :class:`~mograder.core.errors.Busy` if that takes minutes.
        """
        deadline = self._clock.steady() + _PATIENCE_SECONDS
        while not await self._agrees(key, tell):
            if self._clock.steady() > deadline:
                raise Busy(
                    "The notebook is being opened or closed at another server of this course.",
                    hint="Try again in a minute.",
                    retry_after=60,
                )
            await asyncio.sleep(self._wait_seconds)

    async def fetch(self, key: SessionKey) -> LiveSession | None:
        """Return the session of a key, also one that another hub has just started; never wait."""
        live = self._sessions.find(key)
        if live is None:
            held = await to_its_end(self.locks.find, *_names(key))
            live = None if held is None else self._adopted(held)
        return live

    async def fetch_by_id(self, session_id: str) -> LiveSession | None:
        """Return a session by its id, as :meth:`fetch`."""
        live = self._sessions.by_id(session_id)
        if live is None:
            for held in await self._rows({session_id}):
                live = self._adopted(held)
        return live

    async def catch_up(self, sessions: Iterable[LiveSession]) -> None:
        """Set the times of last activity to the newest ones that any hub stored."""
        known = {live.id: live for live in sessions}
        if not known:
            return
        for session_id, at in (await to_its_end(self.locks.last_seen, known.keys())).items():
            known[session_id].last_seen = max(known[session_id].last_seen, at)

    # ---- starting ----

    def add(self, row: SessionRow) -> None:
        """Add the row of a session that this hub starts; blocks. Raises: :class:`RowTaken`."""
        self._mine.add(row.session_id)
        try:
            self.locks.add(row)
        except Conflict as error:
            raise RowTaken("Another hub opens this notebook.", hint="Try again.") from error

    def run(self, session_id: str, endpoint: Endpoint) -> None:
        """Set that session to running; blocks.

        Raises: :class:`RowTaken` if another hub took it over, because this one looked dead.
        """
        if not self.locks.run(session_id, str(endpoint.socket), endpoint.node):
            raise RowTaken("Another hub opens this notebook.", hint="Try again.")
        self._mine.discard(session_id)

    async def give_up(self, session_id: str) -> None:
        """Stop a session whose start failed, and remove its row.

        The row may be set to running already: the process has ended since, or the answer of the
        database was lost. It is tried again while the database does not answer.
        """
        await self._shortly(self._given_up(session_id))

    async def _given_up(self, session_id: str) -> None:
        taken = partial(to_its_end, self._is_ours, session_id)
        if await retried(taken, f"the row of session {session_id} could not be taken"):
            await self._clear(session_id, None)
            return
        # Taken over, or never added: its process must end in any case.
        await self._stop(session_id)
        self._mine.discard(session_id)

    def _is_ours(self, session_id: str) -> bool:
        """Take the row of a session that this hub started; false if another hub has it. Blocks."""
        return self.locks.give_up(session_id) or self.locks.end(session_id)

    # ---- ending ----

    async def conclude(self, ending: Ending, *, alive: bool) -> None:
        """Stop the session if ``alive``, then remove its row and store its ending with that.

        If another hub ends it at the same time, that one's reason counts.
        """
        if alive:
            if not await to_its_end(self.locks.end, ending.session_id):
                self.explain_later(ending.session_id, ending.key)
                return
            await self._stop(ending.session_id)
            removed = await self._remove(ending.session_id, ending)
        else:  # it is over, and its row says that it runs until this succeeds
            removed = await self._removed(ending.session_id, ending)
        if not removed:
            self.explain_later(ending.session_id, ending.key)

    def explain_later(self, session_id: str, key: SessionKey) -> None:
        """Look for the reason of an end when the hub that ended the session has written it."""
        self._gone.append(session_id)
        self._unexplained[session_id] = _Unexplained(key)

    async def orphans(self, session_ids: Iterable[str]) -> set[str]:
        """Return those of the launcher's sessions that have no row.

        A row is added before its session is started, and removed after it was stopped.
        """
        ids = set(session_ids)
        return ids - {held.row.session_id for held in await self._rows(ids)}

    # ---- changing files ----

    @asynccontextmanager
    async def changing(self, key: SessionKey) -> AsyncIterator[None]:
        """End the session of a key at any hub, and keep all from starting one in the block."""
        now = self._clock.now()
        row = SessionRow(
            f"changing-{secrets.token_urlsafe(12)}",
            *_names(key),
            SessionState.CHANGING,
            socket="",
            version="",
            environment="",
            started_at=now,
            last_seen=now,
        )
        while not await self._adds(row):
            await self.agree(key)
            live = self._sessions.find(key)
            if live is not None:
                await self._sessions.end(live, EndReason.STOPPED)
            else:
                await asyncio.sleep(self._wait_seconds)
        try:
            yield
        finally:
            await self._shortly(self._cleared(row.session_id))

    async def _adds(self, row: SessionRow) -> bool:
        self._mine.add(row.session_id)
        try:
            await to_its_end(self.locks.add, row)
        except Conflict:
            self._mine.discard(row.session_id)
            return False
        except MograderError:
            self._mine.discard(row.session_id)  # if it was added all the same, a look removes it
            raise
        except asyncio.CancelledError:
            await self._shortly(self._cleared(row.session_id))
            raise
        return True

    # ---- rows ----

    async def _agrees(self, key: SessionKey, tell: Progress) -> bool:
        """Look at a row once; return false if another hub holds it."""
        known = self._sessions.find(key)
        held = await to_its_end(self.locks.find, *_names(key))
        found = held.row.session_id if held is not None and held.running else ""
        # It was known before the row was read, so the row is not just too new.
        if known is not None and known.id != found and self._sessions.by_id(known.id) is known:
            await self._lost(known)
        if held is None or held.running:
            if held is not None:
                self._adopted(held)
            return True
        if held.row.hub == self.locks.hub_id:
            return self._sessions.busy(key)
        if held.held:
            tell(_WAITS[held.row.state])
            return False
        await self._clear_up(held)
        return False

    async def _rows(self, session_ids: Iterable[str]) -> tuple[HeldRow, ...]:
        ids = set(session_ids)
        return await to_its_end(self.locks.by_id, ids) if ids else ()

    def _is_unknown(self, session_id: str) -> bool:
        # In this order: nearly all are known, and the search of those that have ended is long.
        if self._sessions.by_id(session_id) is not None:
            return False
        return not self._sessions.is_closing(session_id) and session_id not in self._gone

    def _is_unused(self, session_id: str) -> bool:
        return session_id not in self._mine and not self._sessions.is_closing(session_id)

    def _adopted(self, held: HeldRow) -> LiveSession | None:
        row = held.row
        known = self._sessions.by_id(row.session_id)
        if known is not None or not held.running or not self._is_unknown(row.session_id):
            return known
        self._reserved.discard(row.session_id)
        return self._sessions.adopt(row, row.last_seen)

    def _take_note(self, held: HeldRow) -> None:
        if held.running:
            self._adopted(held)
        elif held.row.state is SessionState.STARTING and self._is_unknown(held.row.session_id):
            self._reserved.add(held.row.session_id)
            self._sessions.reserve(held.row.session_id, key_of(held.row))

    async def _lost(self, live: LiveSession) -> None:
        """Forget a session that another hub has ended or ends."""
        ending = await self._ending(live.id, live.key)
        if self._sessions.by_id(live.id) is live:
            self._sessions.drop(live, ending)
            if ending is None:
                self.explain_later(live.id, live.key)

    async def _explain(self, rows: Iterable[str]) -> None:
        """Look for the reasons of the ends whose rows are gone."""
        present = set(rows)
        for session_id, each in tuple(self._unexplained.items()):
            each.looks += 1
            ending = None if session_id in present else await self._ending(session_id, each.key)
            if ending is not None:
                self._sessions.history.learn(ending)
                self._sessions.on_change(each.key)
            if ending is not None or each.looks > _EXPLAIN_LOOKS:
                self._unexplained.pop(session_id, None)

    async def _ending(self, session_id: str, key: SessionKey) -> Ending | None:
        row = await to_its_end(self.locks.ending, *_names(key))
        return None if row is None or row.session_id != session_id else ending_of(row)

    async def _clear_up(self, held: HeldRow) -> None:
        """Go on with what a dead hub was at, or this one: what it started or ended is ended."""
        row, session_id = held.row, held.row.session_id
        if row.hub != self.locks.hub_id:
            taken = await to_its_end(self.locks.take_over, session_id, row.hub)
        else:
            starting = row.state is SessionState.STARTING
            taken = not starting or await to_its_end(self.locks.give_up, session_id)
        if not taken:
            return
        _log.warning(
            "%s of %s for %s is cleared up: %s", row.mode, row.item, row.username, row.state
        )
        self._mine.add(session_id)
        if row.state is SessionState.CHANGING:
            await self._shortly(self._cleared(session_id))
            return
        ending = None
        if row.state is SessionState.ENDING:
            ending = Ending(key_of(row), session_id, EndReason.LOST, self._clock.now())
        await self._shortly(self._clear(session_id, ending))

    async def _clear(self, session_id: str, ending: Ending | None) -> None:
        await self._stop(session_id)
        await self._cleared(session_id, ending)

    async def _stop(self, session_id: str) -> None:
        """Stop a session; return when it certainly runs no more and cannot be started later."""
        await retried(
            partial(self._launcher.stop, session_id), f"session {session_id} is not ended yet"
        )

    async def _cleared(self, session_id: str, ending: Ending | None = None) -> None:
        await self._removed(session_id, ending)
        self._mine.discard(session_id)

    async def _removed(self, session_id: str, ending: Ending | None) -> bool:
        """Remove a row, as :meth:`_remove`; try again while the database does not answer."""
        return await retried(
            partial(self._remove, session_id, ending),
            f"the row of session {session_id} was not removed",
        )

    async def _remove(self, session_id: str, ending: Ending | None) -> bool:
        row = None if ending is None else ending_row(ending)
        before = None if ending is None else self._clock.now() - KEPT
        removed = await to_its_end(self.locks.remove, session_id, row, forget_before=before)
        self._gone.append(session_id)
        return removed

    async def _shortly(self, work: Coroutine[None, None, None]) -> None:
        """Run ``work`` to its end, but wait for it only a moment."""
        task = self._tasks.start(work)
        done, _ = await asyncio.wait({task}, timeout=_AT_ONCE_SECONDS)
        for each in done:
            each.result()


_WAITS = {
    SessionState.STARTING: "Starting the notebook",
    SessionState.ENDING: "Waiting until the earlier session has ended",
    SessionState.CHANGING: "Waiting until the notebook's files are in place",
}


def _names(key: SessionKey) -> tuple[str, str, str]:
    return key.user, key.item, key.mode.value


T = TypeVar("T")

_RETRY_SECONDS = 0.5
_TOLD_EACH = 120
"""Failures from one line in the log to the next: a minute."""


async def retried(
    attempt: Callable[[], Awaitable[T]], trouble: str, *, seconds: float = _RETRY_SECONDS
) -> T:
    """Return the result of an attempt; repeat it every half second until it succeeds.

    The first failure is logged, with ``trouble`` before it, then one each minute, and in the end
    the success. An unexpected error is repeated, too: it must not leave for ever what the attempt
    was to remove.
    """
    failures = 0
    while True:
        try:
            result = await attempt()
        except Exception as error:  # noqa: BLE001 - see above
            if failures % _TOLD_EACH == 0:
                expected = isinstance(error, MograderError)
                again = f" ({failures} failures before)" if failures else ""
                _log.warning("%s: %s%s", trouble, error, again, exc_info=not expected)
            failures += 1
        else:
            if failures:
                _log.info("%s: succeeded after %d failures", trouble, failures)
            return result
        await asyncio.sleep(seconds)
