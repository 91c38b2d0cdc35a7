"""A hub's lasting link to its supervisor: the connection is made again when it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from mograder.core.errors import MograderError
from mograder.core.shared import Progress
from mograder.sandbox.client import (
    ConnectionLost,
    SupervisorClient,
    connect_or_spawn,
    connect_to,
)
from mograder.sandbox.host import SupervisorConfig
from mograder.sandbox.protocol import (
    Ended,
    Execute,
    Executed,
    News,
    RunCommand,
    SessionInfo,
    StartSession,
)

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_T = TypeVar("_T")


class SupervisorLink:
    """Speaks to the supervisor of a course, whichever process that is at the moment.

    A supervisor of the hub's own that crashed (its sessions died with it) is started again at
    the next call; one that a service manager keeps, or that lives although the connection to it
    broke, is connected to again. A call that was under way then raises
    :class:`~mograder.sandbox.client.ConnectionLost`; one that may be repeated is repeated.
    """

    def __init__(self, config: SupervisorConfig) -> None:
        self._config = config
        self._client: SupervisorClient | None = None
        self._child: subprocess.Popen[str] | None = None
        self._opening: asyncio.Task[SupervisorClient] | None = None
        self._on_ended: Callable[[Ended], None] = lambda _: None
        self._on_lost: Callable[[], None] = lambda: None
        self._on_news: Callable[[News], None] = lambda _: None
        self._background: set[asyncio.Task[None]] = set()

    async def open(self) -> SupervisorClient:
        """Return a live connection. Raises: as :func:`~mograder.sandbox.client.connect`.

        Whoever asks meanwhile waits for the same one. It is made to its end although nobody may
        wait for it any more: a supervisor that has just been started is nobody's until then.
        """
        if self._opening is None:
            if self._client is not None and self._client.alive:
                return self._client
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _connect(self) -> SupervisorClient:
        await self._put_away()
        if self._config.owned:
            client = await connect_or_spawn(self._config, self._child)
        else:
            client = await connect_to(self._config)
        self._client, self._child = client, client.child
        client.watch(self._on_ended, self._on_lost, self._on_news)
        await client.subscribe()
        return client

    def _opened(self, task: asyncio.Task[SupervisorClient]) -> None:
        self._opening = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("no supervisor was reached: %s", error)  # whoever waits is told

    async def answers(self) -> bool:
        """Whether the supervisor is there, or is there again."""
        try:
            await self.open()
        except MograderError:
            return False
        return True

    async def _put_away(self) -> None:
        """Let go of a connection that was lost; the supervisor may live."""
        if self._client is not None:
            lost, self._client = self._client, None
            await lost.close()

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = lambda _: None,
    ) -> None:
        """Be told of sessions' ends and news, and when the supervisor itself has gone."""
        self._on_ended, self._on_lost, self._on_news = on_ended, on_lost, on_news
        if self._client is not None:
            self._client.watch(on_ended, on_lost, on_news)

    async def _again(self, call: Callable[[SupervisorClient], Awaitable[_T]]) -> _T:
        """Make a call that does no harm when made twice: again, where the connection breaks."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(ConnectionLost):
                return await call(await self.open())
        return await call(await self.open())

    async def start(self, request: StartSession) -> SessionInfo:
        """Start a session. A supervisor whose hub goes away meanwhile ends it again."""
        return await (await self.open()).start(request)

    async def stop(self, session_id: str) -> bool:
        """End a session; false if there was none."""
        return await self._again(lambda client: client.stop(session_id))

    async def hang_up(self, session_id: str) -> bool:
        """Cut every connection to a session's server; false if that could not be done."""
        return await self._again(lambda client: client.hang_up(session_id))

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the live sessions."""
        return await self._again(lambda client: client.sessions())

    async def in_use(self) -> frozenset[str]:
        """Return the names of the environments that are in use."""
        return await (await self.open()).in_use()

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        """Run a build command; returns its exit status."""
        return await (await self.open()).run(command, on_line)

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook, passing on each line of its report; returns how it ended."""
        return await (await self.open()).execute(request, on_line)

    def warm(self, environment: Path) -> None:
        """Have sessions of an environment start warm, some time soon and if that works here."""
        self._in_background(self._warm(environment))

    def answered(self, session_id: str) -> None:
        """Say soon that a session's server has answered; an error is only logged."""
        self._in_background(self._tell_answered(session_id))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tell_answered(self, session_id: str) -> None:
        try:
            await (await self.open()).answered(session_id)
        except MograderError as error:
            _log.debug("the supervisor was not told that a session has answered: %s", error)

    async def _warm(self, environment: Path) -> None:
        try:
            await self._again(lambda client: client.warm(environment))
        except MograderError as error:
            _log.warning("sessions of %s start cold: %s", environment.name, error)

    async def close(self) -> None:
        """Hang up, and end a supervisor of the hub's own with all that it runs."""
        for task in tuple(self._background):
            task.cancel()
        if self._opening is not None:
            await asyncio.wait({self._opening})
        self._on_lost = lambda: None
        client = self._client
        if client is None:
            return
        client.watch(lambda _: None, lambda: None)
        if client.hello.owned and client.alive:
            try:
                await client.shutdown()
            except MograderError as error:
                _log.warning("%s", error)
        await client.close()
