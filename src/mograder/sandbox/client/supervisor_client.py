"""The supervisor's client for a hub or a command; it reconnects after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.tasks.background_tasks import BackgroundTasks
from mograder.core.tasks.single_flight import Progress
from mograder.sandbox.client.connection import (
    ANSWER_SECONDS,
    Child,
    Connection,
    ConnectionLost,
    connect_or_spawn,
    connect_to,
    reap,
)
from mograder.sandbox.protocol import (
    Answered,
    Done,
    Ended,
    Execute,
    Executed,
    Hello,
    Judged,
    JudgeSubmission,
    ListSessions,
    News,
    Operation,
    RunCommand,
    SessionInfo,
    StartSession,
    StopSession,
    Subscribe,
    Warm,
)
from mograder.sandbox.supervisor.config import SupervisorConfig

_log = logging.getLogger(__name__)

_WARM_SECONDS = 90.0
_RUN_SECONDS = 30.0
"""Added to a notebook's time limit: the time for its sandbox to start and to end."""
_ATTEMPTS = 5


class SupervisorClient:
    """A client of the course's supervisor, also after that process was replaced.

    The connection is made at the first call, and again at the first call after it was lost. With
    ``config.owned`` a supervisor is started if none answers; the sessions of the previous one have
    ended with it. A call in progress when the connection breaks raises
    :class:`~mograder.sandbox.client.connection.ConnectionLost`, unless it is idempotent: then it
    is repeated.
    """

    def __init__(self, config: SupervisorConfig, epoch: int = 0) -> None:
        """``epoch`` is that of the hub at work, 0 for a program that is no hub."""
        self._config = config
        self._epoch = epoch
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._on_ended: Callable[[Ended], None] = lambda _: None
        self._on_lost: Callable[[], None] = lambda: None
        self._on_news: Callable[[News], None] = lambda _: None
        self._background = BackgroundTasks()
        self.child: Child = None

    async def open(self) -> Connection:
        """Return a live connection.

        Concurrent callers share one attempt. It goes on when they are cancelled, since a
        supervisor that was just started would otherwise be left without an owner.

        Raises: as :func:`~mograder.sandbox.client.connection.connect_to`.
        """
        if self._opening is None:
            if self._connection is not None and self._connection.alive:
                return self._connection
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

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

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("no supervisor was reached: %s", error)  # waiting callers raise the error

    async def answers(self) -> bool:
        """Return whether the supervisor can be reached; reconnect if necessary."""
        try:
            await self.open()
        except MograderError:
            return False
        return True

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = lambda _: None,
    ) -> None:
        """Set the callbacks for sessions' ends, for a lost connection, and for news."""
        self._on_ended, self._on_lost, self._on_news = on_ended, on_lost, on_news
        if self._connection is not None:
            self._connection.watch(on_ended, on_lost, on_news)

    async def start(self, request: StartSession) -> SessionInfo:
        """Start a session. The supervisor ends it again if its hub disconnects meanwhile."""
        return (await self._once(request)).sessions[0]

    async def stop(self, session_id: str, *, asked: bool = True) -> bool:
        """End a session (:class:`StopSession`); return false if there was none."""
        return (await self._repeated(StopSession(session_id=session_id, asked=asked))).stopped

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the live sessions."""
        return (await self._repeated(ListSessions())).sessions

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        """Run a build command, call ``on_line`` with each line of output; return its status."""
        return (await self._once(command, on_line, command.timeout + ANSWER_SECONDS)).status

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook, call ``on_line`` with each line of its report; return how it ended.

        Raises: the error that the supervisor reports; :class:`SandboxUnavailable` when it is of an
        older release without this operation.
        """
        done = await self._once(request, on_line, request.seconds + _RUN_SECONDS)
        if done.executed is None:
            raise RemoteFailed("The session supervisor does not say how a notebook ended.")
        return done.executed

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        """Judge a submission, call ``on_line`` with the lines of both reports; return their ends.

        Raises: as :meth:`execute`.
        """
        done = await self._once(request, on_line, request.seconds + _RUN_SECONDS)
        if done.judged is None:
            raise RemoteFailed("The session supervisor does not say how a submission was judged.")
        return done.judged

    async def hello(self) -> Done:
        """Return the supervisor's description: its release, its configuration, counts of starts."""
        return await self._repeated(Hello(epoch=self._epoch))

    async def warm(self, environment: Path) -> bool:
        """Prepare warm starts of an environment's sessions; return whether they will be warm."""
        return (await self._repeated(Warm(environment=environment), _WARM_SECONDS)).warm

    def warm_later(self, environment: Path) -> None:
        """Call :meth:`warm` in a background task; a failure is logged."""
        self._background.start(self._warm(environment))

    def answered(self, session_id: str) -> None:
        """Notify the supervisor, in a background task, that a session's server has answered."""
        self._background.start(self._tell_answered(session_id))

    async def _tell_answered(self, session_id: str) -> None:
        try:
            await self._once(Answered(session_id=session_id))
        except MograderError as error:
            _log.debug("notifying the supervisor that a session answered failed: %s", error)

    async def _warm(self, environment: Path) -> None:
        try:
            await self.warm(environment)
        except MograderError as error:
            _log.warning("sessions of %s start cold: %s", environment.name, error)

    async def shutdown(self) -> None:
        """End the supervisor and all its sandboxes; reap it if this process started it."""
        if self._connection is not None:
            await self._connection.shutdown()
        await reap(self.child)

    async def close(self) -> None:
        """Disconnect; end the supervisor and its sandboxes if it is owned by the hub."""
        self._background.cancel()
        if self._opening is not None:
            await asyncio.wait({self._opening})
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
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(ConnectionLost):
                return await self._once(operation, seconds=seconds)
        return await self._once(operation, seconds=seconds)
