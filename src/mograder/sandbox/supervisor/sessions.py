"""The live sessions of a supervisor: starting them, ending them, reporting their ends."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mograder.core.errors import Conflict, NotFound, SandboxUnavailable
from mograder.core.files.disk import NO_RESERVE, DiskReserve
from mograder.sandbox.environments.record import RECORD, keep, read_record
from mograder.sandbox.isolation.bwrap import Runner, Sandboxed, Start
from mograder.sandbox.isolation.namespaces import prefer_to_end
from mograder.sandbox.isolation.policy import (
    SANDBOXED_SESSION,
    Host,
    Plan,
    execution_plan,
    judge_plan,
    session_plan,
    unconfined,
    unconfined_judge,
    worker_plan,
)
from mograder.sandbox.limits.cgroup2 import SessionGroup, SessionGroups
from mograder.sandbox.limits.cpu import Processors, put_back
from mograder.sandbox.limits.monitor import Monitor
from mograder.sandbox.limits.process_meter import ProcessMeter, helpers_memory
from mograder.sandbox.protocol import (
    LONGEST_TAIL,
    AnswerJudge,
    AnswerWorker,
    Arrived,
    Ended,
    Execute,
    LimitReason,
    MachineReason,
    Mode,
    News,
    NotebookRequest,
    SessionInfo,
    StartSession,
)
from mograder.sandbox.supervisor.check_pipes import CheckPipes
from mograder.sandbox.supervisor.config import SESSIONS
from mograder.sandbox.supervisor.lease import Lease
from mograder.sandbox.warm.pool import ZygotePool
from mograder.sandbox.warm.sessions import PendingSession, close_all

_log = logging.getLogger("mograder.supervisor")

_GENTLY_SECONDS = 1.5
"""How long marimo may finish a save: it writes in place, so a partial write loses the file."""

_CLOSE_LOOKS, _CLOSE_SECONDS = 40, 0.05
"""Attempts, and seconds between them, to remove a cgroup whose processes were killed."""

_BACKLOG = 1024
NotebookRun = Execute | AnswerWorker | AnswerJudge
"""A program that ends by itself, and writes a report."""

_Request = StartSession | NotebookRun


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The means to enforce sessions' limits; ``groups`` is None without cgroup v2."""

    groups: SessionGroups | None = None
    disk_reserve: DiskReserve = NO_RESERVE


@dataclass(slots=True)
class _Session:
    info: SessionInfo
    sandbox: Sandboxed
    log: bytearray
    group: SessionGroup | None
    on_end: Callable[[Ended], None]
    listed: bool
    environment: int
    """The descriptor that keeps its environment."""
    reason: LimitReason | MachineReason | Literal[""] = ""
    asked: bool = False
    """Whether a hub has asked for its end."""

    def explain(self, reason: MachineReason | Literal[""]) -> None:
        """Note why it is ended, unless that is known; a run's end says nothing of its machine."""
        if self.listed and not self.reason:
            self.reason = reason


class SessionTable:
    """Sessions by id; only in memory, since they end with this process."""

    def __init__(
        self,
        runner: Runner,
        host: Host,
        runtime: Path,
        on_end: Callable[[Ended], None],
        on_news: Callable[[News], None],
        prepare: Callable[[NotebookRequest], Awaitable[Mapping[str, Path]]],
        zygotes: ZygotePool | None = None,
        bounds: HostLimits = HostLimits(),
    ) -> None:
        """``runtime`` is the directory for sockets; with ``zygotes`` sessions can start warm.

        ``prepare`` prepares this machine for a request, and returns the paths that are others here.
        """
        self._prepare = prepare
        self._runner = runner
        self._zygotes = zygotes
        self._host = host
        self._sockets = runtime / SESSIONS
        self._on_end = on_end
        self._on_news = on_news
        self._session_table: dict[str, _Session] = {}
        self._beginning: dict[str, asyncio.Task[_Session]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._checks = CheckPipes(on_news)
        self.lease = Lease(self._kill_all)
        """The time for which sessions and runs may go on, if this is a node's supervisor."""
        self._groups = bounds.groups
        self._meter = ProcessMeter(confined=self.confines)
        self._processors = Processors()
        self._monitor = Monitor(
            self._meter,
            self._processors,
            disk_reserve=bounds.disk_reserve,
            end=self._end_for,
            tell=on_news,
            overhead=self._overhead,
        )

    @property
    def confines(self) -> bool:
        return self._runner.kind != "none"

    @property
    def used(self) -> int:
        """The memory in bytes of all that runs, as last measured."""
        return self._monitor.used

    def all(self) -> tuple[SessionInfo, ...]:
        """Return the sessions that are live or being started, without the runs of notebooks."""
        live = tuple(life.info for life in self._session_table.values() if life.listed)
        return (*live, *self.starting())

    def starting(self) -> tuple[SessionInfo, ...]:
        paths = {each: self._sockets / f"{each}.sock" for each in self._beginning}
        return tuple(SessionInfo(session_id=k, socket=v) for k, v in paths.items() if v.exists())

    async def start(self, request: StartSession) -> SessionInfo:
        """Start a session on a listening socket made here, so code inside cannot choose it.

        The start continues if the caller is cancelled; call :meth:`end` then.

        Raises: :class:`Conflict` for an id in use, :class:`NotFound` for a missing directory,
        :class:`~mograder.core.errors.SandboxUnavailable`, and the errors of ``prepare``.
        """
        path = self._sockets / f"{request.session_id}.sock"
        self._demand_new(request)
        listener = _listen(path).detach()
        checks = self._checks.open(request.session_id) if request.mode is Mode.EDIT else ()
        making = self._make(request, (listener, *checks), path, self._on_end)
        return (await self._begin(request.session_id, making)).info

    async def execute(
        self, request: NotebookRun, descriptors: tuple[int, ...], on_end: Callable[[Ended], None]
    ) -> None:
        """Start a run that inherits its report's descriptor and others, which are closed here.

        It has the limits of a session, but its end is reported only to ``on_end``, not to hubs.

        Raises: as :meth:`start`.
        """
        path = self._sockets / f"{request.session_id}.none"
        try:
            self._demand_new(request)
        except BaseException:
            close_all(descriptors)
            raise
        await self._begin(request.session_id, self._make(request, descriptors, path, on_end))

    def _demand_new(self, request: _Request) -> None:
        if request.session_id in self._session_table or request.session_id in self._beginning:
            raise Conflict(f"Session {request.session_id} is running already.")

    async def _begin(self, session_id: str, making: Coroutine[None, None, _Session]) -> _Session:
        """Make a session or a run, also if this is cancelled."""
        beginning = self._beginning[session_id] = asyncio.create_task(making)
        beginning.add_done_callback(lambda _: self._beginning.pop(session_id))
        return await asyncio.shield(beginning)

    async def _make(
        self,
        request: _Request,
        descriptors: tuple[int, ...],
        path: Path,
        on_end: Callable[[Ended], None],
    ) -> _Session:
        """Start a session with its listening socket, or a run with its descriptors."""
        log = bytearray()
        group: SessionGroup | None = None
        kept: list[int] = []
        try:
            term = self.lease.demand()
            request = request.model_copy(update=await self._prepare(request))
            for each in (request.directory / request.notebook, request.environment / RECORD):
                self._runner.reach(each)
            kept.append(await asyncio.to_thread(self._make_ready, request))
            with _limiting():
                if self._groups is not None:  # mkdir may block in the kernel
                    group = await asyncio.to_thread(
                        self._groups.make, request.session_id, request.limits
                    )
            if group is not None:
                awaited = isinstance(request, StartSession) and request.awaited
                weight = request.limits.cpu_weight
                self._processors.add(request.session_id, group, weight, boost=awaited)
            start = Start(
                self._plan(request, descriptors),
                request.uid_slot,
                lambda data: _keep_tail(log, data),
                descriptors,
                partial(self._settle, request, group),
                lambda: _open_entry(group),
            )
            self.lease.demand(term)
            sandbox = self._open(request, start)
        except BaseException:
            close_all((*descriptors, *kept))
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - a single call
            await self._put_away(request.session_id, group)
            raise
        info = SessionInfo(session_id=request.session_id, socket=path)
        listed = isinstance(request, StartSession)
        life = _Session(info, sandbox, log, group, on_end, listed, kept[0])
        self._session_table[request.session_id] = life
        sandbox.exited.add_done_callback(lambda done: self._ended(life, done.result()))
        _log.info("session %s started", request.session_id)
        return life

    def _make_ready(self, request: _Request) -> int:
        """Look for the notebook, give its directory to the student, and keep the environment.

        Slow for a large tree on a slow disk, and blocks while the server of a share is away. On the
        hub's machine the hub has just asked that server for what other machines changed.
        """
        if not (request.directory / request.notebook).is_file():
            raise NotFound(f"There is no notebook {request.notebook!r} to open.")
        if _writes(request):
            self._runner.give(request.directory, request.uid_slot)
        return keep(request.environment)

    def _settle(self, request: _Request, group: SessionGroup | None, pid: int) -> None:
        """Limit a first process, before any student code runs."""
        prefer_to_end(pid)
        if group is None:
            put_back(pid, request.limits.cpu_weight)
        workspace = request.directory if _writes(request) else None
        is_run = not isinstance(request, StartSession)
        self._monitor.add(request.session_id, pid, request.limits, workspace, group, is_run=is_run)

    def _open(self, request: _Request, start: Start) -> Sandboxed:
        """Start the sandbox, warm if possible; unless this raises, its descriptors get closed."""
        zygotes = self._zygotes
        if zygotes is None:
            sandbox = self._runner.start(start)
            self._on_news(Arrived(session_id=request.session_id, warm=False))
            close_all(start.descriptors)
            return sandbox

        def start_cold(reason: str) -> Sandboxed:
            zygotes.fell_back(reason)
            sandbox = self._runner.start(start)
            self._on_news(Arrived(session_id=request.session_id, warm=False, fallback=reason))
            return sandbox

        async def join() -> Sandboxed:
            session = await zygotes.join(request.environment, start, _template(request))
            self._on_news(Arrived(session_id=request.session_id, warm=True))
            return session

        return PendingSession(join, start_cold, start.descriptors, start.on_output)

    def _plan(self, request: _Request, descriptors: tuple[int, ...]) -> Plan:
        record = read_record(request.environment)
        roots, environment, host = record.interpreter_roots, request.environment, self._host
        inside = SANDBOXED_SESSION
        if not self.confines and isinstance(request, AnswerJudge):
            inside = unconfined_judge(host, directory=request.directory, environment=environment)
        elif not self.confines:
            inside = unconfined(host, work=request.directory, environment=environment)
        match request:
            case Execute():
                return execution_plan(request, roots, host, inside, *descriptors)
            case AnswerWorker():
                return worker_plan(request, roots, host, inside, descriptors)
            case AnswerJudge():
                return judge_plan(request, roots, host, inside, descriptors)
            case StartSession():
                assets = record.assets
                return session_plan(request, roots, host, inside, *descriptors, assets=assets)

    async def arrived(self, session_id: str) -> None:
        """Wait until a new session is in its sandbox, or ended; raises the error of its start."""
        life = self._session_table.get(session_id)
        if life is not None and isinstance(life.sandbox, PendingSession):
            await life.sandbox.arrived()

    def answered(self, session_id: str) -> bool:
        """End a session's CPU boost, because its server has answered; return whether it exists."""
        self._processors.answered(session_id)
        return session_id in self._session_table

    async def stop(
        self, session_id: str, *, asked: bool = True, reason: MachineReason | Literal[""] = ""
    ) -> bool:
        """End a session, at first by a signal that lets it save; return false if there is none.

        ``asked`` is whether a hub asks for this; if none does, ``reason`` is told.
        """
        life = await self._life(session_id)
        if life is None:
            if closing := self._closing.get(session_id):  # its end is reported before this returns
                await asyncio.wait({closing})
            return False
        life.asked = asked
        life.explain(reason)
        life.sandbox.end_gently()
        await asyncio.wait({life.sandbox.exited}, timeout=_GENTLY_SECONDS)
        if not life.sandbox.exited.done():
            self._monitor.forget(session_id)
            life.sandbox.end()
        await self._gone(life)
        return True

    async def _life(self, session_id: str) -> _Session | None:
        """Return a session or None; wait for its start if that is in progress."""
        if beginning := self._beginning.get(session_id):
            await asyncio.wait({beginning})
        return self._session_table.get(session_id)

    async def _gone(self, life: _Session) -> None:
        """Wait until a session's last process has ended and its end was reported."""
        await asyncio.wait({life.sandbox.exited})
        if closing := self._closing.get(life.info.session_id):
            await asyncio.wait({closing})

    async def end(self, session_id: str) -> None:
        """Kill a session, if it exists, and wait until it has ended."""
        life = await self._life(session_id)
        if life is not None:
            self._monitor.forget(session_id)
            life.sandbox.end()
            await self._gone(life)

    def tell_all(self) -> None:
        """Report every session's use soon, also where it has not changed."""
        self._monitor.tell_all()

    async def end_all(self) -> None:
        """End every session and remove the cgroups; called when the supervisor ends."""
        sessions = {*self._session_table, *self._beginning}
        await asyncio.gather(*(self.stop(each, asked=False, reason="lost") for each in sessions))
        if self._closing:
            await asyncio.wait(self._closing.values())
        await self._monitor.close()
        await self._processors.close()
        if self._groups is not None:
            for _ in range(_CLOSE_LOOKS):
                if await asyncio.to_thread(self._groups.close):
                    break
                await asyncio.sleep(_CLOSE_SECONDS)

    def _kill_all(self) -> None:
        """Kill every session and run; those whose start is in progress are not started."""
        for session_id, life in tuple(self._session_table.items()):
            self._monitor.forget(session_id)
            life.explain("machine")
            life.sandbox.end()

    def _end_for(self, session_id: str, reason: LimitReason) -> None:
        life = self._session_table.get(session_id)
        if life is None:
            return
        _log.warning("session %s is killed: %s limit exceeded", session_id, reason)
        life.reason = reason
        life.sandbox.end()

    def _overhead(self) -> int:
        """Return the bytes used by the supervisor and its helpers; runs in the guard's thread."""
        if self._groups is not None:
            return self._groups.overhead()
        return helpers_memory(self._meter.pids())

    async def _put_away(
        self, session_id: str, group: SessionGroup | None
    ) -> LimitReason | Literal[""]:
        """Forget a session and remove its cgroup; return why the kernel's OOM killer acted."""
        self._monitor.forget(session_id)
        if group is None or self._groups is None:
            return ""
        await asyncio.to_thread(self._groups.put_away, group)
        events = group.events()
        if not events.oom_kills:
            return ""
        return "memory" if events.own_limit else "shortage"

    def _ended(self, life: _Session, status: int) -> None:
        session_id = life.info.session_id
        life.info.socket.unlink(missing_ok=True)
        self._checks.close(session_id)
        self._session_table.pop(session_id, None)
        os.close(life.environment)
        closing = asyncio.create_task(self._close(life, status))
        self._closing[session_id] = closing
        closing.add_done_callback(lambda _: self._closing.pop(session_id, None))

    async def _close(self, life: _Session, status: int) -> None:
        session_id = life.info.session_id
        killed = await self._put_away(session_id, life.group)
        _log.info("session %s ended with status %s", session_id, status)
        if isinstance(life.sandbox, PendingSession) and life.sandbox.failure:
            return  # it never started; its caller received the error
        end = Ended(
            session_id=session_id,
            status=status,
            log_tail=life.log.decode("utf-8", "replace"),
            reason=life.reason or killed,
            asked=life.asked,
        )
        life.on_end(end)


@contextmanager
def _limiting() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxUnavailable(f"A session cannot be given its limits: {error}.") from error


def _open_entry(group: SessionGroup | None) -> int | None:
    """Return a descriptor by which a first process enters its cgroup, or None without a group."""
    with _limiting():
        return None if group is None else group.entry()


def _writes(request: _Request) -> bool:
    """Return whether its directory is bound writable: a lecture's and a judge's are not."""
    if isinstance(request, StartSession):
        return request.mode is Mode.EDIT
    return isinstance(request, Execute | AnswerWorker)


def _template(request: _Request) -> Path | None:
    """Return the directory of a judge, of which there may be more: none that records is."""
    return request.directory if isinstance(request, AnswerJudge) and not request.records else None


def _keep_tail(log: bytearray, data: bytes) -> None:
    log += data
    del log[:-LONGEST_TAIL]


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener
