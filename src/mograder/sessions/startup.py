"""The start of a session, and matching those that are known with those that run, after a break.

A start is the row, the process, the server's first answer; it is undone if any step fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from mograder.core.errors import MograderError, SandboxUnavailable, TimedOut
from mograder.core.tasks import Progress, first_of, retried, to_its_end
from mograder.sandbox.machines import Launcher
from mograder.sandbox.protocol import Ended, Endpoint, SessionInfo, StartSession
from mograder.sessions.connections import Probe
from mograder.sessions.end_reasons import EndReason, last_words
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState

_NEWS_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Start:
    """A start in progress.

    ``death`` resolves if the session's process ends. ``ends`` are the ends that were reported, by
    machine; ``machine`` is the one that runs it, None until the launcher has confirmed it. Until
    then it may be tried on several, and only the end on the last one is the session's.
    """

    death: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    ends: dict[str, Ended] = field(default_factory=dict)
    machine: str | None = None

    def note_exit(self, gone: Ended) -> None:
        self.ends[gone.node] = gone
        self._settle()

    def launched_on(self, machine: str) -> None:
        self.machine = machine
        self._settle()

    def _settle(self) -> None:
        gone = None if self.machine is None else self.ends.get(self.machine)
        if gone is not None and not self.death.done():
            self.death.set_result(gone)


class Starter:
    """Starts sessions with the launcher; ``start_timeout`` is in seconds.

    ``give_up`` stops a session whose start has failed, and removes its row.

    Mutable state: ``_starts``, by the id of the session.
    """

    def __init__(
        self,
        launcher: Launcher,
        rows: HubState,
        probe: Probe,
        start_timeout: float,
        give_up: Callable[[str, SessionKey], Awaitable[None]],
    ) -> None:
        self._launcher = launcher
        self._rows = rows
        self._probe = probe
        self._start_timeout = start_timeout
        self._give_up = give_up
        self._starts: dict[str, _Start] = {}

    def ids(self) -> Iterable[str]:
        return tuple(self._starts)

    def launched(self) -> Mapping[str, str]:
        """Return the machines of the starting sessions that the launcher has confirmed, by id."""
        starts = self._starts.items()
        return {each: start.machine for each, start in starts if start.machine is not None}

    def __len__(self) -> int:
        return len(self._starts)

    def note_exit(self, gone: Ended) -> None:
        """Record the end of a process: if its session was starting there, the start fails."""
        if (start := self._starts.get(gone.session_id)) is not None:
            start.note_exit(gone)

    async def start(
        self, key: SessionKey, request: StartSession, version: str, now: datetime, tell: Progress
    ) -> Endpoint:
        """Start the process and write its row, or leave neither; ``version`` is the release's.

        ``tell`` is called with what the machine has to do before that.

        Raises: :class:`TimedOut` when the server does not answer in time,
        :class:`SandboxUnavailable` when it ends or its answer is not valid, and the errors of the
        launcher and the database.
        """
        start = self._starts[request.session_id] = _Start()
        try:
            await to_its_end(self._rows.add_session, _row(key, request, version, now))
            endpoint = (await self._launcher.start(request, tell)).endpoint
            start.launched_on(endpoint.node)
            await self._expect(endpoint, request.base_url, start.death)
            self._launcher.answered(request.session_id)
            await to_its_end(self._rows.session_runs, request.session_id, str(endpoint.socket))
            if start.death.done():  # it ended while the row was written
                raise _died(start.death.result())
        except BaseException:
            await self._give_up(request.session_id, key)
            raise
        finally:
            del self._starts[request.session_id]
        return endpoint

    async def _expect(
        self, endpoint: Endpoint, base_url: str, death: asyncio.Future[Ended]
    ) -> None:
        """Wait until the server answers. Raises: as :meth:`start`."""
        probe = asyncio.ensure_future(self._probe(endpoint, base_url))
        try:
            await first_of(death, probe, seconds=self._start_timeout)
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
                # The connection breaks shortly before the launcher reports the end's cause.
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


def _row(key: SessionKey, request: StartSession, version: str, now: datetime) -> SessionRow:
    return SessionRow(
        session_id=request.session_id,
        username=key.user,
        item=key.item,
        mode=key.mode.value,
        state=SessionState.STARTING,
        socket="",
        version=version,
        environment=request.environment.name,
        started_at=now,
    )


def _died(gone: Ended) -> SandboxUnavailable:
    last = last_words(gone.log_tail)
    said = f" It said: {last[:300]}" if last else ""
    return SandboxUnavailable(
        f"The notebook ended while it was starting (status {gone.status}).{said}",
        hint="Try again; if it happens again, tell your instructor.",
    )


_log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 5.0
"""The longest pause between attempts to reach a launcher, each of which may start a supervisor."""
_AT_ONCE = 8
"""How many sessions of one machine are stopped at the same time."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Matches both sides.

    ``sessions`` returns those that are known here, ``ending`` the ids of those that are being
    ended; ``note_exit`` records the end of one. ``is_dead`` returns whether a server certainly
    accepts no more connections.

    Mutable state: ``_unknown``, the ids that are yet to be stopped, by machine.
    """

    sessions: Callable[[], list[LiveSession]]
    ending: Callable[[], Set[str]]
    note_exit: Callable[[Ended, EndReason], Awaitable[None]]
    launcher: Launcher
    starter: Starter
    is_dead: Callable[[Endpoint], bool]
    _unknown: dict[str, set[str]] = field(default_factory=dict)

    async def after_each(self, broke: asyncio.Event) -> None:
        """Reconcile whenever ``broke`` is set: a connection broke or was made; until cancelled.

        What is stopped on one of several machines keeps nothing else waiting.
        """
        async with asyncio.TaskGroup() as stops:
            while True:
                await broke.wait()
                broke.clear()
                try:
                    await self.reconcile(stops)
                except Exception:  # noqa: BLE001 - the loop must go on after an error
                    _log.exception("the sessions could not be matched with the launcher's")

    async def reconcile(self, stops: asyncio.TaskGroup) -> None:
        """Match the sessions known here with the launcher's, after a connection broke or was made.

        Sessions that the launcher still runs are kept. Those that it lacks have ended as lost.
        Those that are unknown here are stopped, in ``stops``: their start or stop
        was in progress at the break.
        """
        trouble = "the sessions are not matched with the launcher's yet"
        known, found = await retried(self._both, trouble, longest_seconds=_LONGEST_PAUSE_SECONDS)
        running = {each.session_id: each.node for each in found}
        nodes = {live.id: live.endpoint.node for live in self.sessions()}
        nodes.update(self.starter.launched())
        for session_id in known - running.keys():
            gone = lost(session_id, nodes.get(session_id, ""))
            await self.note_exit(gone, EndReason.LOST)
        unknown = running.keys() - {*self._ids(), *self.starter.ids(), *self.ending()}
        self._stop({each: running[each] for each in unknown}, stops)
        _log.info("connected: %d sessions run", len(running))

    async def _both(self) -> tuple[Set[str], Sequence[SessionInfo]]:
        """Return the ids of the sessions that are known here, and those that the launcher runs.

        Raises: as the launcher; the sessions whose servers are dead are then recorded as lost.
        """
        # Collected before the call: its answer may lack sessions that start meanwhile.
        known = {*self._ids(), *self.starter.launched()}
        try:
            return known, await self.launcher.sessions()
        except MograderError:
            for live in self.sessions():
                if self.is_dead(live.endpoint):
                    await self.note_exit(lost(live.id, live.endpoint.node), EndReason.LOST)
            raise

    def _stop(self, machines: Mapping[str, str], stops: asyncio.TaskGroup) -> None:
        for machine in set(machines.values()):
            begun = machine in self._unknown
            self._unknown[machine] = {each for each, on in machines.items() if on == machine}
            if not begun:
                stops.create_task(self._stop_on(machine))

    async def _stop_on(self, machine: str) -> None:
        try:
            while waiting := self._unknown[machine]:
                some = [waiting.pop() for _ in range(min(_AT_ONCE, len(waiting)))]
                await asyncio.gather(*map(self._stop_one, some))
        finally:
            del self._unknown[machine]

    async def _stop_one(self, session_id: str) -> None:
        try:
            await self.launcher.stop(session_id)
        except Exception as error:  # noqa: BLE001 - the loop must go on after an error
            expected = isinstance(error, MograderError)
            text = "a session that is not known is not stopped: %s"
            _log.warning(text, error, exc_info=not expected)

    def _ids(self) -> set[str]:
        return {live.id for live in self.sessions()}


def lost(session_id: str, node: str) -> Ended:
    """Return the end of a session whose end the launcher did not report."""
    return Ended(session_id=session_id, status=-1, log_tail="", node=node)
