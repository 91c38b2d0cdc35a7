"""A node without sandboxes: it speaks the control protocol as one with them does, over any streams.

It "runs" sessions as entries of a dictionary. Like a real one it ends them when its lease is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mograder import __version__
from mograder.core.clock import Clock, SystemClock
from mograder.sandbox.protocol import (
    CALL,
    LINE_LIMIT,
    Call,
    Done,
    Ended,
    Execute,
    Executed,
    Failed,
    GrantLease,
    Hello,
    Judged,
    JudgeSubmission,
    Measured,
    Message,
    NodeStatus,
    Output,
    PrepareEnvironment,
    SessionInfo,
    SessionUse,
    StartSession,
    StopSession,
    encode,
)
from mograder.sessions.nodes.node_link import NodeLink

MEGABYTE = 2**20
_MARGIN_SECONDS = 3.0
_EXECUTED = Executed(status=0, log_tail="", seconds=0.1)


@dataclass(eq=False)
class FakeNode:
    """The node's end of a control connection, and the state that it reports.

    ``status_seconds`` is the pause between two statuses; None sends them only by :meth:`report`.
    ``session_mb`` is what each session uses. ``hold`` makes starts and runs wait, ``failure`` is
    the answer to starts and runs, ``build_failure`` to builds. With ``stubborn`` it stops no
    session; without ``fences`` the sessions outlive the lease. Set ``silent`` to read and answer
    nothing more, as a node does that is cut off.
    """

    name: str
    version: str = __version__
    memory_mb: int = 4000
    processors: int = 2
    starts: int = 4
    session_mb: int = 60
    status_seconds: float | None = None
    clock: Clock = field(default_factory=SystemClock)
    sessions: dict[str, StartSession] = field(default_factory=dict)
    environments: set[str] = field(default_factory=set)
    zygotes: set[str] = field(default_factory=set)
    draining: bool = False
    drain_seconds: float | None = None
    failure: Failed | None = None
    build_failure: Failed | None = None
    hold: asyncio.Event | None = None
    stubborn: bool = False
    fences: bool = True
    silent: bool = False
    calls: list[Message] = field(default_factory=list)
    grants: list[GrantLease] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    """Ids that a hub has stopped, which it does not start any more."""

    def __post_init__(self) -> None:
        self._number = 0
        self._sent: dict[int, float] = {}
        self._deadline = float("-inf")
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the hub's calls until the connection ends; the sessions go on."""
        self._writer = writer
        try:
            async with asyncio.TaskGroup() as tasks:
                reporting = tasks.create_task(self._report_often())
                with contextlib.suppress(ConnectionError):
                    await self._read(reader, tasks)
                reporting.cancel()
        finally:
            self._writer = None
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, tasks: asyncio.TaskGroup) -> None:
        while line := await reader.readline():
            if not self.silent:
                self._handle(CALL.validate_json(line), tasks)

    def report(self) -> NodeStatus:
        """Send the present status, and return it."""
        self._fence()
        self._number += 1
        self._sent[self._number] = self.clock.steady()
        status = NodeStatus(
            number=self._number,
            memory=self.memory_mb * MEGABYTE,
            used=len(self.sessions) * self.session_mb * MEGABYTE,
            processors=self.processors,
            load=len(self.sessions) / 100,
            starts=self.starts,
            environments=tuple(sorted(self.environments)),
            zygotes=tuple(sorted(self.zygotes)),
            sessions=tuple(self.sessions),
            draining=self.draining,
            drain_seconds=self.drain_seconds,
        )
        self.tell(status)
        return status

    def measure(self) -> None:
        """Send the use of all sessions."""
        size = self.session_mb * MEGABYTE
        used = [SessionUse(session_id=i, memory=size, cpu=0.1, processes=2) for i in self.sessions]
        self.tell(Measured(sessions=tuple(used), overhead=100 * MEGABYTE))

    def end(self, session_id: str, *, status: int = 1, reason: str = "") -> None:
        """Let a session end and tell the hub."""
        asked = session_id in self.stopped
        self.sessions.pop(session_id)
        self.tell(
            Ended(session_id=session_id, status=status, log_tail="", reason=reason, asked=asked)
        )

    def tell(self, message: Message) -> None:
        """Send a message, if it is connected and not cut off."""
        if self._writer is not None and not self.silent:
            self._writer.write(encode(message))

    def say(self, line: bytes) -> None:
        """Send a line that may be no message."""
        if self._writer is not None:
            self._writer.write(line)

    def disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds, which calls of the hub may change."""
        async with asyncio.timeout(20):
            while not holds():
                self._arrived.clear()
                await self._arrived.wait()

    @property
    def leased(self) -> bool:
        return not self.fences or self.clock.steady() < self._deadline

    def _fence(self) -> None:
        """End the sessions if the lease is over; the hub is not told, as it may be out of reach."""
        if self.grants and not self.leased:
            self.sessions.clear()

    async def _report_often(self) -> None:
        while self.status_seconds is not None:
            self.report()
            await asyncio.sleep(self.status_seconds)

    def _handle(self, call: Call, tasks: asyncio.TaskGroup) -> None:
        self.calls.append(call.operation)
        self._arrived.set()
        tasks.create_task(self._answer(call))

    async def _answer(self, call: Call) -> None:
        self.tell(await self._do(call))
        self._arrived.set()

    async def _do(self, call: Call) -> Done | Failed:
        operation = call.operation
        match operation:
            case StartSession():
                return await self._start(call.id, operation)
            case Execute() | JudgeSubmission():
                return await self._run(call.id, operation)
            case StopSession() if self.stubborn:
                return Failed(id=call.id, family="RemoteFailed", message="It does not stop.")
            case StopSession():
                return self._stop(call.id, operation)
            case GrantLease() | PrepareEnvironment():
                return self._obey(call.id, operation)
            case Hello():
                done = Done(id=call.id, sandbox="none")
                return done.model_copy(update={"version": self.version})  # not cut
            case _:  # a list, or a call whose answer is empty
                return Done(id=call.id, sessions=tuple(map(_info, self.sessions)))

    def _stop(self, call_id: int, operation: StopSession) -> Done:
        lives = operation.session_id in self.sessions
        self.stopped.add(operation.session_id)
        if lives:
            self.end(operation.session_id, status=0)
        return Done(id=call_id, stopped=lives)

    def _obey(self, call_id: int, operation: GrantLease | PrepareEnvironment) -> Done | Failed:
        if isinstance(operation, PrepareEnvironment):
            if self.build_failure is not None:
                return self.build_failure.model_copy(update={"id": call_id})
            self.tell(Output(id=call_id, line=f"building on {self.name}"))
            self.environments.add(operation.key)
            if operation.warm:
                self.zygotes.add(operation.key)
            return Done(id=call_id, warm=operation.warm)
        self.grants.append(operation)
        sent = self._sent.pop(operation.number, None)
        if sent is not None:
            self._deadline = sent + operation.seconds - _MARGIN_SECONDS
        return Done(id=call_id)

    async def _start(self, call_id: int, request: StartSession) -> Done | Failed:
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            return self.failure.model_copy(update={"id": call_id})
        if not self.leased or self.draining or request.session_id in self.stopped:
            return Failed(id=call_id, family="RemoteFailed", message="This node starts nothing.")
        self.sessions[request.session_id] = request
        return Done(id=call_id, sessions=(_info(request.session_id),))

    async def _run(self, call_id: int, operation: Execute | JudgeSubmission) -> Done | Failed:
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            return self.failure.model_copy(update={"id": call_id})
        self.tell(Output(id=call_id, line=f"run on {self.name}"))
        if isinstance(operation, Execute):
            return Done(id=call_id, executed=_EXECUTED)
        return Done(id=call_id, judged=Judged(judge=_EXECUTED, worker=_EXECUTED))


def _info(session_id: str) -> SessionInfo:
    return SessionInfo(session_id=session_id, socket=Path("/node") / f"{session_id}.sock")


async def linked(node: FakeNode) -> tuple[NodeLink, asyncio.Task[None]]:
    """Connect a node; return the hub's end, which has said hello, and the node's task."""
    one, other = socket.socketpair()
    streams = await asyncio.open_unix_connection(sock=other, limit=LINE_LIMIT)
    serving = asyncio.create_task(node.serve(*streams))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=one)
    transport.pause_reading()
    link = NodeLink(node.name, "f" * 64, key_hash="", address="", attempt="", transport=transport)
    await link.connection.greet()
    return link, serving
