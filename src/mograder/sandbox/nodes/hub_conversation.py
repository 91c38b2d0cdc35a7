"""A node's conversation with one hub: its calls go to the supervisor, the answers back.

Each hub has a connection to the supervisor of its own. So the numbers of the calls are those of the
hub, and when the hub's connection ends the supervisor ends the starts and runs that it asked for,
as it does for a hub on its own machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Protocol

from pydantic import ValidationError

from mograder.core.errors import Forbidden, MograderError
from mograder.sandbox.node_messages import (
    GrantLease,
    HoldLease,
    NodeStatus,
    PrepareEnvironment,
)
from mograder.sandbox.nodes.node_paths import Located
from mograder.sandbox.nodes.transports import abort
from mograder.sandbox.protocol import (
    CALL,
    Call,
    CancelCall,
    Done,
    Execute,
    Failed,
    JudgeSubmission,
    Output,
    RunCommand,
    Shutdown,
    StartSession,
    StopSession,
    Warm,
    encode,
)
from mograder.sandbox.supervisor.lease import boot_time

_log = logging.getLogger(__name__)

_ENDS = (b'{"kind":"done"', b'{"kind":"failed"')
_UNREAD_BYTES = 4 << 20
"""Unsent bytes above which a hub that reads slowly is disconnected rather than told of a status."""

_KEPT_SECONDS = 30.0

OwnCall = GrantLease | PrepareEnvironment
"""The calls that the agent answers itself."""


class Agent(Protocol):
    """The rest of the node, for a conversation."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection to the supervisor."""
        ...

    async def locate(self, operation: Located) -> Located:
        """Return an operation with this machine's paths.

        Raises: the error for the hub if it is not allowed here or now.
        """
        ...

    async def answer(self, call_id: int, operation: OwnCall, writer: asyncio.StreamWriter) -> Done:
        """Return the answer to a call that is for the agent."""
        ...


class HubConversation:
    """One conversation. Mutable state: the starts and runs that were not answered yet."""

    def __init__(
        self, agent: Agent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._agent = agent
        self._reader = reader
        self._writer = writer
        self._starts: dict[int, str] = {}
        self._runs: set[int] = set()
        self._cancelled: dict[int, int] = {}
        """Calls that cancel a run, by number: the number of the run, which gets no answer."""
        self._started: dict[str, float] = {}
        self._locating: dict[int, asyncio.Task[None]] = {}

    @property
    def starting(self) -> int:
        """How many sessions are being started for this hub."""
        return len(self._starts)

    @property
    def runs(self) -> int:
        """How many notebooks are run or judged for this hub."""
        return len(self._runs)

    def started_since(self, moment: float) -> set[str]:
        """Return the ids of sessions that are being started, or were since this boot time."""
        return {*self._starts.values(), *(k for k, at in self._started.items() if at >= moment)}

    def tell(self, status: NodeStatus) -> None:
        """Send a status; a hub that does not read is disconnected."""
        if self._writer.transport.get_write_buffer_size() > _UNREAD_BYTES:
            _log.warning("a hub does not read; its connection is closed")
            self._writer.transport.abort()
        else:
            self._writer.write(encode(status))

    def abort(self) -> None:
        """Close the connection at once."""
        abort(self._writer.transport)

    async def run(self) -> None:
        """Carry calls and answers until the hub or the supervisor is gone."""
        from_supervisor, to_supervisor = await self._agent.connect()
        try:
            async with asyncio.TaskGroup() as tasks:
                answers = tasks.create_task(self._pass_answers(from_supervisor))
                answers.add_done_callback(lambda _: self._writer.close())
                while line := await self._reader.readline():
                    await self._hear(line, to_supervisor, tasks)
                raise _HubGoneError
        except* _HubGoneError:
            _log.debug("a hub has disconnected")
        except* (ConnectionError, ValueError) as errors:
            _log.warning("the connection to a hub is closed: %s", errors.exceptions[0])
        except* Exception:  # noqa: BLE001 - a fault in one conversation must not end the node
            _log.exception("a conversation with a hub failed; the connection is closed")
        finally:
            to_supervisor.close()

    async def _pass_answers(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if (self._starts or self._runs) and line.startswith(_ENDS):
                self._note_end(line)
            self._writer.write(line)
            await self._writer.drain()

    def _note_end(self, line: bytes) -> None:
        call_id: int = json.loads(line)["id"]
        session_id = self._starts.pop(call_id, "")
        self._runs.discard(self._cancelled.pop(call_id, call_id))
        now = boot_time()
        if session_id and line.startswith(_ENDS[0]):
            self._started[session_id] = now
        for old in [k for k, at in self._started.items() if at < now - _KEPT_SECONDS]:
            del self._started[old]

    async def _hear(
        self, line: bytes, supervisor: asyncio.StreamWriter, tasks: asyncio.TaskGroup
    ) -> None:
        try:
            call: Call = CALL.validate_json(line)
        except ValidationError:
            await _send(supervisor, line)  # its answer says that it cannot be read
            return
        match call.operation:
            case GrantLease() | PrepareEnvironment():
                tasks.create_task(self._answer(call, call.operation))
            case StartSession() | Execute() | JudgeSubmission() | Warm():
                task = tasks.create_task(self._pass_on(call, call.operation, supervisor))
                self._locating[call.id] = task
                task.add_done_callback(lambda _: self._locating.pop(call.id, None))
            case CancelCall():
                self._cancelled[call.id] = call.operation.call_id
                locating = self._locating.get(call.operation.call_id)
                tasks.create_task(self._pass_after(locating, line, supervisor))
            case StopSession():
                calls = (
                    each for each, of in self._starts.items() if of == call.operation.session_id
                )
                locating = self._locating.get(next(calls, 0))
                tasks.create_task(self._pass_after(locating, line, supervisor))
            case RunCommand() | HoldLease() | Shutdown():
                refused = Forbidden(f"A hub cannot {call.operation.op} on a node.")
                await self._fail(call.id, refused)
            case _:
                await _send(supervisor, line)

    async def _pass_on(
        self, call: Call, operation: Located, supervisor: asyncio.StreamWriter
    ) -> None:
        if isinstance(operation, StartSession):
            self._starts[call.id] = operation.session_id
        elif isinstance(operation, Execute | JudgeSubmission):
            self._runs.add(call.id)
        try:
            located = await self._agent.locate(operation)
        except (MograderError, OSError) as error:
            self._starts.pop(call.id, None)
            self._runs.discard(call.id)
            await self._fail(call.id, error)
            return
        await _send(supervisor, encode(call.model_copy(update={"operation": located})))

    async def _pass_after(
        self, before: asyncio.Task[None] | None, line: bytes, supervisor: asyncio.StreamWriter
    ) -> None:
        """Pass a call on after the one that it is about."""
        if before is not None:
            await asyncio.wait({before})
        await _send(supervisor, line)

    async def _answer(self, call: Call, operation: OwnCall) -> None:
        try:
            done = await self._agent.answer(call.id, operation, self._writer)
        except (MograderError, OSError) as error:
            await self._fail(call.id, error)
            return
        await _send(self._writer, encode(done))

    async def _fail(self, call_id: int, error: MograderError | OSError) -> None:
        if isinstance(error, MograderError):
            family, message, hint = type(error).__name__, error.message, error.hint
        else:
            family, message, hint = "SandboxUnavailable", f"The node failed: {error}.", ""
        await _send(
            self._writer, encode(Failed(id=call_id, family=family, message=message, hint=hint))
        )


class _HubGoneError(Exception):
    """Raised to cancel the tasks of a hub whose connection has ended."""


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(line)
        await writer.drain()


def tell_progress(writer: asyncio.StreamWriter, call_id: int, text: str) -> None:
    """Send a line of a build's progress."""
    writer.write(encode(Output(id=call_id, line=text[:4000])))
