"""A node: the supervisor of a machine that dials its hub, and keeps a lease.

It has no database and no secret of the hub. It decides nothing about students: it does what the hub
asks within the rules of :class:`NodePaths`, relays the bytes of sessions, and ends when it is
drained. It builds environments by the hub's locks (decision 48).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from mograder.core.clock import boot_time
from mograder.core.errors import Forbidden, InvalidInput, MograderError, SandboxUnavailable
from mograder.core.files.disk import look_for
from mograder.core.operating_system import ending_signals
from mograder.core.systemd import NO_SERVICE, READY, STOPPING, Service
from mograder.core.tasks import BackgroundTasks, Progress, repeat, set_within
from mograder.sandbox.client.bootstrap import prove
from mograder.sandbox.environments.builder import mark_used
from mograder.sandbox.environments.locked_builds import LockedBuilds
from mograder.sandbox.environments.pruning import (
    finished_environments,
    last_use,
    prune_environments,
)
from mograder.sandbox.isolation.bwrap import Runner
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.nodes.node_config import NodeConfig
from mograder.sandbox.nodes.node_dialer import Hub, NodeDialer
from mograder.sandbox.protocol import (
    Call,
    Done,
    GrantLease,
    NodeStatus,
    NotebookRequest,
    Output,
    PrepareEnvironment,
    RunCommand,
    Shutdown,
    StartSession,
    encode,
)
from mograder.sandbox.supervisor.config import SESSIONS, SupervisorConfig
from mograder.sandbox.supervisor.lease import KillTimer
from mograder.sandbox.supervisor.server import Supervisor, serve_supervisor, tell

_KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")


class NodePaths:
    """The rules: directories are below a share, environments are this node's own."""

    def __init__(self, shares: tuple[Path, ...], environments: Path) -> None:
        """``shares`` must be resolved."""
        self._shares = shares
        self._environments = environments

    def of(self, request: NotebookRequest) -> dict[str, Path]:
        """Return this machine's paths of a request, by its fields. Blocks: it looks at the share.

        Raises: :class:`Forbidden` for a directory that is not on a share, :class:`InvalidInput` for
        a name that is none.
        """
        notebook = PurePosixPath(request.notebook)
        if notebook.is_absolute() or ".." in notebook.parts:
            raise InvalidInput(f"This is not the name of a notebook: {request.notebook[:80]!r}.")
        real = Path(os.path.realpath(request.directory))
        absolute = request.directory.is_absolute()
        if not absolute or not any(map(real.is_relative_to, self._shares)):
            raise Forbidden(
                f"This node serves no directory {request.directory}.",
                hint="Mount the hub's directories on the node at the same path, and name them "
                "with --share.",
            )
        look_for(real)  # the hub may just have made or replaced it
        return {"directory": real, "environment": self.own(request.environment)}

    def own(self, environment: Path) -> Path:
        """Return this node's environment of the same name. Raises: :class:`InvalidInput`."""
        if not _KEY.fullmatch(environment.name):
            raise InvalidInput(
                f"This is not the name of an environment: {environment.name[:80]!r}."
            )
        return self._environments / environment.name


class Drain:
    """Whether a node takes new sessions, and when it ends.

    A hub's wish only keeps new sessions away. A signal to the process also ends it: when no session
    is left, and after ``seconds`` at the latest if that was asked for. Sessions that are left then
    end one after the other over the second half of that time: the other nodes, where they start
    again, would be overloaded by all of them at once. Mutable state: the wishes, and ``_left``, the
    number of sessions at the beginning of the second half.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = boot_time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._wished = False
        self._leaving = False
        self._until: float | None = None
        self._left = 0
        self._news = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self._wished or self._leaving

    def wish(self, *, draining: bool) -> None:
        """Note the wish of an administrator of the hub."""
        if draining != self._wished:
            self._wished = draining
            self._news.set()

    def leave(self, *, hurry: bool) -> None:
        """End when the node is empty; with ``hurry`` in ``seconds`` at the latest.

        A second call with ``hurry`` ends the node at once.
        """
        if hurry:
            now = self._clock()
            self._until = now if self._until is not None else now + self._seconds
        self._leaving = True
        self._news.set()

    def stay(self) -> None:
        """Take new sessions again, unless the time of the end is set."""
        if self._until is None:
            self._leaving = False
            self._news.set()

    def seconds_left(self) -> float | None:
        """Return the seconds until the end of the sessions that are left, if that is set."""
        return None if self._until is None else max(0.0, self._until - self._clock())

    def seconds_granted(self) -> float | None:
        """Return the seconds that every session may go on for at least, if an end is set."""
        left = self.seconds_left()
        return None if left is None else max(0.0, left - self._seconds / 2)

    def due(self, sessions: int) -> int:
        """Return how many of so many sessions are to be ended now."""
        left = self.seconds_left()
        if left is None or left >= self._seconds / 2:
            return 0
        self._left = max(self._left, sessions)
        return max(0, sessions - math.ceil(self._left * left / (self._seconds / 2)))

    def is_over(self, *, busy: bool) -> bool:
        return self._leaving and (not busy or self.seconds_left() == 0)

    async def changed(self, seconds: float) -> None:
        """Wait for the next change, for ``seconds`` at most and not beyond the end."""
        left = self.seconds_left()
        await set_within(self._news, seconds if left is None else min(seconds, left))
        self._news.clear()


_log = logging.getLogger(__name__)

MARGIN_SECONDS = 3.0
"""How much earlier than the hub's the node's lease ends: the time to kill all sessions."""

_STATUS_SECONDS = 1.5
_LOOK_SECONDS = 0.2
_SILENT_SECONDS = 4.0
"""How long a hub that is well may take for the answer to a status."""
_BUILD_END_SECONDS = 5.0
"""How long builds may take to end after the drain: the engine kills the node soon after it."""
_KEPT_STATUSES = 200
_DAY = 86_400.0
_UNUSED_SECONDS = 30 * _DAY


class Statuses:
    """When each status was sent, and since when the hub has answered none, by :func:`boot_time`."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self._sent: dict[int, float] = {}
        self._number = 0
        self._span = 0.0
        self._answered = clock()

    def next_number(self) -> int:
        self._number += 1
        self._sent[self._number] = self._clock()
        while len(self._sent) > _KEPT_STATUSES:
            del self._sent[next(iter(self._sent))]
        return self._number

    def end_of(self, number: int, seconds: float) -> float:
        """Return the end of the lease of ``seconds`` that answers the status of this number.

        The hub has granted it after that status was sent, so its own count ends later.

        Raises: :class:`InvalidInput` for a status that was not sent lately.
        """
        sent = self._sent.get(number)
        if sent is None:
            raise InvalidInput(f"This node has not sent a status of the number {number} lately.")
        self._answered, self._span = self._clock(), seconds - MARGIN_SECONDS
        return sent + self._span

    def expect(self) -> None:
        """Note that a conversation with a hub begins, which has to answer."""
        self._answered = self._clock()

    def is_overdue(self) -> bool:
        """Return whether the hub has granted no lease for a third of the time of one.

        It hangs, or its machine is gone, which a front before it does not tell.
        """
        return self._clock() - self._answered > max(_SILENT_SECONDS, self._span / 3)


class NodeSupervisor(Supervisor):
    """A node at work, until :meth:`serve` returns.

    Mutable state: that of a supervisor, the drain, the sessions that it ends, whether it may not
    serve its hub, and the epoch of the hub that granted the last lease.
    """

    def __init__(
        self,
        config: NodeConfig,
        hub: Hub,
        secret: str,
        runner: Runner,
        host: Host,
        service: Service = NO_SERVICE,
    ) -> None:
        super().__init__(config.supervisor, runner, host, service)
        self._node = config
        self._paths = NodePaths(config.shares, config.environments)
        self._builds = LockedBuilds(config.environments, self, seconds=config.build_seconds)
        self._statuses = Statuses()
        self.lease = self._session_table.lease
        self.drain = Drain(config.drain_seconds)
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._background = BackgroundTasks()
        self._unfit = False
        self._epoch = 0
        self._hub = hub
        self._dialer = NodeDialer(
            hub, secret, self._serve_hub, self._socket_of, hurried=self._is_hurried
        )
        self.lease.on_over = self._dialer.cut

    async def serve(self) -> None:
        self.lease.hold(0.0)
        if self._runner.kind == "bubblewrap":
            await prove(self, self._config)
        self._dialer.connect()
        _log.info("this node serves %s", self._hub)
        self._service.tell(READY, f"STATUS=Serving {self._hub}")
        self._background.start(self._leave_silent_hubs())
        daily = repeat("unused environments", self._prune, _DAY, at_once=False)
        self._background.start(daily)
        try:
            await self._report()
        finally:
            await self._background.close()
            await self._leave()

    def obey_signals(self) -> None:
        """Drain the node at SIGUSR1 and signals that end a server; SIGUSR2 takes SIGUSR1 back."""
        loop = asyncio.get_running_loop()

        def leave() -> None:
            self._service.tell(STOPPING)
            self.drain.leave(hurry=True)

        for number in ending_signals():
            loop.add_signal_handler(number, leave)
        loop.add_signal_handler(signal.SIGUSR1, lambda: self.drain.leave(hurry=False))
        loop.add_signal_handler(signal.SIGUSR2, self.drain.stay)

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        async def pass_on(lines: list[str]) -> None:
            for line in lines:
                on_line(line)

        return await self._run(command, pass_on)

    async def _leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BUILD_END_SECONDS):
                await self._builds.close()
        await self._end()  # before the dialer: the hub is told of the ends
        await asyncio.gather(*self._moving.values())
        await self._dialer.close()

    # ---- what the hub asks ----

    async def _serve_hub(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._statuses.expect()
        # At once: after a hub's restart the lease may be over before the next regular status.
        with contextlib.suppress(OSError):
            tell((writer,), await self._status())
        await self._conversations.start(self._converse(reader, writer))

    async def _do(self, call: Call, writer: asyncio.StreamWriter) -> Done:
        operation = call.operation
        match operation:
            case GrantLease():
                self._epochs.demand(writer)
                self._hold(operation)
                return Done(id=call.id)
            case PrepareEnvironment():
                self._epochs.demand(writer)
                return await self._build(call.id, operation, writer)
            case RunCommand() | Shutdown():
                raise Forbidden(f"A hub cannot {operation.op} on a node.")
        return await super()._do(call, writer)

    async def _prepare(self, request: NotebookRequest) -> Mapping[str, Path]:
        """Return this machine's paths of a request.

        Raises: :class:`SandboxUnavailable` while the node is drained, and as :meth:`NodePaths.of`.
        """
        if self.drain.draining:
            raise SandboxUnavailable(
                "This machine takes no new sessions, since it is to be stopped.",
                hint="Try again: another machine is used.",
            )
        paths = await asyncio.to_thread(self._paths.of, request)
        if isinstance(request, StartSession):
            await asyncio.to_thread(mark_used, paths["environment"])
        await super()._prepare(request)
        return paths

    async def _warm(self, environment: Path) -> bool:
        return await super()._warm(self._paths.own(environment))

    def _hold(self, grant: GrantLease) -> None:
        until = self._statuses.end_of(grant.number, grant.seconds)
        # As root a node gives a copy's directory to the session's own uid, which takes it away
        # from a hub that is not root: such a node may take no session.
        unfit = grant.uid is not None and (grant.uid == 0) != (os.geteuid() == 0)
        if unfit and not self._unfit:
            _log.error(
                "this node runs as uid %d, but its hub as uid %d: it takes no sessions. Run both "
                "as the same user",
                os.geteuid(),
                grant.uid,
            )
        self._unfit = unfit
        self.drain.wish(draining=grant.draining or unfit)
        self._epochs.see(grant.epoch)  # refuses a hub that was replaced
        self.lease.hold(until)
        if grant.epoch != self._epoch:
            self._epoch = grant.epoch
            # Those of a hub that hangs would stay open: beside one editor another may only read.
            # This hub's own may be there before its first lease.
            self._dialer.cut_earlier()

    async def _build(
        self, call_id: int, order: PrepareEnvironment, writer: asyncio.StreamWriter
    ) -> Done:
        def progress(text: str) -> None:
            writer.write(encode(Output(id=call_id, line=text[:4000])))

        built = await self._builds.prepare(order, progress)
        warm = order.warm and await self._warm(built.directory)
        return Done(id=call_id, warm=warm)

    # ---- what the node does by itself ----

    def _is_hurried(self) -> bool:
        return self.lease.seconds_left() > 0

    def _socket_of(self, session_id: str) -> Path | None:
        """Return the socket of a session while it may be used; ids are names without a slash."""
        if self.lease.seconds_left() <= 0:
            return None
        path = self._config.runtime / SESSIONS / f"{session_id}.sock"
        return path if path.is_socket() else None

    async def _report(self) -> None:
        """Send a status to the hub every 1.5 seconds, until the drain is over."""
        while True:
            try:
                status = await self._status()
            except OSError as error:
                _log.error("the state of this node is not known: %s", error)
            else:
                tell(self._hubs, status)
                if self.drain.is_over(busy=bool(status.sessions or status.runs)):
                    return
                self._move(status.sessions)
            await self.drain.changed(_STATUS_SECONDS)

    async def _status(self) -> NodeStatus:
        keys = await asyncio.to_thread(self._builds.keys)
        zygotes = () if self._zygotes is None else self._zygotes.ready
        live = sorted(each.session_id for each in self._session_table.all())
        return NodeStatus(
            number=self._statuses.next_number(),
            memory=self._node.memory,
            used=self._session_table.used,
            processors=len(os.sched_getaffinity(0)),
            load=os.getloadavg()[0],
            starts=self._node.starts,
            starting=len(self._session_table.starting()),
            environments=keys,
            zygotes=tuple(sorted({path.name for path in zygotes})),
            sessions=tuple(live),
            runs=len(self._runs),
            draining=self.drain.draining,
            drain_seconds=self.drain.seconds_granted(),
        )

    def _move(self, sessions: tuple[str, ...]) -> None:
        """End those of the live sessions that the drain has no more time for, in the background."""

        async def move(session_id: str) -> None:
            try:
                await self._session_table.stop(session_id, asked=False, reason="moved")
            except (MograderError, OSError) as error:
                _log.warning("session %s was not ended completely: %s", session_id, error)

        left = sorted({*sessions} - self._moving.keys())
        for session_id in left[: self.drain.due(len(left))]:
            self._moving[session_id] = asyncio.create_task(move(session_id))

    async def _leave_silent_hubs(self) -> None:
        """Close the connection to a hub that grants no lease: another one may be at work."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._dialer.connected and self._is_hurried() and self._statuses.is_overdue():
                _log.warning("the hub is silent; the connection to it is closed")
                self._statuses.expect()
                for hub in tuple(self._hubs):
                    hub.transport.abort()

    async def _prune(self) -> None:
        removed = await asyncio.to_thread(prune_unused, self._builds.path)
        _log.info("removed %d environments that were not used for a month", len(removed))


def prune_unused(root: Path) -> tuple[str, ...]:
    """Remove environments that were not used for a month; return their names.

    A node does not know which items are published. A hub has it build an environment again that it
    lacks, so nothing is lost but time.
    """
    since = time.time() - _UNUSED_SECONDS
    recent = frozenset(p.name for p in finished_environments(root) if last_use(p) > since)
    return tuple(each.path.name for each in prune_environments(root, recent).removed)


def serve_node(config: NodeConfig, hub: Hub, secret: str, service: Service) -> None:
    """Serve a hub until the node was drained; blocks, or raises SandboxUnavailable."""

    def make(_: SupervisorConfig, runner: Runner, host: Host, service: Service) -> Supervisor:
        made = NodeSupervisor(config, hub, secret, runner, host, service)
        made.obey_signals()
        try:
            made.lease.timer = KillTimer()
        except OSError as error:
            raise SandboxUnavailable(
                f"This machine's kernel gives no timer for the lease of a node: {error.strerror}."
            ) from error
        return made

    serve_supervisor(config.supervisor, service, make)
