"""The supervisor: the process that owns sandboxes and answers hubs over a Unix socket.

It outlives the hub, so sessions go on while a hub is restarted or upgraded. Sandboxes end with the
supervisor. A supervisor that a hub started ends on request, or when no hub has been connected for
a while (decision 3).

Run as ``python -m mograder.sandbox.supervisor.server CONFIG`` with CONFIG the JSON of
:class:`~mograder.sandbox.supervisor.config.SupervisorConfig`. It prints ``ready`` once it accepts
connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

from pydantic import ValidationError

from mograder import __version__
from mograder.core.errors import MograderError, NotFound, SandboxUnavailable
from mograder.core.files.disk import DiskReserve
from mograder.core.log import configure_logging
from mograder.core.operating_system import allow_open_files, ending_signals
from mograder.core.systemd import NO_SERVICE, READY, STOPPING, Service
from mograder.core.tasks import BackgroundTasks
from mograder.sandbox.isolation.bwrap import (
    BwrapRunner,
    Runner,
    Start,
    adopt_orphans,
    leave_the_keyring,
)
from mograder.sandbox.isolation.namespaces import prefer_to_end
from mograder.sandbox.isolation.policy import (
    SANDBOXED_BUILD,
    Host,
    build_plan,
    unconfined,
)
from mograder.sandbox.limits.cpu import put_first
from mograder.sandbox.protocol import (
    CALL,
    LINE_LIMIT,
    PROTOCOL,
    Answered,
    Arrived,
    Call,
    CallId,
    CancelCall,
    Done,
    Ended,
    Execute,
    Failed,
    GrantLease,
    Hello,
    JudgeSubmission,
    ListSessions,
    News,
    NotebookRequest,
    Output,
    PrepareEnvironment,
    RunCommand,
    SessionInfo,
    Shutdown,
    StartSession,
    StopSession,
    Subscribe,
    Warm,
    encode,
)
from mograder.sandbox.supervisor.config import (
    LogFile,
    SupervisorConfig,
    cgroups_of,
    demand_own_interpreter,
    keep_cache,
    prepare_runner,
    prepare_runtime,
    refresh_resolver,
)
from mograder.sandbox.supervisor.lease import HubEpochs
from mograder.sandbox.supervisor.notebook_runs import execute, judge
from mograder.sandbox.supervisor.sessions import HostLimits, SessionTable
from mograder.sandbox.warm.pool import ZygotePool

_log = logging.getLogger("mograder.supervisor")


_FAREWELL_SECONDS = 2.0
_REPORT_SECONDS = 0.2
_END_SECONDS = 5.0
_TIMED_OUT = 124
_UNREAD_BYTES = 1 << 20
"""Unsent bytes above which a hub that reads slowly receives no more measurements."""
_MOST_UNREAD_BYTES = 4 << 20
"""Those above which it is disconnected, since it must miss no end and no start."""

_SWITCH_SECONDS = 0.001
"""Thread switch interval: how long a measuring thread may delay the event loop. A start takes a
dozen steps, each of which could wait for Python's default of 5 ms."""


class Supervisor:
    """The server that answers hubs; its state is the live sessions and the connected hubs."""

    def __init__(
        self, config: SupervisorConfig, runner: Runner, host: Host, service: Service = NO_SERVICE
    ) -> None:
        self._config = config
        self._service = service
        self._runner = runner
        self._host = host
        self._hubs: set[asyncio.StreamWriter] = set()
        self._subscribers: set[asyncio.StreamWriter] = set()
        groups = cgroups_of(config)
        self._zygotes: ZygotePool | None = None
        kept, memory_mb = config.warm_environments, config.warm_memory_mb
        if kept and isinstance(runner, BwrapRunner):
            shelter = None if groups is None else groups.shelter
            self._zygotes = ZygotePool(runner, host, kept, memory_mb, shelter)
        reserve = DiskReserve(config.disk_reserve_mb, config.disk_reserve_percent)
        self._session_table = SessionTable(
            runner,
            host,
            config.runtime,
            lambda gone: tell(self._hubs, gone),
            lambda news: tell(self._subscribers, news),
            self._prepare,
            self._zygotes,
            HostLimits(groups, reserve),
        )
        self._epochs = HubEpochs()
        self._conversations = BackgroundTasks()
        self._runs: dict[tuple[asyncio.StreamWriter, int], asyncio.Task[object]] = {}
        self._stopping = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        """Answer hubs until a shutdown call or signal, or until none has connected for long."""
        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, self._stopping.set)
        path = self._config.socket
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._greet, path, limit=LINE_LIMIT)
        path.chmod(0o600)
        self._expect_a_hub()
        _log.info("supervisor %s answers at %s", __version__, path)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        self._service.tell(READY, f"STATUS=Answering at {path}")
        async with server:
            await self._stopping.wait()
            self._service.tell(STOPPING)
            path.unlink(missing_ok=True)
            await self._end()

    async def _end(self) -> None:
        self._stopping.set()
        await self._session_table.end_all()
        if self._zygotes is not None:
            await self._zygotes.close()
        for hub in tuple(self._hubs):
            hub.close()
        await self._conversations.ended(_FAREWELL_SECONDS)
        for hub in tuple(self._hubs):
            hub.transport.abort()  # a hub that does not read must not delay the end
        _log.info("supervisor ended")

    def _expect_a_hub(self) -> None:
        if self._config.owned and not self._hubs:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._config.linger, self._stopping.set)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _is_ours(writer):
            writer.close()
            return
        self._conversations.start(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._hubs.add(writer)
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            async with asyncio.TaskGroup() as tasks:
                while line := await reader.readline():
                    tasks.create_task(self._answer(line, writer))
                # Cancel the calls in progress: the hub cannot receive their answers.
                raise _HubGoneError
        except* (_HubGoneError, OSError, ValueError):  # a node's network fails in many ways
            _log.debug("a hub has disconnected")
        finally:
            self._hubs.discard(writer)
            self._subscribers.discard(writer)
            self._epochs.forget(writer)
            writer.close()
            self._expect_a_hub()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            call = CALL.validate_json(line)
        except ValidationError as error:
            _log.error("unreadable call: %s", error)
            await _send(writer, encode(_unreadable(line)))
            return
        try:
            answer: Done | Failed = await self._do(call, writer)
        except MograderError as error:
            answer = Failed(
                id=call.id, family=type(error).__name__, message=error.message, hint=error.hint
            )
        except Exception:  # noqa: BLE001 - one failed call must not end the supervisor and its sessions
            _log.exception("call %s failed", call.operation.op)
            answer = Failed(
                id=call.id,
                family="SandboxUnavailable",
                message="The session supervisor failed.",
                hint="Its log tells why.",
            )
        await _send(writer, encode(answer))

    async def _do(self, call: Call, writer: asyncio.StreamWriter) -> Done:
        operation = call.operation
        self._epochs.demand(writer)
        match operation:
            case Hello():
                self._epochs.greet(writer, operation.epoch)
                return Done(
                    id=call.id,
                    version=__version__,
                    protocol=PROTOCOL,
                    sandbox=self._runner.kind,
                    owned=self._config.owned,
                    course=self._config.course,
                    starts=dict(self._zygotes.counts) if self._zygotes else {},
                )
            case StartSession():
                return Done(id=call.id, sessions=(await self._start(operation),))
            case StopSession() | Answered():
                table, each = self._session_table, operation.session_id
                is_stop = isinstance(operation, StopSession)
                told = await table.stop(each) if is_stop else table.answered(each)
                return Done(id=call.id, stopped=told)
            case ListSessions():
                return Done(id=call.id, sessions=self._session_table.all())
            case GrantLease() | PrepareEnvironment():
                raise SandboxUnavailable(f"This supervisor cannot {operation.op}.")
            case RunCommand() | Execute() | JudgeSubmission() | CancelCall():
                return await self._run_in_sandbox(call.id, operation, writer)
            case Warm():
                return Done(id=call.id, warm=await self._warm(operation.environment))
            case Subscribe():
                self._subscribers.add(writer)
                self._session_table.tell_all()
                return Done(id=call.id)
            case Shutdown():
                self._stopping.set()
                return Done(id=call.id, stopped=True)

    async def _prepare(self, request: NotebookRequest) -> Mapping[str, Path]:
        """Prepare this machine for a request; return the paths that are others here.

        Raises: :class:`SandboxUnavailable` when this process is ending.
        """
        self._demand_staying()
        return {}

    def _demand_staying(self) -> None:
        if self._stopping.is_set():
            raise SandboxUnavailable(
                "The machine that runs the notebook is being stopped.",
                hint="Try again in a minute.",
            )

    async def _warm(self, environment: Path) -> bool:
        return self._zygotes is not None and await self._zygotes.warm(environment)

    async def _start(self, request: StartSession) -> SessionInfo:
        """Start a session; end it again if the hub disconnects before it is in its sandbox.

        Raises: as :meth:`SessionTable.start`.
        """
        try:
            info = await self._session_table.start(request)
            await self._session_table.arrived(info.session_id)
        except asyncio.CancelledError:  # the calling hub's connection has broken
            await self._session_table.end(request.session_id)
            raise
        return info

    async def _run_in_sandbox(
        self,
        call_id: int,
        operation: RunCommand | Execute | JudgeSubmission | CancelCall,
        writer: asyncio.StreamWriter,
    ) -> Done:
        """Run a command, run or judge a notebook, or end a run of another call.

        Raises: :class:`SandboxUnavailable` for a run that ends with this process, as its report is
        that of a program which was killed; and as :func:`execute`.
        """
        if isinstance(operation, RunCommand):
            tell = functools.partial(_send_lines, writer, call_id)
            return Done(id=call_id, status=await self._run(operation, tell))
        if isinstance(operation, CancelCall):
            run = self._runs.get((writer, operation.call_id))
            if run is not None:
                run.cancel()
                await asyncio.wait({run})
            return Done(id=call_id, stopped=run is not None)
        task = asyncio.current_task()
        assert task is not None, "this is called from a task"
        self._runs[writer, call_id] = task
        try:
            if isinstance(operation, Execute):
                executed, lines = await execute(self._session_table, operation)
                done = Done(id=call_id, executed=executed)
            else:
                judged, lines = await judge(self._session_table, operation)
                done = Done(id=call_id, judged=judged)
        finally:
            del self._runs[writer, call_id]
        self._demand_staying()
        await _send_lines(writer, call_id, lines)
        return done

    async def _run(self, command: RunCommand, tell: Callable[[list[str]], Awaitable[None]]) -> int:
        """Run a build command in a sandbox; return its status, 124 if it took too long."""
        self._demand_staying()
        self._runner.reach(command.directory)
        if not command.directory.is_dir():
            raise NotFound(f"There is no build directory {command.directory}.")
        # It may have been deleted at any time.
        await asyncio.to_thread(keep_cache, self._config.uv_cache, self._runner.uid_base)
        refresh_resolver(self._host.build_etc)
        inside = SANDBOXED_BUILD
        if self._runner.kind == "none":
            directory = command.directory
            inside = unconfined(self._host, work=directory, environment=directory)
        lines = Lines()
        plan = build_plan(command, self._host, inside)
        sandbox = self._runner.start(Start(plan, 0, lines.feed, settle=prefer_to_end))
        try:
            async with asyncio.timeout(command.timeout):
                while not sandbox.exited.done():
                    await asyncio.wait({sandbox.exited}, timeout=_REPORT_SECONDS)
                    await tell(lines.take())
        except TimeoutError:
            await tell(["It took too long and was ended."])
            return _TIMED_OUT
        finally:
            if not sandbox.exited.done():
                sandbox.end()
                # Its directory is removed next.
                await asyncio.wait({sandbox.exited}, timeout=_END_SECONDS)
        await tell(lines.take(last=True))
        return sandbox.exited.result()


def tell(hubs: Collection[asyncio.StreamWriter], news: Ended | News) -> None:
    """Send news to hubs, but not to one that has not read what it was sent before.

    It must miss no end and no start of a session. Instead of those it loses its connection: it
    compares its sessions with ours when it connects again.
    """
    missable = not isinstance(news, Ended | Arrived)
    line = encode(news)
    for hub in tuple(hubs):
        unread = hub.transport.get_write_buffer_size()
        if unread < (_UNREAD_BYTES if missable else _MOST_UNREAD_BYTES):
            hub.write(line)
        elif not missable and not hub.transport.is_closing():
            _log.warning("a hub does not read; its connection is closed")
            hub.transport.abort()


class _HubGoneError(Exception):
    """Raised to cancel the tasks of a hub whose connection has ended."""


class Lines:
    """Splits a program's output into lines, of limited length and number."""

    _LIMIT = 4000
    _LINES = 5000

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> None:
        self._rest = (self._rest + data)[-262_144:]

    def take(self, *, last: bool = False) -> list[str]:
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if last and rest:
            lines.append(rest)
            self._rest = b""
        del lines[: -self._LINES]
        return [line[: self._LIMIT].decode("utf-8", "replace").rstrip() for line in lines]


def _unreadable(line: bytes) -> Failed:
    """Return the answer to a call that cannot be parsed; its id is 0 if that cannot either."""
    try:
        number = CallId.model_validate_json(line).id
    except ValidationError:
        number = 0
    return Failed(
        id=number,
        family="RemoteFailed",
        message=f"The session supervisor (mograder {__version__}) cannot read this request.",
        hint="Hub and supervisor may be of different releases: restart the supervisor when no "
        "student is at work, since that ends the sessions.",
    )


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Return whether the peer is the supervisor's user or root (the directory is 0700 as well)."""
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid in (0, os.geteuid())


async def _send_lines(writer: asyncio.StreamWriter, call_id: int, lines: list[str]) -> None:
    for line in lines:
        await _send(writer, encode(Output(id=call_id, line=line)))


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(OSError):
        writer.write(data)
        await writer.drain()


def serve_supervisor(
    config: SupervisorConfig,
    service: Service = NO_SERVICE,
    make: Callable[[SupervisorConfig, Runner, Host, Service], Supervisor] = Supervisor,
) -> None:
    """Prepare the host and answer hubs until the supervisor ends; blocks.

    ``make`` makes the supervisor; a node's is another one.

    Raises: :class:`~mograder.core.errors.SandboxUnavailable` if no sandbox can be created.
    """
    demand_own_interpreter()  # the namespace helper runs with it too
    os.umask(0o022)  # sandboxes of other uids read the prepared files
    leave_the_keyring()
    adopt_orphans()
    allow_open_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    put_first()
    held = prepare_runtime(config.runtime)
    runner, host = prepare_runner(config)
    gc.collect()
    gc.freeze()  # excludes long-lived objects from later garbage collections, which block the loop

    async def run() -> None:
        async with service.kept_alive():
            await make(config, runner, host, service).serve()

    try:
        asyncio.run(run())
    finally:
        runner.close()
        os.close(held)


def main(argv: list[str]) -> int:
    """Run the program that a hub starts; a failure is printed as one line on standard output."""
    config = SupervisorConfig.model_validate_json(argv[0])
    try:
        configure_logging(to=None if config.log is None else LogFile(config.log))
        serve_supervisor(config)
    except MograderError as error:
        sys.stdout.write(f"failed {error.message}\t{error.hint}\n")
        return 78
    except OSError as error:  # a directory cannot be created, or a socket cannot be bound
        sys.stdout.write(f"failed The session supervisor cannot start: {error}.\t\n")
        return 78
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
