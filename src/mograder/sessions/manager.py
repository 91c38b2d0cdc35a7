"""The session manager: starts, finds, stops and adopts sessions.

The rows in the hub's database are authoritative and outlive the hub; the state here is a cache of
them for the hot path. All mutable state is ``_live`` (sessions that answer), ``_starts`` (sessions
that are starting or queued) and ``_ends`` (sessions that are ending); their memory use is in the
ledger. :mod:`.start_queue` admits starts, :mod:`.idle_rules` selects the sessions to end.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from weakref import WeakValueDictionary

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.names import is_rehearsal
from mograder.core.tasks.background_tasks import Paced
from mograder.core.tasks.single_flight import Progress, SingleFlight
from mograder.sandbox.node_messages import NodeStatus
from mograder.sandbox.protocol import Arrived, Checked, Ended, Endpoint, News, StartSession
from mograder.sessions.background_runs import BackgroundRuns
from mograder.sessions.capacity import CapacityLimits
from mograder.sessions.check_reports import CheckReports
from mograder.sessions.connections import LocalConnections
from mograder.sessions.counters import Counters, kind_of
from mograder.sessions.end_history import History, log_unasked_end
from mograder.sessions.end_reasons import Ending, EndReason, last_words, reason_of
from mograder.sessions.idle_culler import IdleCuller
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.launcher import Launcher
from mograder.sessions.memory_estimate import MemoryLedger, expected_memory
from mograder.sessions.probe import Census, Probe, connections
from mograder.sessions.reconciliation import Reconciler, stop_all
from mograder.sessions.session import LiveSession, SessionKey, Usage, ended, key_of, session_of
from mograder.sessions.shared_rows import RowTaken, SharedRows
from mograder.sessions.start_queue import RECONSIDER_SECONDS, StartQueue
from mograder.sessions.start_ticket import Ticket
from mograder.sessions.startup import Starter
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState

_log = logging.getLogger(__name__)

_NEWS_SECONDS = 5.0  # how long to wait for the launcher to report a server that is dead
_STOP_SECONDS = 0.5  # the pause between two attempts to stop a session that is starting
_LOCAL = LocalConnections()
_CLOSE_SECONDS = 3.0
"""How long one of several hubs that closes waits for its sessions that are ending."""


class SessionManager:
    """One session per user, item and mode. Call :meth:`open` first and :meth:`close` last.

    ``tally`` counts starts and ends, ``history`` has the endings, ``background`` the memory of runs
    that no student waits for. ``on_change`` is called with the key of each session that started or
    ended, ``on_adopted`` with each session that another hub started, ``after_end`` in a thread when
    a session's process has ended. ``checks`` hears the checks.
    """

    def __init__(
        self,
        *,
        launcher: Launcher,
        spawner: Spawner,
        rows: HubState,
        clock: Clock,
        probe: Probe,
        limits: CapacityLimits,
        census: Census = connections,
        is_dead: Callable[[Endpoint], bool] = _LOCAL.is_dead,
    ) -> None:
        """``probe`` waits for a session's server to answer; ``census`` counts its open pages."""
        self._launcher = launcher
        self._spawner = spawner
        self._rows = rows
        self._clock = clock
        self._limits = limits
        self.tally = Counters()
        self.on_change: Callable[[SessionKey], None] = lambda _: None
        self.on_adopted: Callable[[LiveSession], None] = lambda _: None
        self.after_end: Callable[[SessionKey], None] = lambda _: None
        self._is_dead = is_dead
        self._shared: SharedRows | None = None
        self._starter = Starter(launcher, rows, probe, limits.start_timeout)
        self._matching = Reconciler(self, launcher, self._starter, is_dead, self._orphans)
        self.history = History(rows, clock)
        self._ledger = MemoryLedger(clock)
        self._queue = queue = StartQueue(limits, self._ledger, self.tally, clock)
        self._reconsider = Paced(
            lambda: queue.reconsider(self.all(), self._expected), RECONSIDER_SECONDS
        )
        self.pages_first, self.rehearsed = queue.pages_first, queue.rehearsed
        self.background = BackgroundRuns(limits, self._ledger)
        self.background.pump, queue.when_none_waits = queue.pump, self.background.admit
        self.culler = IdleCuller(self, queue, clock, census, limits.ttl)
        self._live: dict[SessionKey, LiveSession] = {}
        self._by_id: dict[str, LiveSession] = {}
        self._starts: SingleFlight[SessionKey, LiveSession] = SingleFlight()
        self._ends: SingleFlight[SessionKey, None] = SingleFlight()
        self._askers: Counter[SessionKey] = Counter()
        self._changes: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._written: dict[str, datetime] = {}
        self._closing: set[str] = set()
        self.checks = CheckReports(self.by_id, clock)
        self._breaks = asyncio.Event()
        self._exits: asyncio.Queue[Ended | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def share(self, rows: SharedRows) -> None:
        """Share the rows with other hubs; to be called before :meth:`open`."""
        self._shared = self._starter.shared = rows
        rows.bind(self)

    async def open(self) -> None:
        """Adopt running sessions of the previous hub, then start the background tasks."""
        await self.history.load()
        shared = self._shared is not None
        lost = self._breaks.set if shared else partial(self._exits.put_nowait, None)
        self._launcher.watch(self._exits.put_nowait, lost, self._on_news)
        watches = [self._handle_exits(), self.culler.end_idle(), self.culler.free_memory()]
        if self._shared is None:
            await self._adopt()
        else:
            await self._shared.open()
            watches += [self._shared.watch(), self._matching.after_each(self._breaks)]
            self._breaks.set()
        self._tasks += [asyncio.create_task(watch) for watch in watches]

    async def close(self) -> None:
        """Stop the background tasks; the sessions go on in the launcher."""
        await self._starts.close()
        self._reconsider.close()
        self._queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._shared is not None:  # a node that is cut off must not delay this for its lease
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._ends.settle()
            await self._ends.close()
            await self._shared.close()
        await self._ends.settle()  # the next hub must not adopt a session that is half stopped
        await asyncio.to_thread(self.note_down)

    async def get_or_start(self, key: SessionKey, progress: Progress) -> LiveSession:
        """Return the session that runs, or the one being started, or a new one (B72).

        A new one may have to wait in the start queue; ``progress`` is called with its place. It
        leaves the queue when all callers that wait for it are cancelled.

        Raises: :class:`~mograder.core.errors.NotFound` when there is nothing to open,
        :class:`~mograder.core.errors.Busy` when the queue is full, and the errors of
        :meth:`~mograder.sessions.startup.Starter.start` and of preparing an environment.
        """
        while True:
            await self._until_changed(key)
            if self._shared is not None:
                await self._shared.agree(key, progress)
            live = self._live.get(key)
            if live is None:
                with suppress(RowTaken):  # another hub was faster
                    return await self._start_or_join(key, progress)
                continue
            reason = await self._cannot_be_had(live)
            if reason is None:
                self.touch(live)
                return live
            await self.end(live, reason)

    async def _start_or_join(self, key: SessionKey, progress: Progress) -> LiveSession:
        self._askers[key] += 1
        try:
            return await self._starts.get(key, lambda tell: self._start(key, tell), progress)
        finally:
            self._askers[key] -= 1
            if not self._askers[key]:
                del self._askers[key]
                self._queue.dismiss(key)

    async def stop(self, key: SessionKey, reason: EndReason = EndReason.STOPPED) -> bool:
        """End a session, or remove it from the start queue; return false if there was none."""
        live = await self.fetch(key)
        if live is None:
            return self._queue.dismiss(key)
        await self.end(live, reason)
        return True

    @asynccontextmanager
    async def without_session(self, key: SessionKey) -> AsyncIterator[None]:
        """End the session of a key, and start none until the block ends; one block at a time.

        It is for replacing the files that a session has open: a running session would overwrite
        the new text with its old one. A start in progress is stopped as soon as possible.
        """
        lock = self._changes.setdefault(key, asyncio.Lock())
        async with lock:
            await self.stop(key, EndReason.REWRITTEN)
            while self._starts.busy(key) or self._ends.busy(key):
                await self._starts.ended(key, _STOP_SECONDS)
                await self._ends.ended(key, _STOP_SECONDS)
                await self.stop(key, EndReason.REWRITTEN)
            if self._shared is None:
                yield
                return
            async with self._shared.changing(key):
                yield

    async def _until_changed(self, key: SessionKey) -> None:
        """Wait until no :meth:`without_session` block of this key is active."""
        while (lock := self._changes.get(key)) is not None and lock.locked():
            async with lock:
                pass

    async def end(self, live: LiveSession, reason: EndReason) -> None:
        """End this session unless it has ended already."""
        if self._by_id.get(live.id) is not live:
            return
        ending = self._record_end(live, reason)
        # A task of its own: it goes on if the caller is cancelled; new starts of the key await it.
        await self._ends.after(live.key, lambda _: self._conclude(ending, alive=True))

    def find(self, key: SessionKey) -> LiveSession | None:
        """Return the session if it answers; memory only."""
        return self._live.get(key)

    def by_id(self, session_id: str) -> LiveSession | None:
        """Return the session with this id if it answers; memory only."""
        return self._by_id.get(session_id)

    def all(self) -> list[LiveSession]:
        """Return every session that answers."""
        return list(self._live.values())

    async def fetch(self, key: SessionKey) -> LiveSession | None:
        """Return the session if it answers, also one that another hub has just started."""
        return self._live.get(key) if self._shared is None else await self._shared.fetch(key)

    async def fetch_by_id(self, session_id: str) -> LiveSession | None:
        """Return the session with this id, as :meth:`fetch`."""
        live = self._by_id.get(session_id)
        return live if live or self._shared is None else await self._shared.fetch_by_id(session_id)

    def states(self) -> Counter[str]:
        """Count the sessions that are waiting, starting, running and ending."""
        return Counter(
            waiting=len(self._queue),
            starting=len(self._starter),
            running=len(self._live),
            ending=len(self._ends),
        )

    def touch(self, session: LiveSession) -> None:
        """Set the time of the last activity to now, for HTTP and WebSocket."""
        session.last_seen = self._clock.now()

    @contextmanager
    def connected(self, session: LiveSession) -> Iterator[None]:
        """Count an open WebSocket until the block ends."""
        session.connections += 1
        self.touch(session)
        try:
            yield
        finally:
            session.connections -= 1
            self.touch(session)

    def note_down(self) -> None:
        """Write the changed times of last activity to the database; blocks."""
        seen = {live.id: live.last_seen for live in self.all()}
        new = {each: at for each, at in seen.items() if self._written.get(each) != at}
        (self._rows.saw_sessions if self._shared is None else self._shared.locks.saw)(new)
        self._written = seen

    async def catch_up(self, sessions: Iterable[LiveSession]) -> None:
        """Set the times of last activity to the newest ones that any hub stored."""
        if self._shared is not None:
            await self._shared.catch_up(sessions)

    async def _cannot_be_had(self, live: LiveSession) -> EndReason | None:
        """Return why a session that was found cannot be used, or None if it can."""
        if await self._spawner.version(live.key) != live.version:
            return EndReason.REPLACED  # the lecture was published again after the session's start
        if self._by_id.get(live.id) is live:
            if not self._is_dead(live.endpoint):
                return None
            await ended(live, _NEWS_SECONDS)  # the launcher reports the end and its reason soon
        return EndReason.CRASHED

    async def _start(self, key: SessionKey, tell: Progress) -> LiveSession:
        asked, number = self._clock.steady(), next(self._numbers)
        self._queue.demand_room()
        session_id = secrets.token_urlsafe(12)
        tell("Preparing the software that this notebook needs")
        # Read first: a release that is published after this makes this session out of date.
        version = await self._spawner.version(key)
        request = await self._spawner.request(key, session_id, tell)
        # The previous session, if it is still ending, uses the row and the workspace.
        await self._ends.wait(key)
        ticket = Ticket(number, key, session_id, self._expected(key), tell)
        usage = await self._queue.enter(ticket)
        try:
            if ticket.last_text:  # it waited: the item may have been published or withdrawn since
                version = await self._spawner.version(key)
                request = await self._spawner.request(key, session_id, tell)
            tell("Starting the notebook")
            live = await self._launch(key, request, version, usage)
        except BaseException as error:
            if isinstance(error, MograderError) and not isinstance(error, RowTaken):
                self.tally.starts[kind_of(usage.warm), "failed"] += 1
            self._ledger.close(session_id)
            raise
        finally:
            self._queue.leave(ticket)
        if not is_rehearsal(key.user):  # how long that waits says nothing of what students do
            self.tally.started(live.usage.warm, self._clock.steady() - asked)
        await self.history.forget(key)
        _log.info("started %s of %s for %s", key.mode.value, key.item, key.user)
        return live

    async def _launch(
        self, key: SessionKey, request: StartSession, version: str, usage: Usage
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
            usage=usage,
            limits=request.limits,
        )
        self._remember(live)
        return live

    def _expected(self, key: SessionKey) -> int:
        # At most half: a start that needs all memory would wait until nothing else runs.
        now, most = self._clock.steady(), self._limits.most_expected
        return min(expected_memory(key, self.all(), now), most)

    async def _adopt(self) -> None:
        """Match the previous hub's rows with the sessions that the launcher still runs."""
        rows = await asyncio.to_thread(self._rows.sessions)
        # Until a session has answered, no page has its address.
        answered = (row for row in rows if row.state is SessionState.RUNNING)
        now = self._clock.now()  # while the hub was down it could not record any activity
        found = {row.session_id: self._revived(row, now) for row in answered}
        # Add them to the ledger before asking the launcher, which then reports only changes.
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
                await self.history.save(self.history.note(live, EndReason.LOST))
        await stop_all(self._launcher, running.keys() - found.keys())
        if self._live:
            _log.info("adopted %d running sessions", len(self._live))

    def _revived(self, row: SessionRow, last_seen: datetime) -> LiveSession:
        age = (self._clock.now() - row.started_at).total_seconds()
        usage = self._ledger.open(row.session_id, self._expected(key_of(row)), age)
        return session_of(row, last_seen, usage)

    # ---- called by the shared rows ----

    def adopt(self, row: SessionRow, last_seen: datetime) -> LiveSession:
        """Add a running session of another hub, in place of one of the same key that has ended."""
        live = self._revived(row, last_seen)
        before = self._live.get(live.key)
        if before is not None:
            self.drop(before, None)
        self._written[live.id] = last_seen
        self.history.supersede(live.key)
        self._remember(live)
        self.on_adopted(live)
        return live

    def drop(self, live: LiveSession, ending: Ending | None) -> None:
        """Forget a session that another hub ended; ``ending`` is None if the reason is unknown."""
        if ending is not None:
            self.history.learn(ending)
        self._ledger.close(live.id)
        self._forget(live)
        self._queue.pump()

    def busy(self, key: SessionKey) -> bool:
        """Return whether this hub starts or ends the session now, or changes its files."""
        lock = self._changes.get(key)
        changing = lock is not None and lock.locked()
        return changing or self._starts.busy(key) or self._ends.busy(key)

    def is_closing(self, session_id: str) -> bool:
        """Return whether this hub ends this session now."""
        return session_id in self._closing

    def reserve(self, session_id: str, key: SessionKey) -> None:
        """Count the expected memory of a session that another hub starts."""
        self._ledger.open(session_id, self._expected(key))

    def release(self, session_id: str) -> None:
        """Stop counting it, unless the session runs."""
        if session_id not in self._by_id:
            self._ledger.close(session_id)
            self._queue.pump()

    async def _orphans(self, session_ids: Iterable[str]) -> Iterable[str]:
        # Another hub may have started them.
        return session_ids if self._shared is None else await self._shared.orphans(session_ids)

    def _on_news(self, news: News) -> None:
        if isinstance(news, Checked):
            self.checks.hear(news)
            return
        if isinstance(news, Arrived):
            self._ledger.arrived(news)
            if news.fallback:
                self.tally.fell_back(news.fallback)
            return
        if not isinstance(news, NodeStatus):
            self._ledger.measured(news.sessions, news.overhead, news.runs, news.used)
        if len(self._queue) or len(self.background) or len(self.rehearsed):
            self._reconsider()

    async def _handle_exits(self) -> None:
        while True:
            gone = await self._exits.get()
            if gone is None:
                _log.warning("the connection to the supervisor broke; running sessions are kept")
            try:
                await (self._matching.reconcile() if gone is None else self.note_exit(gone))
            except Exception:  # noqa: BLE001 - the loop must go on with the next exit
                _log.exception("the end of a session could not be processed")

    async def note_exit(self, gone: Ended, reason: EndReason | None = None) -> None:
        """Record the end of a session that this hub has not asked for, by default its reason."""
        self._starter.note_exit(gone)
        live = self._by_id.get(gone.session_id)
        if live is None or live.endpoint.node != gone.node:  # it runs on another machine
            return
        if gone.asked and self._shared is not None:  # another hub did; it writes the reason
            self.drop(live, None)
            self._shared.explain_later(live.id, live.key)
            return
        reason = reason or reason_of(gone)
        log_unasked_end(live.key, gone, reason)
        detail = last_words(gone.log_tail) if reason is EndReason.CRASHED else ""
        ending = self._record_end(live, reason, detail)
        await self._ends.after(live.key, lambda _: self._conclude(ending, alive=False))

    def _record_end(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Remove a session from the live ones, record its ending and return that."""
        ending = self.history.note(live, reason, detail)
        self.tally.endings[reason] += 1
        self._closing.add(live.id)
        self._forget(live)
        return ending

    async def _conclude(self, ending: Ending, *, alive: bool) -> None:
        """Stop the session if ``alive``, free its memory, delete its row and save its ending."""
        try:
            if self._shared is not None:
                await self._shared.conclude(ending, alive=alive)
                await asyncio.to_thread(self.after_end, ending.key)
                return
            if alive:
                with suppress(MograderError):
                    await self._launcher.stop(ending.session_id)
            await asyncio.to_thread(self.after_end, ending.key)
        finally:
            self._closing.discard(ending.session_id)
            self._ledger.close(ending.session_id)
            self._queue.pump()
        await asyncio.to_thread(self._rows.remove_session, ending.session_id)
        await self.history.save(ending)

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
