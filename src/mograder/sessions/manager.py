"""Which sessions exist: start one or find it, stop, adopt.

The rows in the hub's database are the truth and outlive the hub; the memory here is a cache of
them for the hot path. All mutable state is ``_live`` (sessions that answer), ``_starts`` (those
on their way, also those who wait in line) and ``_ends`` (those on their way out); what they use
is in the ledger. Whose turn it is decides :mod:`.admission`, who has to go :mod:`.culling`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Protocol
from weakref import WeakValueDictionary

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.single_flight import Progress, SingleFlight
from mograder.sandbox.protocol import Arrived, Ended, Endpoint, News, StartSession
from mograder.sessions.adoption import has_answered, key_of, orphans, revived
from mograder.sessions.capacity import Terms
from mograder.sessions.counters import Counters, ItemMemory, kind_of
from mograder.sessions.end_history import EndingRows, History
from mograder.sessions.end_reasons import Ending, EndReason, last_words, reason_of
from mograder.sessions.idle_culler import IdleCuller
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.launcher import Launcher
from mograder.sessions.memory_estimate import MemoryLedger, by_item, expected_memory
from mograder.sessions.probe import Census, Probe, connections, listens_no_more
from mograder.sessions.session import LiveSession, SessionKey, ended
from mograder.sessions.start_queue import Place, StartQueue, Ticket
from mograder.sessions.startup import Starter, StartRows
from mograder.store.hub_state import SessionRow

_log = logging.getLogger(__name__)

_NEWS_SECONDS = 5.0  # so long is waited to be told of an end that shows already
_STOP_SECONDS = 0.5  # the pause between two attempts to stop a session that is starting
_RETRY_SECONDS = 0.5
"""The pause between two attempts to reach a launcher that cannot be reached."""


class SessionRows(StartRows, EndingRows, Protocol):
    """The rows of sessions; :class:`~mograder.store.hub_state.HubState` keeps them."""

    def saw_sessions(self, seen: Mapping[str, datetime]) -> None: ...

    def sessions(self) -> tuple[SessionRow, ...]: ...


class SessionManager:
    """One session per user, item and mode. Call :meth:`open` first and :meth:`close` last.

    ``tally`` is what it has counted since then; ``on_change`` is told whose session came or went.
    """

    def __init__(
        self,
        *,
        launcher: Launcher,
        spawner: Spawner,
        rows: SessionRows,
        clock: Clock,
        probe: Probe,
        terms: Terms,
        census: Census = connections,
        is_dead: Callable[[Endpoint], bool] = listens_no_more,
    ) -> None:
        """``probe`` and ``census`` ask a session's server whether it answers, and its pages."""
        self._launcher = launcher
        self._spawner = spawner
        self._rows = rows
        self._clock = clock
        self._terms = terms
        self.tally = Counters()
        self.on_change: Callable[[SessionKey], None] = lambda _: None
        self._is_dead = is_dead
        self._starter = Starter(launcher, rows, probe, terms.start_timeout)
        self._history = History(rows, clock)
        self._ledger = MemoryLedger(clock)
        self._line = line = StartQueue(terms, self._ledger, self.tally, clock)
        self.pages_first = line.pages_first
        self._keeper = IdleCuller(self, line, clock, census, terms.ttl)
        self._live: dict[SessionKey, LiveSession] = {}
        self._by_id: dict[str, LiveSession] = {}
        self._starts: SingleFlight[SessionKey, LiveSession] = SingleFlight()
        self._ends: SingleFlight[SessionKey, None] = SingleFlight()
        self._askers: Counter[SessionKey] = Counter()
        self._changes: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._written: dict[str, datetime] = {}
        self._exits: asyncio.Queue[Ended | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Adopt what runs from before, then watch for ends, idleness and those who wait."""
        await self._history.load()
        self._launcher.watch(
            self._exits.put_nowait, lambda: self._exits.put_nowait(None), self._hear_news
        )
        await self._adopt()
        for watch in (self._hear_exits(), self._keeper.keep_house(), self._keeper.relieve()):
            self._tasks.append(asyncio.create_task(watch))

    async def close(self) -> None:
        """Stop watching; the sessions go on in the launcher."""
        await self._starts.close()
        self._line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ends.settle()  # a session that is half stopped must not be adopted
        await asyncio.to_thread(self.note_down)

    async def get_or_start(self, key: SessionKey, progress: Progress) -> LiveSession:
        """Return the session that runs, or the one being started, or a new one (B72).

        A new one may have to wait in line; ``progress`` is told its place. If all who ask for it
        go away, it leaves the line.

        Raises: :class:`~mograder.core.errors.NotFound` when there is nothing to open,
        :class:`~mograder.core.errors.Busy` when the line is full, what
        :meth:`~mograder.sessions.startup.Starter.start` raises, and what preparing an
        environment does.
        """
        while True:
            await self._until_changed(key)
            live = self._live.get(key)
            if live is None:
                break
            reason = await self._cannot_be_had(live)
            if reason is None:
                self.touch(live)
                return live
            await self.end(live, reason)
        self._askers[key] += 1
        try:
            return await self._starts.get(key, lambda tell: self._start(key, tell), progress)
        finally:
            self._askers[key] -= 1
            if not self._askers[key]:
                del self._askers[key]
                self._line.dismiss(key)

    async def stop(self, key: SessionKey, reason: EndReason = EndReason.STOPPED) -> bool:
        """End a session, or have it leave the line; false if there was none."""
        live = self._live.get(key)
        if live is None:
            return self._line.dismiss(key)
        await self.end(live, reason)
        return True

    @asynccontextmanager
    async def without_session(self, key: SessionKey) -> AsyncIterator[None]:
        """End the session of a key, and let none start until the block ends; one block at a time.

        It is for replacing the files that a session has open: one that runs on would save its old
        text over the new. A start that is under way is stopped as soon as it can be.
        """
        lock = self._changes.setdefault(key, asyncio.Lock())
        async with lock:
            await self.stop(key)
            while self._starts.busy(key) or self._ends.busy(key):
                await self._starts.ended(key, _STOP_SECONDS)
                await self._ends.ended(key, _STOP_SECONDS)
                await self.stop(key)
            yield

    async def _until_changed(self, key: SessionKey) -> None:
        """Wait while :meth:`without_session` keeps the sessions of this key away."""
        while (lock := self._changes.get(key)) is not None and lock.locked():
            async with lock:
                pass

    async def end(self, live: LiveSession, reason: EndReason) -> None:
        """End this one session, if it has not ended yet."""
        if self._by_id.get(live.id) is not live:
            return
        ending = self._bury(live, reason)
        # On its own, so that who asked may go away; and a new start of the key waits for it.
        await self._ends.get(live.key, lambda _: self._conclude(ending, alive=True))

    def find(self, key: SessionKey) -> LiveSession | None:
        """Return the session if it answers; memory only."""
        return self._live.get(key)

    def by_id(self, session_id: str) -> LiveSession | None:
        """Return the session with this id if it answers; memory only."""
        return self._by_id.get(session_id)

    def all(self) -> list[LiveSession]:
        """Return every session that answers."""
        return list(self._live.values())

    def ending(self, session_id: str) -> Ending | None:
        """Return how a session ended, also one of the hub before; memory only."""
        return self._history.of_session(session_id)

    def last_ending(self, key: SessionKey) -> Ending | None:
        """Return how the last session of a key ended, unless it was started again since."""
        return self._history.of_key(key)

    def endings_of(self, user: str) -> list[Ending]:
        """Return how a user's last session of each item and mode ended, the newest first."""
        return self._history.of_user(user)

    def states(self) -> Counter[str]:
        """Count the sessions that are waiting, starting, running and ending."""
        return Counter(
            waiting=len(self._line),
            starting=len(self._starter),
            running=len(self._live),
            ending=len(self._ends),
        )

    def memory_by_item(self) -> list[ItemMemory]:
        """Return what the running sessions of each item and mode use together."""
        return by_item(self.all())

    def touch(self, session: LiveSession) -> None:
        """Note activity, by HTTP or by WebSocket."""
        session.last_seen = self._clock.now()

    @contextmanager
    def connected(self, session: LiveSession) -> Iterator[None]:
        """Count a WebSocket for as long as it is open."""
        session.connections += 1
        self.touch(session)
        try:
            yield
        finally:
            session.connections -= 1
            self.touch(session)

    def note_down(self) -> None:
        """Write down the last activity of sessions where it changed; blocks."""
        seen = {live.id: live.last_seen for live in self.all()}
        new = {each: at for each, at in seen.items() if self._written.get(each) != at}
        self._rows.saw_sessions(new)
        self._written = seen

    async def _cannot_be_had(self, live: LiveSession) -> EndReason | None:
        """Tell why one that was there when it was asked for is none to be given, if it is not."""
        if await self._spawner.version(live.key) != live.version:
            return EndReason.REPLACED  # a lecture that was published again since
        if self._by_id.get(live.id) is live:
            if not self._is_dead(live.endpoint):
                return None
            await ended(live, _NEWS_SECONDS)  # the launcher tells of it soon, and why
        return EndReason.CRASHED

    async def _start(self, key: SessionKey, tell: Progress) -> LiveSession:
        asked, number = self._clock.steady(), next(self._numbers)
        self._line.demand_room()
        session_id = secrets.token_urlsafe(12)
        tell("Preparing the software that this notebook needs")
        # Before the rest: one that is published meanwhile makes this session out of date.
        version = await self._spawner.version(key)
        request = await self._spawner.request(key, session_id, tell)
        # The one before, if it is still ending, holds the row and the workspace.
        await self._ends.wait(key)
        ticket = Ticket(number, key, session_id, self._expected(key), tell)
        place = await self._line.enter(ticket)
        try:
            if ticket.told:  # it may have been published, or withdrawn, in the meantime
                version = await self._spawner.version(key)
                request = await self._spawner.request(key, session_id, tell)
            tell("Starting the notebook")
            live = await self._launch(key, request, version, place)
        except BaseException as error:
            if isinstance(error, MograderError):
                self.tally.starts[kind_of(place.usage.warm), "failed"] += 1
            self._ledger.close(session_id)
            raise
        finally:
            place.leave()
        self.tally.started(live.warm, self._clock.steady() - asked)
        await self._history.forget(key)
        _log.info("started %s of %s for %s", key.mode.value, key.item, key.user)
        return live

    async def _launch(
        self, key: SessionKey, request: StartSession, version: str, place: Place
    ) -> LiveSession:
        now = self._clock.now()
        endpoint = await self._starter.start(key, request, version, now)
        live = LiveSession(
            id=request.session_id,
            key=key,
            endpoint=endpoint,
            base_url=request.base_url,
            version=version,
            started_at=now,
            last_seen=self._clock.now(),
            usage=place.usage,
            limits=request.limits,
        )
        self._remember(live)
        return live

    def _expected(self, key: SessionKey) -> int:
        # One that is taken to need the whole machine would wait until nothing else runs.
        now, most = self._clock.steady(), self._terms.memory // 2
        return min(expected_memory(key, self.all(), now), most)

    async def _adopt(self) -> None:
        """Match the rows of the hub before with what the launcher still has."""
        rows = await asyncio.to_thread(self._rows.sessions)
        found = {row.session_id: self._revived(row) for row in rows if has_answered(row)}
        # They count before the launcher is asked: from then on it tells only of changes.
        running = {info.session_id: info for info in await self._launcher.sessions()}
        for row in rows:
            live, info = found.get(row.session_id), running.get(row.session_id)
            if live is not None and info is not None:
                live.endpoint = info.endpoint
                self._remember(live)
                continue
            self._ledger.close(row.session_id)
            await asyncio.to_thread(self._rows.remove_session, row.session_id)
            if live is not None:
                await self._history.save(self._history.note(live, EndReason.LOST))
        await self._stop_all(orphans(found, running))
        if self._live:
            _log.info("adopted %d running sessions", len(self._live))

    def _revived(self, row: SessionRow) -> LiveSession:
        key = key_of(row)
        usage = self._ledger.open(row.session_id, self._expected(key))
        return revived(row, usage, self._clock.now())

    def _hear_news(self, news: News) -> None:
        if isinstance(news, Arrived):
            self._ledger.arrived(news)
            if news.fallback:
                self.tally.fell_back(news.fallback)
            return
        self._ledger.measured(news.sessions, news.overhead)
        if len(self._line):
            self._line.reconsider(self.all(), self._expected)

    async def _hear_exits(self) -> None:
        while True:
            gone = await self._exits.get()
            try:
                await (self._reconcile() if gone is None else self._note_exit(gone))
            except Exception:  # noqa: BLE001 - a loop: the next exit must be noticed too
                _log.exception("the end of a session could not be noted")

    async def _reconcile(self) -> None:
        """Match what is known here with what the launcher has, after a break in the connection.

        A session that the launcher still has goes on. One that it lacks is noted as lost. One that
        runs there and is unknown here is stopped: its start or stop was under way at the break.
        """
        _log.warning("the connection to the supervisor broke; sessions that run on are kept")
        while True:
            # Before it is asked: what starts meanwhile may not be in its answer.
            known = {*self._by_id, *self._starter.launched()}
            try:
                running = {each.session_id for each in await self._launcher.sessions()}
                break
            except MograderError as error:
                _log.warning("%s", error)
            await self._note_dead()
            await asyncio.sleep(_RETRY_SECONDS)
        for session_id in known - running:
            await self._note_exit(_lost(session_id), EndReason.LOST)
        ours = {*self._by_id, *self._starter.ids()}
        with suppress(MograderError):
            await self._stop_all(orphans(ours, running))
        _log.info("the supervisor is back, with %d sessions", len(running))

    async def _note_dead(self) -> None:
        """Note as lost what takes no connections any more, while the launcher cannot be asked."""
        for live in self.all():
            if self._is_dead(live.endpoint):
                await self._note_exit(_lost(live.id), EndReason.LOST)

    async def _stop_all(self, session_ids: Iterable[str]) -> None:
        await asyncio.gather(*(self._launcher.stop(session_id) for session_id in session_ids))

    async def _note_exit(self, gone: Ended, reason: EndReason | None = None) -> None:
        self._starter.note_exit(gone)
        live = self._by_id.get(gone.session_id)
        if live is None:
            return
        reason = reason or reason_of(gone)
        _log.warning(
            "%s of %s for %s ended by itself (%s) with status %s: %s",
            live.key.mode.value,
            live.key.item,
            live.key.user,
            reason.value,
            gone.status,
            gone.log_tail[-500:],
        )
        detail = last_words(gone.log_tail) if reason is EndReason.CRASHED else ""
        ending = self._bury(live, reason, detail)
        await self._ends.get(live.key, lambda _: self._conclude(ending, alive=False))

    def _bury(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Take a session that ends, or has ended, out of everybody's sight."""
        ending = self._history.note(live, reason, detail)
        self.tally.endings[reason] += 1
        self._forget(live)
        return ending

    async def _conclude(self, ending: Ending, *, alive: bool) -> None:
        """End what is still ``alive``, and leave nothing of it but why."""
        try:
            if alive:
                with suppress(MograderError):
                    await self._launcher.stop(ending.session_id)
        finally:
            self._ledger.close(ending.session_id)
            self._line.pump()
        await asyncio.to_thread(self._rows.remove_session, ending.session_id)
        await self._history.save(ending)

    def _remember(self, live: LiveSession) -> None:
        self._live[live.key] = live
        self._by_id[live.id] = live
        self.on_change(live.key)

    def _forget(self, live: LiveSession) -> None:
        if self._by_id.pop(live.id, None) is None:
            return
        if self._live.get(live.key) is live:
            del self._live[live.key]
        for callback in tuple(live.on_stop):
            callback()
        self.on_change(live.key)


def _lost(session_id: str) -> Ended:
    """Return the end of a session of which the launcher told none."""
    return Ended(session_id=session_id, status=-1, log_tail="")
