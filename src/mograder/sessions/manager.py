"""The session manager: starts, finds, stops and adopts sessions.

The rows in the hub's database are authoritative and outlive the hub; the state here is a cache of
them for the hot path. All mutable state is ``_live`` (sessions that answer), ``_starts`` (sessions
that are starting or queued), ``_unwanted`` (starts that were stopped) and ``_ends`` (sessions that
are ending); their memory use is in the ledger. :mod:`.admission` admits starts, :mod:`.idle_culler`
selects the sessions to end.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Set
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from weakref import WeakValueDictionary

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError
from mograder.core.names import is_rehearsal
from mograder.core.tasks import Paced, Progress, SingleFlight, retried, set_within, to_its_end
from mograder.sandbox.machines import Launcher
from mograder.sandbox.protocol import (
    Arrived,
    Checked,
    Ended,
    Endpoint,
    News,
    NodeStatus,
    StartSession,
)
from mograder.sessions.admission import RECONSIDER_SECONDS, AdmissionQueue, Kind, Ticket
from mograder.sessions.capacity import CapacityLimits, MemoryLedger, expected_memory
from mograder.sessions.check_reports import CheckReports
from mograder.sessions.connections import Census, Probe
from mograder.sessions.counters import Counters, kind_of
from mograder.sessions.end_reasons import (
    Ending,
    EndReason,
    History,
    last_words,
    log_unasked_end,
    reason_of,
)
from mograder.sessions.idle_culler import IdleCuller
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.session import LiveSession, SessionKey, Usage, ended, key_of, session_of
from mograder.sessions.startup import Reconciler, Starter
from mograder.store.hub.hub_state import HubState, SessionState

_log = logging.getLogger(__name__)

_NEWS_SECONDS = 5.0  # how long to wait for the launcher to report a server that is dead
_STOP_SECONDS = 0.5  # the pause between two attempts to stop a session that is starting
_STOP_PAUSE_SECONDS = 2.0
"""The longest pause between attempts to end a session: the next start of its notebook waits."""
_ROW_PAUSE_SECONDS = 5.0
"""The same for its row, with hundreds of which a full disk or a locked database can be busy."""
_GIVEN_UP_SECONDS = 10.0
"""How long a failed start waits for the first attempt to stop its process, which may hang."""
_AT_ONCE_SECONDS = 1.0
"""How long it waits for the rest, which usually succeeds at once."""
_CLOSE_SECONDS = 10.0
"""How long a hub that closes waits for its sessions that are ending."""


class SessionManager:
    """One session per user, item and mode. Call :meth:`open` first and :meth:`close` last.

    ``tally`` counts starts and ends, ``history`` has the endings, ``admission`` the memory of what
    is to start. ``checks`` hears the checks. ``on_change`` is called with the key of
    each session that started or ended, ``after_end`` in a thread when the process has ended.
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
        census: Census,
        is_dead: Callable[[Endpoint], bool],
    ) -> None:
        """``probe`` waits for a session's server to answer; ``census`` counts its open pages."""
        self._launcher = launcher
        self._spawner = spawner
        self._rows = rows
        self._clock = clock
        self._limits = limits
        self.tally = Counters()
        self.on_change: Callable[[SessionKey], None] = lambda _: None
        self.after_end: Callable[[SessionKey], None] = lambda _: None
        self._is_dead = is_dead
        self._starter = Starter(launcher, rows, probe, limits.start_timeout, self._give_up)
        self._matching = Reconciler(
            self.all, self.ending, self.note_exit, launcher, self._starter, is_dead
        )
        self.history = History(rows, clock)
        self._ledger = MemoryLedger(clock)
        self.admission = queue = AdmissionQueue(limits, self._ledger, self.tally, clock)
        self._reconsider = Paced(
            lambda: queue.reconsider(self.all(), self._expected), RECONSIDER_SECONDS
        )
        self.pages_first = queue.pages_first
        self.culler = IdleCuller(self.all, self.end, queue, clock, census, limits.ttl)
        self._live: dict[SessionKey, LiveSession] = {}
        self._by_id: dict[str, LiveSession] = {}
        self._starts: SingleFlight[SessionKey, LiveSession] = SingleFlight()
        self._ends: SingleFlight[SessionKey, None] = SingleFlight()
        self._askers: Counter[SessionKey] = Counter()
        self._unwanted: set[SessionKey] = set()
        self._changes: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._closing: set[str] = set()
        self.checks = CheckReports(self.by_id, clock)
        self._breaks = asyncio.Event()
        self._exits: asyncio.Queue[Ended] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Adopt running sessions of the previous hub, then start the background tasks."""
        await self.history.load()
        self._launcher.watch(self._exits.put_nowait, self._breaks.set, self._on_news)
        await self._adopt()
        watches = [self._handle_exits(), self.culler.end_idle(), self.culler.free_memory()]
        watches.append(self._matching.after_each(self._breaks))
        self._tasks += [asyncio.create_task(watch) for watch in watches]

    async def close(self) -> None:
        """Stop the background tasks; the sessions go on in the launcher."""
        await self._starts.close()
        self._reconsider.close()
        self.admission.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The next hub should not adopt a session that is half stopped; but a node that is cut off
        # must not delay this, nor a database that does not answer.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._ends.settle()
        await self._ends.close()

    async def get_or_start(self, key: SessionKey, progress: Progress) -> LiveSession:
        """Return the session that runs, or the one being started, or a new one (B72).

        A new one may have to wait in the start queue; ``progress`` is called with its place. It
        leaves the queue when all callers that wait for it are cancelled.

        Raises: :class:`~mograder.core.errors.NotFound` when there is nothing to open,
        :class:`~mograder.core.errors.Busy` when the queue is full, and the errors of
        :meth:`~mograder.sessions.startup.Starter.start` and of preparing an environment.
        """
        while True:
            while (lock := self._changes.get(key)) is not None and lock.locked():
                async with lock:  # a block of :meth:`without_session`
                    pass
            live = self._live.get(key)
            if live is None:
                return await self._start_or_join(key, progress)
            reason = await self._cannot_be_had(live)
            if reason is None:
                self.touch(live)
                return live
            await self.end(live, reason)

    async def _start_or_join(self, key: SessionKey, progress: Progress) -> LiveSession:
        self._askers[key] += 1
        self._unwanted.discard(key)
        try:
            return await self._starts.get(key, lambda tell: self._start(key, tell), progress)
        finally:
            self._askers[key] -= 1
            if not self._askers[key]:
                del self._askers[key]
                self.admission.dismiss(key)

    async def stop(self, key: SessionKey, reason: EndReason = EndReason.STOPPED) -> bool:
        """End a session or its start; return false if there was neither.

        A start that is not in the queue goes on, and fails before or when its server answers,
        unless somebody asks for the session meanwhile.
        """
        starting = self._starts.busy(key)
        if starting:
            self._unwanted.add(key)
        return await self._halt(key, reason) or starting

    async def _halt(self, key: SessionKey, reason: EndReason) -> bool:
        """End a session, or remove it from the start queue; return false if there was none."""
        live = self.find(key)
        if live is None:
            return self.admission.dismiss(key)
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
            await self._halt(key, EndReason.REWRITTEN)
            while self._starts.busy(key) or self._ends.busy(key):
                await self._starts.ended(key, _STOP_SECONDS)
                await self._ends.ended(key, _STOP_SECONDS)
                await self._halt(key, EndReason.REWRITTEN)
            yield

    async def end(self, live: LiveSession, reason: EndReason) -> None:
        """End this session unless it has ended already."""
        if self._by_id.get(live.id) is not live:
            return
        # A task of its own: it goes on if the caller is cancelled; new starts of the key await it.
        await asyncio.shield(self._begin_end(live, reason))

    def _begin_end(self, live: LiveSession, reason: EndReason) -> asyncio.Future[None]:
        """Begin to end a session, which is not found any more; return the task that does."""
        ending = self._record_end(live, reason)
        return self._ends.begin(live.key, partial(self._conclude, ending, alive=True))

    def find(self, key: SessionKey) -> LiveSession | None:
        """Return the session if it answers; memory only."""
        return self._live.get(key)

    def is_wanted(self, key: SessionKey) -> bool:
        """Return whether a session answers, is starting, or waits in line for that."""
        return key in self._live or self._starts.busy(key)

    def by_id(self, session_id: str) -> LiveSession | None:
        """Return the session with this id if it answers; memory only."""
        return self._by_id.get(session_id)

    def all(self) -> list[LiveSession]:
        return list(self._live.values())

    def ending(self) -> Set[str]:
        return self._closing

    def states(self) -> Counter[str]:
        return Counter(
            waiting=len(self.admission.waiting()),
            starting=len(self._starter),
            running=len(self._live),
            ending=len(self._ends),
        )

    def touch(self, session: LiveSession) -> None:
        """Set the time of the last activity to now, for a request or message of a page."""
        session.last_seen = session.asked = self._clock.now()

    def heard(self, session: LiveSession) -> None:
        """Do the same for a message of its server."""
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
        kind = Kind.REHEARSAL if is_rehearsal(key.user) else Kind.STUDENT
        if kind is Kind.STUDENT:
            self.admission.demand_room()
        session_id = secrets.token_urlsafe(12)
        tell("Preparing the software that this notebook needs")
        # Read first: a release that is published after this makes this session out of date.
        version = await self._spawner.version(key)
        request = await self._spawner.request(key, session_id, tell)
        # The previous session, if it is still ending, uses the row and the workspace.
        if self._ends.busy(key):
            tell("Waiting until the notebook's last session has ended")
        await self._ends.wait(key)
        self._demand_askers(key)  # every caller may have left before there was a place to leave
        self._demand_wanted(key)
        ticket = Ticket(kind, number, session_id, self._expected(key), key, tell)
        usage = await self.admission.enter(ticket)
        try:
            if ticket.last_text:  # it waited: the item may have been published or withdrawn since
                version = await self._spawner.version(key)
                request = await self._spawner.request(key, session_id, tell)
            tell("Starting the notebook")
            live = await self._launch(key, request, version, usage, tell)
        except BaseException as error:
            if isinstance(error, MograderError) and kind is Kind.STUDENT:
                self.tally.starts[kind_of(usage.warm), "failed"] += 1
            self._ledger.close(session_id)
            raise
        finally:
            self.admission.leave(ticket)
        if key not in self._askers:  # looked at before it can be found by others
            self._begin_end(live, EndReason.STOPPED)
        self._demand_askers(key)
        if kind is Kind.STUDENT:  # how long a rehearsal waits says nothing of what students do
            self.tally.started(live.usage.warm, self._clock.steady() - asked)
        await self.history.forget(key)
        if key in self._unwanted:
            await self.end(live, EndReason.STOPPED)
        self._demand_wanted(key)
        _log.info("started %s of %s for %s", key.mode.value, key.item, key.user)
        return live

    def _demand_askers(self, key: SessionKey) -> None:
        """Refuse a start for which no caller waits any more. Raises: :class:`Conflict`."""
        if key not in self._askers:
            raise Conflict("Nobody waits for the notebook any more.", hint="Open it again.")

    def _demand_wanted(self, key: SessionKey) -> None:
        """Refuse a start that was stopped meanwhile. Raises: :class:`Conflict`."""
        if key in self._unwanted:
            raise Conflict("The notebook was stopped while it started.", hint="Open it again.")

    async def _launch(
        self, key: SessionKey, request: StartSession, version: str, usage: Usage, tell: Progress
    ) -> LiveSession:
        now = self._clock.now()
        endpoint = await self._starter.start(key, request, version, now, tell)
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
        rows = await to_its_end(self._rows.sessions)
        # Until a session has answered, no page has its address.
        answered = (row for row in rows if row.state is SessionState.RUNNING)
        now = self._clock.now()  # while no hub ran, none recorded any activity
        found: dict[str, LiveSession] = {}
        for row in answered:
            age = (now - row.started_at).total_seconds()
            usage = self._ledger.open(row.session_id, self._expected(key_of(row)), age)
            found[row.session_id] = session_of(row, now, usage)
        # Add them to the ledger before asking the launcher, which then tells the use of each once.
        running = {info.session_id: info for info in await self._launcher.sessions()}
        for row in rows:
            live, info = found.get(row.session_id), running.get(row.session_id)
            if live is None:  # its start was under way, and is ended
                self._clear(row.session_id, key_of(row), asyncio.Event())
            elif info is not None:
                live.endpoint = info.endpoint
                self._remember(live)
            else:
                ending = self.history.note(live, EndReason.LOST)
                self._closing.add(live.id)
                self._ends.begin(live.key, partial(self._conclude, ending, alive=False))
        if running.keys() - found.keys():
            self._breaks.set()  # those without a row are ended in the background
        if self._live:
            _log.info("adopted %d running sessions", len(self._live))

    async def _give_up(self, session_id: str, key: SessionKey) -> None:
        """Clear up after a start that has failed; what takes longer goes on in the background."""
        tried = asyncio.Event()
        clearing = self._clear(session_id, key, tried)
        await set_within(tried, _GIVEN_UP_SECONDS)
        await asyncio.wait({clearing}, timeout=_AT_ONCE_SECONDS)

    def _clear(
        self, session_id: str, key: SessionKey, tried: asyncio.Event
    ) -> asyncio.Future[None]:
        """Stop a session that has not begun to answer, and remove its row; new starts wait.

        ``tried`` is set after the first attempt to stop it.
        """
        self._closing.add(session_id)

        async def clear() -> None:
            try:
                await self._stop(session_id, tried)
                await self._remove_row(session_id)
            finally:
                self._closing.discard(session_id)

        return self._ends.begin(key, clear)

    async def _stop(self, session_id: str, tried: asyncio.Event) -> None:
        """Stop a session; return when it certainly runs no more. ``tried`` is as in `_clear`."""

        async def stop() -> None:
            try:
                await self._launcher.stop(session_id)
            finally:
                tried.set()

        trouble = f"session {session_id} is not ended yet"
        await retried(stop, trouble, longest_seconds=_STOP_PAUSE_SECONDS)

    async def _remove_row(self, session_id: str) -> None:
        """Remove a row; try again while the database does not answer."""
        remove = partial(to_its_end, self._rows.remove_session, session_id)
        trouble = f"the row of session {session_id} was not removed"
        await retried(remove, trouble, longest_seconds=_ROW_PAUSE_SECONDS)

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
        if not self.admission.idle:
            self._reconsider()

    async def _handle_exits(self) -> None:
        while True:
            gone = await self._exits.get()
            try:
                await self.note_exit(gone)
            except Exception:  # noqa: BLE001 - the loop must go on with the next exit
                _log.exception("the end of a session could not be processed")

    async def note_exit(self, gone: Ended, reason: EndReason | None = None) -> None:
        """Record the end of a session that this hub has not asked for, by default its reason."""
        self._starter.note_exit(gone)
        live = self._by_id.get(gone.session_id)
        if live is None or live.endpoint.node != gone.node:  # it runs on another machine
            return
        if reason is None:  # if it was asked for, the previous hub did
            reason = EndReason.STOPPED if gone.asked else reason_of(gone)
        log_unasked_end(live.key, gone, reason)
        detail = last_words(gone.log_tail) if reason is EndReason.CRASHED else ""
        ending = self._record_end(live, reason, detail)
        # Not waited for: while the database does not answer, other sessions end as well.
        self._ends.begin(live.key, partial(self._conclude, ending, alive=False))

    def _record_end(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Remove a session from the live ones, record its ending and return that."""
        ending = self.history.note(live, reason, detail)
        if not is_rehearsal(live.key.user):
            self.tally.endings[reason] += 1
        self._closing.add(live.id)
        if self.culler.reached(live) and not self.culler.moving(live):  # its memory counts as used
            live.usage.ends = self._clock.steady()
        self._forget(live)
        return ending

    async def _conclude(self, ending: Ending, *, alive: bool) -> None:
        """Stop the session if ``alive``, free its memory, delete its row and save its ending."""
        try:
            if alive:
                await self._stop(ending.session_id, asyncio.Event())
            await asyncio.to_thread(self.after_end, ending.key)
        except Exception:  # noqa: BLE001 - the session has ended, and its row must not stay
            _log.exception("the end of session %s was not processed completely", ending.session_id)
        finally:
            self._closing.discard(ending.session_id)
            self._ledger.close(ending.session_id)
            self.admission.pump()
        await self._remove_row(ending.session_id)
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
