"""Which sessions exist: start one or find it, stop, cull, adopt.

The rows in the hub's database are the truth and outlive the hub; the memory here is a cache of
them for the hot path. All mutable state is ``_live`` (sessions that answer), ``_starts`` (those
on their way) and ``_ends`` (those on their way out). Deciding is separate from doing:
:func:`idle` and :func:`orphans` only say what should happen.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

import aiohttp

from mograder.core.clock import Clock
from mograder.core.errors import MograderError, SandboxUnavailable, TimedOut
from mograder.core.shared import Progress, Shared
from mograder.sessions.endings import Ending, EndReason
from mograder.sessions.history import EndingRows, History
from mograder.sessions.launcher import Endpoint, Exit, Launcher, LaunchSpec, Mode
from mograder.sessions.live import LiveSession, SessionKey
from mograder.sessions.spawner import Spawner
from mograder.sessions.tally import ItemMemory, Tally
from mograder.store.hub_state import SessionRow, SessionState

_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 15.0
_NEWS_SECONDS = 1.0

Probe = Callable[[Endpoint, str], Awaitable[bool]]


class SessionRows(EndingRows, Protocol):
    """The rows of sessions; :class:`~mograder.store.hub_state.HubState` keeps them."""

    def add_session(self, row: SessionRow) -> None: ...

    def update_session(
        self,
        session_id: str,
        *,
        state: SessionState | None = None,
        socket: str | None = None,
        last_seen: datetime | None = None,
    ) -> bool: ...

    def remove_session(self, session_id: str) -> bool: ...

    def sessions(self) -> tuple[SessionRow, ...]: ...


class SessionPool:
    """One session per user, item and mode. Call :meth:`open` first and :meth:`close` last."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        spawner: Spawner,
        rows: SessionRows,
        clock: Clock,
        probe: Probe,
        ttl: float,
        start_timeout: float,
    ) -> None:
        """``ttl`` is the idle time in seconds after which a session is culled (B77)."""
        self._launcher = launcher
        self._spawner = spawner
        self._rows = rows
        self._clock = clock
        self._probe = probe
        self._ttl = timedelta(seconds=ttl)
        self._start_timeout = start_timeout
        self._history = History(rows, clock)
        self.tally = Tally()
        self._live: dict[SessionKey, LiveSession] = {}
        self._by_id: dict[str, LiveSession] = {}
        self._starts: Shared[SessionKey, LiveSession] = Shared()
        self._ends: Shared[SessionKey, None] = Shared()
        self._deaths: dict[str, asyncio.Future[Exit]] = {}
        self._exits: asyncio.Queue[Exit | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Adopt what runs from before, then watch for ends and idleness."""
        self._launcher.watch(self._exits.put_nowait, lambda: self._exits.put_nowait(None))
        await self._adopt()
        for watch in (self._hear_exits(), self._keep_house()):
            self._tasks.append(asyncio.create_task(watch))

    async def close(self) -> None:
        """Stop watching; the sessions go on in the launcher."""
        await self._starts.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ends.settle()  # a session that is half stopped must not be adopted
        await asyncio.to_thread(self._save_last_seen)

    async def get_or_start(self, key: SessionKey, progress: Progress) -> LiveSession:
        """Return the session that runs, or the one being started, or a new one (B72).

        Raises: :class:`~mograder.core.errors.NotFound` when there is nothing to open,
        :class:`TimedOut` when the server never answers, :class:`SandboxUnavailable` when it
        dies at start, and what preparing an environment raises.
        """
        live = self._live.get(key)
        if live is not None:
            version = await self._spawner.version(key)
            if self._live.get(key) is live and live.version == version:
                self.touch(live)
                return live
            await self.stop(key)  # a lecture that was published again since
        return await self._starts.get(key, lambda tell: self._start(key, tell), progress)

    async def stop(self, key: SessionKey, reason: EndReason = EndReason.STOPPED) -> bool:
        """End a session; false if none was running."""
        live = self._live.get(key)
        if live is None:
            return False
        self._history.note(live, reason)
        self.tally.endings[reason] += 1
        self._forget(live)
        # On its own, so that who asked may go away; and a new start of the key waits for it.
        await self._ends.get(key, lambda _: self._give_up(live.id), _unheard)
        return True

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
        return Counter(running=len(self._live), starting=len(self._deaths))

    def memory_by_item(self) -> list[ItemMemory]:
        """Return what the running sessions of each item and mode use together."""
        return []

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

    async def _start(self, key: SessionKey, tell: Progress) -> LiveSession:
        session_id = secrets.token_urlsafe(12)
        tell("Preparing the software that this notebook needs")
        # Before the rest: one that is published meanwhile makes this session out of date.
        version = await self._spawner.version(key)
        spec = await self._spawner.spec(key, session_id, tell)
        tell("Starting the notebook")
        now = self._clock.now()
        row = SessionRow(
            session_id=session_id,
            username=key.user,
            item=key.item,
            mode=key.mode.value,
            state=SessionState.STARTING,
            socket="",
            version=version,
            environment=spec.environment.name,
            started_at=now,
            last_seen=now,
        )
        # The one before, if it is still ending, holds the row and the workspace.
        await self._ends.get(key, lambda _: _nothing(), _unheard)
        await asyncio.to_thread(self._rows.add_session, row)
        endpoint = await self._launch(spec)
        live = LiveSession(
            session_id, key, endpoint, spec.base_url, version, now, self._clock.now()
        )
        self._remember(live)
        _log.info("started %s of %s for %s", key.mode.value, key.item, key.user)
        return live

    async def _launch(self, spec: LaunchSpec) -> Endpoint:
        """Start the process and bring its row up to date, or leave neither."""
        death: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._deaths[spec.session_id] = death
        try:
            endpoint = (await self._launcher.start(spec)).endpoint
            await self._expect(endpoint, spec.base_url, death)
            await asyncio.to_thread(
                self._rows.update_session,
                spec.session_id,
                state=SessionState.RUNNING,
                socket=str(endpoint.socket),
            )
            if death.done():  # while that was written
                raise _died(death.result())
        except BaseException:
            await self._give_up(spec.session_id)
            raise
        finally:
            del self._deaths[spec.session_id]
        return endpoint

    async def _expect(self, endpoint: Endpoint, base_url: str, death: asyncio.Future[Exit]) -> None:
        """Wait until the server answers, dies, or has had its time."""
        probe = asyncio.ensure_future(self._probe(endpoint, base_url))
        try:
            either: tuple[asyncio.Future[Any], ...] = (death, probe)
            await asyncio.wait(
                either, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if death.done():
                raise _died(death.result())
            if not probe.done():
                raise TimedOut(
                    f"The notebook did not start within {self._start_timeout:.0f} seconds.",
                    hint="Try again; if it happens again, tell your instructor.",
                )
            try:
                healthy = probe.result()
            except (aiohttp.ClientError, OSError):
                healthy = False
                # The line breaks a moment before the news comes of why it did.
                await asyncio.wait((death,), timeout=_NEWS_SECONDS)
            if death.done():
                raise _died(death.result())
            if not healthy:
                raise SandboxUnavailable(
                    "The notebook's server gave no sensible answer.",
                    hint="Try again; if it happens again, tell your instructor.",
                )
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    async def _give_up(self, session_id: str) -> None:
        with suppress(MograderError):
            await self._launcher.stop(session_id)
        await self._remove_row(session_id)

    async def _remove_row(self, session_id: str) -> None:
        await asyncio.to_thread(self._rows.remove_session, session_id)

    async def _adopt(self) -> None:
        """Match the rows of the hub before with what the launcher still has."""
        rows = await asyncio.to_thread(self._rows.sessions)
        running = {launched.session_id: launched for launched in await self._launcher.running()}
        for row in rows:
            launched = running.get(row.session_id)
            if launched is not None and row.state is SessionState.RUNNING:
                key = SessionKey(row.username, row.item, Mode(row.mode))
                self._remember(
                    LiveSession(
                        row.session_id,
                        key,
                        launched.endpoint,
                        f"/{key.url.rstrip('/')}",
                        row.version,
                        row.started_at,
                        self._clock.now(),
                    )
                )
            else:
                await self._remove_row(row.session_id)
        await self._stop_all(orphans(rows, running))
        if self._live:
            _log.info("adopted %d running sessions", len(self._live))

    async def _hear_exits(self) -> None:
        while True:
            gone = await self._exits.get()
            try:
                await (self._note_loss() if gone is None else self._note_exit(gone))
            except Exception:  # noqa: BLE001 - a loop: the next exit must be noticed too
                _log.exception("the end of a session could not be noted")

    async def _note_loss(self) -> None:
        _log.error("the supervisor has gone, and all sessions with it")
        for session_id in (*self._by_id, *self._deaths):
            await self._note_exit(Exit(session_id, -1, ""))
        # If only the line to it broke, what runs on there is out of everybody's reach.
        with suppress(MograderError):
            running = {launched.session_id for launched in await self._launcher.running()}
            await self._stop_all(running - self._by_id.keys() - self._deaths.keys())

    async def _stop_all(self, session_ids: Iterable[str]) -> None:
        await asyncio.gather(*(self._launcher.stop(session_id) for session_id in session_ids))

    async def _note_exit(self, gone: Exit) -> None:
        death = self._deaths.get(gone.session_id)
        if death is not None and not death.done():
            death.set_result(gone)
        live = self._by_id.get(gone.session_id)
        if live is not None:
            _log.warning(
                "%s of %s for %s ended by itself with status %s: %s",
                live.key.mode.value,
                live.key.item,
                live.key.user,
                gone.status,
                gone.log_tail[-500:],
            )
            self._forget(live)
            await self._ends.get(live.key, lambda _: self._remove_row(gone.session_id), _unheard)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING_SECONDS, self._ttl.total_seconds() / 4))
            try:
                await self._cull()
                await asyncio.to_thread(self._save_last_seen)
            except Exception:  # noqa: BLE001 - a loop: what failed now is tried again
                _log.exception("the housekeeping failed")

    async def _cull(self) -> None:
        for live in idle(self.all(), self._clock.now(), self._ttl):
            _log.info("culled idle %s of %s for %s", live.key.mode, live.key.item, live.key.user)
            await self.stop(live.key)

    def _save_last_seen(self) -> None:
        for live in self.all():
            self._rows.update_session(live.id, last_seen=live.last_seen)

    def _remember(self, live: LiveSession) -> None:
        self._live[live.key] = live
        self._by_id[live.id] = live

    def _forget(self, live: LiveSession) -> None:
        if self._by_id.pop(live.id, None) is None:
            return
        if self._live.get(live.key) is live:
            del self._live[live.key]
        for callback in tuple(live.on_stop):
            callback()


def idle(sessions: Iterable[LiveSession], now: datetime, ttl: timedelta) -> list[LiveSession]:
    """Return the sessions without activity for longer than ``ttl``, oldest activity first."""
    stale = [session for session in sessions if now - session.last_seen > ttl]
    return sorted(stale, key=lambda session: session.last_seen)


def orphans(rows: Iterable[SessionRow], running: Iterable[str]) -> list[str]:
    """Return the ids that run without a row of a session that answered: nobody can reach them."""
    known = {row.session_id for row in rows if row.state is SessionState.RUNNING}
    return [session_id for session_id in running if session_id not in known]


async def _nothing() -> None:
    return None


def _unheard(_: str) -> None:
    return None


def _died(gone: Exit) -> SandboxUnavailable:
    last = next((line for line in reversed(gone.log_tail.splitlines()) if line.strip()), "")
    said = f" It said: {last[:300]}" if last else ""
    return SandboxUnavailable(
        f"The notebook ended while it was starting (status {gone.status}).{said}",
        hint="Try again; if it happens again, tell your instructor.",
    )
