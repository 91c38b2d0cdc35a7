"""The hub's end of the conversation with a supervisor, and how a hub gets one of its own."""

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
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from pydantic import ValidationError

from mograder.core import errors
from mograder.core.errors import Conflict, MograderError, RemoteFailed, SandboxUnavailable
from mograder.sandbox.host import SupervisorConfig
from mograder.sandbox.interpreters import demand_own_interpreter
from mograder.sandbox.protocol import (
    LINE_LIMIT,
    PROTOCOL,
    Answered,
    Arrived,
    Call,
    Done,
    Ended,
    Execute,
    Executed,
    Failed,
    HangUp,
    Hello,
    InUse,
    ListSessions,
    Measured,
    News,
    Operation,
    Output,
    RunCommand,
    SessionInfo,
    Shutdown,
    StartSession,
    StopSession,
    Subscribe,
    UnknownAnswer,
    Warm,
    decode_answer,
    encode,
)

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 30.0
_START_SECONDS = 30.0
_WARM_SECONDS = 90.0
_SPAWN_SECONDS = 120.0
"""How long a supervisor may prepare the host (directories, mounts, strays) before it is ready."""

_WORD_BYTES = 4096
_ATTEMPTS = 3

_P = ParamSpec("_P")


class SupervisorClient:
    """One connection; many calls at a time. Use :func:`connect`, then :meth:`close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._listeners: dict[int, Callable[[str], None]] = {}
        self._on_ended: Callable[[Ended], None] = lambda _: None
        self._on_lost: Callable[[], None] = lambda: None
        self._on_news: Callable[[News], None] = lambda _: None
        self._listening = asyncio.create_task(self._listen())
        self.hello = Done(id=0)
        self.child: subprocess.Popen[str] | None = None
        """The supervisor's process when this hub started it, to be reaped at its end."""

    async def start(self, request: StartSession) -> SessionInfo:
        """Start a session. Raises: what the supervisor raised, or :class:`RemoteFailed`."""
        return (await self._call(request)).sessions[0]

    async def stop(self, session_id: str) -> bool:
        """End a session; false if there was none."""
        return (await self._call(StopSession(session_id=session_id))).stopped

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the live sessions."""
        return (await self._call(ListSessions())).sessions

    async def run(self, command: RunCommand, on_line: Callable[[str], None]) -> int:
        """Run a build command, reporting each line that it prints; returns its exit status."""
        return (await self._call(command, on_line, command.timeout + _ANSWER_SECONDS)).status

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook, passing on each line of its report; returns how it ended.

        Raises: what the supervisor raised; :class:`SandboxUnavailable` from one of an older
        release, which cannot.
        """
        if "execute" not in self.hello.operations:
            raise SandboxUnavailable(
                f"The running session supervisor (mograder {self.hello.version}) cannot validate.",
                hint="Restart it when no student is at work, since that ends the sessions.",
            )
        done = await self._call(request, on_line, request.seconds + _START_SECONDS)
        if done.executed is None:
            raise RemoteFailed("The session supervisor does not say how a notebook ended.")
        return done.executed

    async def warm(self, environment: Path) -> bool:
        """Have sessions of an environment start warm; returns whether they will.

        A supervisor of an older release, which knows nothing of it, is not asked.
        """
        if "warm" not in self.hello.operations:
            return False
        return (await self._call(Warm(environment=environment), None, _WARM_SECONDS)).warm

    async def hang_up(self, session_id: str) -> bool:
        """Cut every connection to a session's server; false if that could not be done."""
        if "hang up" not in self.hello.operations:
            return False
        return (await self._call(HangUp(session_id=session_id))).stopped

    async def answered(self, session_id: str) -> None:
        """Say that a session's server has answered."""
        if "answered" in self.hello.operations:
            await self._call(Answered(session_id=session_id))

    async def in_use(self) -> frozenset[str]:
        """Return the names of the environments that sessions and prepared processes use.

        Raises: :class:`Conflict` from a supervisor of an older release, which cannot tell.
        """
        if "in use" not in self.hello.operations:
            raise Conflict(
                f"The running session supervisor (mograder {self.hello.version}) cannot tell which "
                "environments it uses.",
                hint="Restart it when no student is at work, since that ends the sessions.",
            )
        return frozenset(path.name for path in (await self._call(InUse())).environments)

    async def starts(self) -> dict[str, int]:
        """Return how many sessions started warm and cold, and the reasons for cold ones."""
        return (await self._call(Hello())).starts

    async def shutdown(self) -> None:
        """End the supervisor and all that it runs; it may be going already."""
        with contextlib.suppress(ConnectionLost):
            await self._call(Shutdown())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await asyncio.wait({self._listening})
        await self.reap()

    async def reap(self) -> None:
        """Collect a supervisor that this hub started and that has ended, or will not."""
        await reap(self.child)

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = lambda _: None,
    ) -> None:
        """Be told of every session's end from now on, of the connection's own, and of news.

        News come from :meth:`subscribe` on.
        """
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._on_news = on_news

    async def subscribe(self) -> bool:
        """Ask for news; false from a supervisor of an older release, which has none to tell."""
        if "subscribe" not in self.hello.operations:
            return False
        await self._call(Subscribe())
        return True

    @property
    def alive(self) -> bool:
        """Whether the supervisor is still on the line."""
        return not self._listening.done()

    async def close(self) -> None:
        """Hang up; the supervisor goes on."""
        self._on_lost = lambda: None
        self._writer.close()
        self._listening.cancel()
        await asyncio.wait({self._listening})

    async def greet(self) -> None:
        """Check that both speak the same protocol. Raises: :class:`SandboxUnavailable`."""
        self.hello = await self._call(Hello())
        if self.hello.protocol != PROTOCOL:
            raise SandboxUnavailable(
                f"The running session supervisor (mograder {self.hello.version}) is of another "
                "release than this hub.",
                hint="Restart it (its service, or the process) when no student is at work, since "
                f"that ends the sessions; until then run the hub of mograder {self.hello.version}.",
            )

    async def _call(
        self,
        operation: Operation,
        on_line: Callable[[str], None] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> Done:
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
        except ConnectionError as error:
            raise _gone() from error
        except TimeoutError as error:
            raise RemoteFailed("The session supervisor does not answer.") from error
        finally:
            self._waiting.pop(call.id, None)
            self._listeners.pop(call.id, None)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                if not self._hear(line):
                    break
        except ConnectionError as error:
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
        """Pass on one message; false for one that cannot be read, which costs the connection."""
        try:
            answer = decode_answer(line)
        except ValidationError:
            _log.exception("the supervisor sent an unreadable message; the connection is closed")
            return False
        match answer:
            case UnknownAnswer():
                _log.warning(
                    "a message of the kind %.50r cannot be read and is ignored: the supervisor may "
                    "be of another release",
                    answer.kind,
                )
            case Ended():
                _isolated(self._on_ended, answer)
            case Arrived() | Measured():
                _isolated(self._on_news, answer)
            case Output():
                if listener := self._listeners.get(answer.id):
                    _isolated(listener, answer.line)
            case Done() | Failed():
                self._settle(answer)
        return True

    def _settle(self, answer: Done | Failed) -> None:
        future = self._waiting.get(answer.id)
        if future is None or future.done():
            return
        if isinstance(answer, Done):
            future.set_result(answer)
        else:
            future.set_exception(_as_error(answer))


def _isolated(callback: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Call back; an exception is logged and ends neither the connection nor the next call."""
    try:
        callback(*args, **kwargs)
    except Exception:  # noqa: BLE001 - a bug in what one message causes must not cost the others
        _log.exception("a message of the supervisor could not be processed")


class ConnectionLost(RemoteFailed):
    """The connection broke before the answer came; whether the call was carried out is unknown.

    The supervisor may live: connect again and ask it.
    """


class NobodyListens(RemoteFailed):
    """No process accepts connections at the supervisor's socket."""


def _gone() -> ConnectionLost:
    return ConnectionLost(
        "The connection to the session supervisor was lost.",
        hint="Try again. If this persists, the logs of the hub and the supervisor tell why.",
    )


def _as_error(failed: Failed) -> MograderError:
    family = getattr(errors, failed.family, None)
    if not (isinstance(family, type) and issubclass(family, MograderError)):
        family = SandboxUnavailable
    return family(failed.message, hint=failed.hint)


async def connect(socket: Path) -> SupervisorClient:
    """Connect to a running supervisor.

    Raises: :class:`NobodyListens` when there is none, :class:`RemoteFailed` when it is silent or
    cannot be reached for a reason of this process (no descriptor is left, a full backlog).
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_LIMIT)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        if absent or error.errno is None:  # None: nothing can listen at so long a path
            raise NobodyListens(
                f"No session supervisor answers at {socket}.",
                hint="Start it (mograder hub supervisor), or leave [hub] supervisor_socket empty.",
            ) from error
        raise RemoteFailed(
            f"The session supervisor at {socket} cannot be reached: {error.strerror}.",
            hint="It may be running: look at its log and at the permissions of its socket.",
        ) from error
    client = SupervisorClient(reader, writer)
    try:
        await client.greet()
    except BaseException:
        await client.close()
        raise
    return client


async def connect_to(config: SupervisorConfig) -> SupervisorClient:
    """Connect to the supervisor of this course.

    Raises: as :func:`connect`; :class:`Conflict` when it serves another course, whose sessions
    this hub would take for stray and end.
    """
    client = await connect(config.socket)
    if client.hello.course == config.course:
        return client
    await client.close()
    raise Conflict(
        f"The session supervisor at {config.socket} serves another course.",
        hint="Give each course its own [hub] runtime_dir, or supervisor_socket.",
    )


async def connect_or_spawn(
    config: SupervisorConfig, child: subprocess.Popen[str] | None = None
) -> SupervisorClient:
    """Return the supervisor that is there from before, or a new one.

    A hub that was killed leaves its supervisor, with every session, for the next one. ``child`` is
    the supervisor that this hub started earlier, if it did: as long as it accepts connections it
    is kept, and a new one is started only after it has ended.
    Raises: :class:`SandboxUnavailable` with the supervisor's own words when it cannot start.
    """
    try:
        client = await _connect_again(config)
    except NobodyListens:
        await reap(child)
        return await _connect_to_new(config)
    client.child = child
    if client.hello.sandbox == config.sandbox:
        return client
    # The administrator switched the sandbox on or off since: nothing runs on under the old rule.
    await client.shutdown()
    await client.close()
    return await _connect_to_new(config)


async def reap(child: subprocess.Popen[str] | None) -> None:
    """Wait for a supervisor that this hub started and that ends; kill it if it does not end."""
    if child is not None:
        await asyncio.to_thread(_collect, child)


def _collect(child: subprocess.Popen[str]) -> None:
    try:
        child.wait(_START_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error("the supervisor does not end; it is killed, and what it runs with it")
        child.kill()
        child.wait()


async def _connect_to_new(config: SupervisorConfig) -> SupervisorClient:
    child = await asyncio.to_thread(_spawn, config)
    client = await _connect_again(config)
    client.child = child
    return client


async def _connect_again(config: SupervisorConfig) -> SupervisorClient:
    """As :func:`connect_to`; a connection that breaks in the greeting is made once more."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(ConnectionLost):
            return await connect_to(config)
    return await connect_to(config)


def _spawn(config: SupervisorConfig) -> subprocess.Popen[str]:
    """Start a supervisor in a session of its own and wait for its word.

    It gets no secret: neither in its environment nor on its command line.
    Raises: :class:`SandboxUnavailable` when it says that it cannot start, or nothing in time.
    """
    demand_own_interpreter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mograder.sandbox.supervisor", config.model_dump_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": config.path},
        cwd="/",
        start_new_session=True,
        text=True,
    )
    if process.stdout is None:  # for the type checker: it is a pipe
        raise AssertionError
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
    """Return what is written to a pipe up to the end of the line, or None if that takes longer."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    said = b""
    while b"\n" not in said:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        data = os.read(descriptor, _WORD_BYTES)
        if not data:
            break
        said += data
    return said.partition(b"\n")[0].decode("utf-8", "replace")
