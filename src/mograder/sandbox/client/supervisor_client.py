"""The client of a supervisor, for a hub or a command, and the connection that it keeps.

A hub starts its own supervisor, and connects again after a lost connection. The hub's connections
to nodes are of the same kind (:mod:`mograder.sessions.nodes.node_link`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydantic import ValidationError

from mograder.core import errors
from mograder.core.errors import Conflict, MograderError, RemoteFailed, SandboxUnavailable
from mograder.core.tasks import BackgroundTasks, Progress, SingleFlight
from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import (
    ANSWER,
    LINE_LIMIT,
    PROTOCOL,
    Answered,
    Arrived,
    Call,
    CancelCall,
    Checked,
    Done,
    Ended,
    Execute,
    Executed,
    Failed,
    Hello,
    Judged,
    JudgeSubmission,
    ListSessions,
    Measured,
    News,
    NodeStatus,
    Operation,
    Output,
    RunCommand,
    SessionInfo,
    Shutdown,
    StartSession,
    StopSession,
    Subscribe,
    Warm,
    encode,
)
from mograder.sandbox.supervisor.config import SupervisorConfig, demand_own_interpreter

_log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
"""How long the answer to an ordinary call may take."""
_END_SECONDS = 30.0
"""How long a supervisor may take to end before it is killed."""
_SPAWN_SECONDS = 120.0
"""How long a supervisor may take to prepare the host (directories, mounts, orphans)."""

_RUN_SECONDS = 60.0
"""Added to the time limit of a run: the time for its sandboxes to start and to end."""
_READ_BYTES = 4096
_ATTEMPTS = 3

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Connection:
    """A connection for concurrent calls. Made by :func:`connect`; call :meth:`close` at the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._listeners: dict[int, Callable[[str], None]] = {}
        self.watch(ignore, lambda: None)
        self._listening = asyncio.create_task(self._listen())
        self.hello = Done(id=0)
        """The supervisor's answer to ``hello``."""

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        """Set the callbacks for sessions' ends, for the loss of this connection, and for news.

        News are sent only after the call :class:`~mograder.sandbox.protocol.Subscribe`.
        """
        self._on_ended, self._on_lost, self._on_news = on_ended, on_lost, on_news

    @property
    def alive(self) -> bool:
        # A connection of uvloop that was closed raises RuntimeError when it is written to.
        return not self._listening.done() and not self._writer.is_closing()

    async def wait_closed(self) -> None:
        await asyncio.wait({self._listening})

    async def close(self) -> None:
        """Close the connection; the supervisor goes on."""
        self._on_lost = lambda: None
        self._writer.close()
        self._listening.cancel()
        await asyncio.wait({self._listening})

    async def greet(self, epoch: int = 0) -> None:
        """Check that both use the same protocol version, and tell the hub's epoch, if this is one.

        Raises: :class:`SandboxUnavailable`; :class:`Conflict` when another hub is at work.
        """
        self.hello = await self.call(Hello(epoch=epoch))
        if self.hello.protocol != PROTOCOL:
            raise SandboxUnavailable(
                f"The running session supervisor (mograder {self.hello.version}) is of another "
                "release than this hub.",
                hint="Restart it (its service, or the process) when no student is at work, since "
                f"that ends the sessions; until then run the hub of mograder {self.hello.version}.",
            )

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook; ``on_line`` gets each line of its report. Raises: as :meth:`call`."""
        done = await self.call(request, on_line, request.seconds + _RUN_SECONDS)
        if done.executed is None:
            raise RemoteFailed("The session supervisor does not say how a notebook ended.")
        return done.executed

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        """Judge a submission; ``on_line`` gets the lines of both reports; raises as `call`."""
        done = await self.call(request, on_line, request.seconds + _RUN_SECONDS)
        if done.judged is None:
            raise RemoteFailed("The session supervisor does not say how a submission was judged.")
        return done.judged

    async def shutdown(self) -> None:
        """End the supervisor and all its sandboxes; it may have ended already."""
        with contextlib.suppress(ConnectionLost):
            await self.call(Shutdown())
        await asyncio.wait({self._listening}, timeout=ANSWER_SECONDS)

    async def call(
        self,
        operation: Operation,
        on_line: Callable[[str], None] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Done:
        """Return the answer to an operation; ``on_line`` is called with each line of its output.

        A notebook's run or a judging has ended when this is cancelled or there is no answer.

        Raises: the error that the supervisor reports; :class:`ConnectionLost` when the connection
        is or gets broken; :class:`RemoteFailed` without an answer within ``seconds``.
        """
        if not self.alive:
            raise _gone()
        call = Call(id=next(self._ids), operation=operation)
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[call.id] = future
        if on_line is not None:
            self._listeners[call.id] = on_line
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(encode(call))
                await self._writer.drain()
                return await future
        except TimeoutError as error:
            await self._end_run(call)
            raise RemoteFailed("The session supervisor does not answer.") from error
        except OSError as error:
            raise _gone() from error
        except asyncio.CancelledError:
            await self._end_run(call)
            raise
        finally:
            self._waiting.pop(call.id, None)
            self._listeners.pop(call.id, None)

    async def _end_run(self, call: Call) -> None:
        """End the run that a call has begun, whose user id and files are used again afterwards."""
        if not isinstance(call.operation, Execute | JudgeSubmission):
            return
        try:
            await self.call(CancelCall(call_id=call.id))
        except MograderError as error:
            _log.warning("a run that is no longer wanted may go on: %s", error)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                if not self._hear(line):
                    break
        except OSError as error:  # also that a node's network is gone
            _log.debug("the connection to the supervisor broke: %r", error)
        except ValueError:
            _log.exception("the supervisor sent a line that is too long; the connection is closed")
        finally:
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(_gone())
            _isolated(self._on_lost)

    def _hear(self, line: bytes) -> bool:
        """Dispatch one message; return false, to close the connection, if it cannot be parsed."""
        try:
            answer = ANSWER.validate_json(line)
        except ValidationError as error:
            _log.error(
                "the connection is closed: the supervisor sent no valid message: %.500s", error
            )
            return False
        match answer:
            case Ended():
                _isolated(self._on_ended, answer)
            case Arrived() | Measured() | Checked() | NodeStatus():
                _isolated(self._on_news, answer)
            case Output():
                if listener := self._listeners.get(answer.id):
                    _isolated(listener, answer.line)
            case Done() | Failed():
                future = self._waiting.get(answer.id)
                if future is not None and not future.done():
                    _settle(future, answer)
        return True


def _isolated(callback: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Call a callback and log its exception, which must not close the connection."""
    try:
        callback(*args, **kwargs)
    except Exception:  # noqa: BLE001 - a bug in one callback must not affect other messages
        _log.exception("a message of the supervisor could not be processed")


class ConnectionLost(RemoteFailed):
    """The connection broke before the answer arrived; the call may have been carried out or not.

    The supervisor may still run: reconnect and ask it.
    """


class NoSupervisor(RemoteFailed):
    """No process accepts connections at the supervisor's socket."""


def _gone() -> ConnectionLost:
    return ConnectionLost(
        "The connection to the session supervisor was lost.",
        hint="Try again. If this persists, the logs of the hub and the supervisor tell why.",
    )


def _settle(future: asyncio.Future[Done], answer: Done | Failed) -> None:
    if isinstance(answer, Done):
        future.set_result(answer)
        return
    family = getattr(errors, answer.family, None)
    if not (isinstance(family, type) and issubclass(family, MograderError)):
        family = SandboxUnavailable
    future.set_exception(family(answer.message, hint=answer.hint))


async def connect(socket: Path, epoch: int = 0) -> Connection:
    """Connect to a running supervisor; ``epoch`` is the hub's.

    Raises: :class:`NoSupervisor` when there is none, :class:`RemoteFailed` when it does not answer
    or the connection fails for another reason (no descriptor left, a full backlog).
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_LIMIT)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        if absent or error.errno is None:  # None: the path is too long for a socket
            raise NoSupervisor(
                f"No session supervisor answers at {socket}.",
                hint="Start it (mograder hub supervisor), or leave [hub] supervisor_socket empty.",
            ) from error
        raise RemoteFailed(
            f"The session supervisor at {socket} cannot be reached: {error.strerror}.",
            hint="It may be running: look at its log and at the permissions of its socket.",
        ) from error
    connection = Connection(reader, writer)
    try:
        await connection.greet(epoch)
    except BaseException:
        await connection.close()
        raise
    return connection


async def connect_to(config: SupervisorConfig, epoch: int = 0) -> Connection:
    """Connect to the supervisor of this course; retry if the connection breaks at once.

    Raises: as :func:`connect`; :class:`Conflict` when it serves another course, whose sessions
    this hub would otherwise end as orphans.
    """
    connection = await _attempted(_ATTEMPTS, lambda: connect(config.socket, epoch))
    if connection.hello.course == config.course:
        return connection
    await connection.close()
    raise Conflict(
        f"The session supervisor at {config.socket} serves another course.",
        hint="Give each course its own [hub] runtime_dir, or supervisor_socket.",
    )


async def _attempted(attempts: int, do: Callable[[], Awaitable[_T]]) -> _T:
    """Do it again while the connection breaks. Raises: what the last attempt does."""
    for _ in range(attempts - 1):
        with contextlib.suppress(ConnectionLost):
            return await do()
    return await do()


Child = subprocess.Popen[str] | None
"""The process of a supervisor that this process started, or None if another one started it."""


async def connect_or_spawn(
    config: SupervisorConfig, child: Child = None, epoch: int = 0
) -> tuple[Connection, Child]:
    """Connect to the running supervisor, or start one and connect to it.

    The supervisor of a hub that was killed goes on, with all sessions, for the next hub. ``child``
    is the supervisor that this hub started earlier, or None: it is kept while it accepts
    connections, and a new one is started only after it has ended.

    Returns: the connection, and the supervisor's process if this hub started it.
    Raises: :class:`SandboxUnavailable` with the supervisor's message when it cannot start.
    """
    try:
        connection = await connect_to(config, epoch)
    except NoSupervisor:
        await reap(child)
        return await _connect_to_new(config, epoch)
    if connection.hello.sandbox == config.sandbox:
        return connection, child
    # The sandbox setting has changed: end the sessions that run under the old one.
    await connection.shutdown()
    await reap(child)
    await connection.close()
    return await _connect_to_new(config, epoch)


async def reap(child: Child) -> None:
    """Wait until a supervisor that this hub started has ended; kill it after 30 seconds."""
    if child is not None:
        await asyncio.to_thread(_collect, child)


def _collect(child: subprocess.Popen[str]) -> None:
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error(
            "the supervisor (process %d) did not end within %.0f s; it and its sessions are killed",
            child.pid,
            _END_SECONDS,
        )
        child.kill()
        child.wait()


async def _connect_to_new(config: SupervisorConfig, epoch: int) -> tuple[Connection, Child]:
    """Start a supervisor and connect to it; it is ended if this is cancelled or cannot connect."""
    spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, config))
    try:
        child = await asyncio.shield(spawning)
        return await connect_to(config, epoch), child
    except BaseException:
        await asyncio.wait({spawning})  # a thread cannot be stopped
        if not spawning.cancelled() and spawning.exception() is None:
            spawning.result().terminate()
            await reap(spawning.result())
        raise


def _spawn(config: SupervisorConfig) -> subprocess.Popen[str]:
    """Start a supervisor in a new process session and wait until it prints ``ready``.

    No secret is passed to it, neither in its environment nor on its command line.
    Raises: :class:`SandboxUnavailable` when it reports a failure, or is not ready in time.
    """
    demand_own_interpreter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mograder.sandbox.supervisor.server", config.model_dump_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": config.path},
        cwd="/",
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None, "it is a pipe"
    with process.stdout as words:
        first = _first_line(words.fileno(), _SPAWN_SECONDS)
    if first is None:
        process.kill()
        process.wait()
        raise SandboxUnavailable(
            f"The session supervisor was not ready after {_SPAWN_SECONDS:.0f} seconds; it was "
            "ended.",
            hint=f"Its log tells how far it came ({config.log}); then start the hub again.",
        )
    if first == "ready":
        return process
    message, _, hint = first.removeprefix("failed ").partition("\t")
    _collect(process)
    raise SandboxUnavailable(message or "The session supervisor did not start.", hint=hint)


def _first_line(descriptor: int, seconds: float) -> str | None:
    """Return the first line that is written to a pipe, or None if that takes over ``seconds``."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    said = b""
    while b"\n" not in said:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            break
        said += data
    return said.partition(b"\n")[0].decode("utf-8", "replace")


_ASK_SECONDS = 5.0
_WARM_SECONDS = 90.0
_CALL_ATTEMPTS = 5


class SupervisorClient:
    """A client of the course's supervisor, also after that process was replaced.

    The connection is made at the first call, and again at the first call after it was lost. With
    ``config.owned`` a supervisor is started if none answers; the sessions of the previous one have
    ended with it. A call in progress when the connection breaks raises :class:`ConnectionLost`,
    unless it is idempotent: then it is repeated.
    """

    def __init__(self, config: SupervisorConfig, epoch: int = 0) -> None:
        """``epoch`` is that of the hub at work, 0 for a program that is no hub."""
        self._config = config
        self._epoch = epoch
        self._connection: Connection | None = None
        self._opens: SingleFlight[str, Connection] = SingleFlight()
        self.watch(ignore, lambda: None)
        self._asks: SingleFlight[str, bool] = SingleFlight()
        self._background = BackgroundTasks()
        self.child: Child = None

    async def open(self) -> Connection:
        """Return a live connection.

        Concurrent callers share one attempt. It goes on when they are cancelled, since a
        supervisor that was just started would otherwise be left without an owner.

        Raises: as :func:`connect_to`.
        """
        if not len(self._opens) and self._connection is not None and self._connection.alive:
            return self._connection
        return await self._opens.get("", lambda _: self._connect())

    async def begin(self, epoch: int) -> None:
        """Tell the supervisor that the hub is at work now; ``epoch`` is the hub's.

        Raises: :class:`Conflict` if a hub of a higher epoch uses it, and as :meth:`open`.
        """
        self._epoch = epoch
        await (await self.open()).greet(epoch)

    async def _connect(self) -> Connection:
        if self._connection is not None:
            lost, self._connection = self._connection, None
            await lost.close()
        if self._config.owned:
            connection, self.child = await connect_or_spawn(self._config, self.child, self._epoch)
        else:
            connection = await connect_to(self._config, self._epoch)
        self._connection = connection
        connection.watch(self._on_ended, self._on_lost, self._on_news)
        await connection.call(Subscribe())
        return connection

    async def answers(self) -> bool:
        """Return whether the supervisor answers within five seconds; reconnect if necessary.

        Anyone may ask this of a hub, so all who do at the same time share one call.
        """

        async def ask(_: Progress) -> bool:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    await self._once(Hello(epoch=self._epoch))
            except (MograderError, TimeoutError):
                return False
            return True

        return await self._asks.get("", ask)

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        self._on_ended, self._on_lost, self._on_news = on_ended, on_lost, on_news
        if self._connection is not None:
            self._connection.watch(on_ended, on_lost, on_news)

    async def start(self, request: StartSession, progress: Progress = ignore) -> SessionInfo:
        """Start a session. The supervisor ends it again if its hub disconnects meanwhile.

        It tells no ``progress``: the hub has prepared the environment on this machine.
        """
        return (await self._once(request)).sessions[0]

    async def stop(self, session_id: str) -> bool:
        """End a session (:class:`StopSession`); return false if there was none."""
        return (await self._repeated(StopSession(session_id=session_id))).stopped

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the live sessions, and have the use of each told anew.

        The use may have been told before :meth:`watch` was called, and is then told only when it
        changes.
        """
        await self._repeated(Subscribe())
        return (await self._repeated(ListSessions())).sessions

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        return (await self._once(command, on_line, command.timeout + ANSWER_SECONDS)).status

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        return await (await self.open()).execute(request, on_line)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        return await (await self.open()).judge(request, on_line)

    async def hello(self) -> Done:
        """Return the supervisor's description: its release, its configuration, counts of starts."""
        return await self._repeated(Hello(epoch=self._epoch))

    async def warm(self, environment: Path) -> bool:
        return (await self._repeated(Warm(environment=environment), _WARM_SECONDS)).warm

    def warm_later(self, environment: Path) -> None:
        async def warm() -> None:
            try:
                await self.warm(environment)
            except MograderError as error:
                _log.warning("sessions of %s start cold: %s", environment.name, error)

        self._background.start(warm())

    def answered(self, session_id: str) -> None:
        async def tell() -> None:
            with contextlib.suppress(MograderError):
                await self._once(Answered(session_id=session_id))

        self._background.start(tell())

    async def shutdown(self) -> None:
        """End the supervisor and all its sandboxes; reap it if this process started it."""
        if self._connection is not None:
            await self._connection.shutdown()
        await reap(self.child)

    async def close(self) -> None:
        """Disconnect; end the supervisor and its sandboxes if it is owned by the hub."""
        self._background.cancel()
        await self._asks.close()
        # Shielded: settle() would cancel an attempt, and so leave a supervisor without an owner.
        await asyncio.shield(self._opens.settle())
        self.watch(lambda _: None, lambda: None)
        connection = self._connection
        if connection is None:
            return
        if self._config.owned and connection.hello.owned and connection.alive:
            try:
                await self.shutdown()
            except MograderError as error:
                _log.warning("the supervisor could not be ended and may still run: %s", error)
        await connection.close()
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()  # the connection to it was lost, or it did not answer
            await reap(self.child)

    async def _once(
        self,
        operation: Operation,
        on_line: Callable[[str], None] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Done:
        return await (await self.open()).call(operation, on_line, seconds)

    async def _repeated(self, operation: Operation, seconds: float = ANSWER_SECONDS) -> Done:
        """Make an idempotent call; repeat it when the connection breaks."""
        call = partial(self._once, operation, seconds=seconds)
        return await _attempted(_CALL_ATTEMPTS, call)
