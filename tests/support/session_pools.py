"""A session pool for tests: real rows in SQLite, a launcher in memory, a plain spawner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from mograder.core.errors import Busy, MograderError
from mograder.core.sections.settings_model import LimitsSettings
from mograder.core.tasks import Progress
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.protocol import (
    Endpoint,
    Measured,
    Mode,
    SessionInfo,
    SessionUse,
    StartSession,
)
from mograder.sessions.capacity import MEGABYTE, UNKNOWN, CapacityLimits
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState
from tests.support.clock import ManualClock
from tests.support.fake_launcher import InMemoryLauncher
from tests.support.supervisors import until

ALICE = SessionKey("alice", "A1", Mode.EDIT)
BOB = SessionKey("bob", "A1", Mode.EDIT)
LECTURE = SessionKey("alice", "L01", Mode.RUN)
CAROL = SessionKey("carol", "A1", Mode.EDIT)
TWO = 2 * UNKNOWN // MEGABYTE
"""Megabytes that are enough for two sessions of which nothing is known."""
QUICK = 0.04
"""An idle time in seconds that makes the housekeeping look every 10 ms."""
TTL = 3600.0
PATIENCE = 40.0


def ignore_progress(_: str) -> None:
    """Ignore progress messages."""


@dataclass
class PlainSpawner:
    """Answers at once; ``versions`` are the releases', ``failure`` what it raises instead."""

    versions: dict[str, str] = field(default_factory=dict)
    failure: MograderError | None = None
    hold: asyncio.Event | None = None

    async def request(self, key: SessionKey, session_id: str, progress: Progress) -> StartSession:
        if self.failure is not None:
            raise self.failure
        if self.hold is not None:
            progress("Downloading")
            await self.hold.wait()
        return StartSession(
            session_id=session_id,
            mode=key.mode,
            directory=Path("/workspaces") / key.user / key.item,
            notebook=f"{key.item}.py",
            environment=Path("/environments/abc"),
            base_url=f"/{key.url.rstrip('/')}",
            uid_slot=1,
            limits=limits_of(LimitsSettings()),
        )

    async def version(self, key: SessionKey) -> str:
        return self.versions.get(key.item, "")


@dataclass
class Server:
    """A session's server: answers once ``up`` is set, with ``reply``."""

    up: asyncio.Event = field(default_factory=asyncio.Event)
    reply: Callable[[], bool] = lambda: True
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.up.set()

    async def __call__(self, endpoint: Endpoint, base_url: str) -> bool:
        del endpoint, base_url
        self.asked.set()
        await self.up.wait()
        return self.reply()


class Launcher(InMemoryLauncher):
    """The one in memory; while ``go_on`` is clear a stop takes its time, as marimo's saves do."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.dead: set[Endpoint] = set()
        """Sessions whose servers accept no connections any more."""
        self.unreachable: MograderError | None = None
        """The exception that it raises instead of listing the sessions."""
        self.unstoppable: dict[str, Exception] = {}
        """What it raises instead of stopping a session."""
        self._asked = 0
        self._was_asked = asyncio.Condition()

    async def matched(self, times: int) -> None:
        """Wait until it has said so often what runs, after a pool was opened on it."""
        async with self._was_asked:
            await self._was_asked.wait_for(lambda: self._asked > times)

    async def sessions(self) -> tuple[SessionInfo, ...]:
        if self.unreachable is not None:
            raise self.unreachable
        async with self._was_asked:
            self._asked += 1
            self._was_asked.notify_all()
        return await super().sessions()

    async def stop(self, session_id: str) -> bool:
        self.stopping.set()
        await self.go_on.wait()
        if session_id in self.unstoppable:
            raise self.unstoppable[session_id]
        return await super().stop(session_id)


class FlakyState(HubState):
    """A database that is too busy at the moments that a test chooses."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.not_removed: set[str] = set()
        self.failures = 0
        """How many updates are still to fail."""

    def session_runs(self, session_id: str, socket: str) -> None:
        if self.failures:
            self.failures -= 1
            raise Busy("The database is busy.")
        super().session_runs(session_id, socket)

    def remove_session(self, session_id: str) -> bool:
        if session_id in self.not_removed:
            raise Busy("The database is busy.")
        return super().remove_session(session_id)


@dataclass
class Pages:
    """The open pages that sessions' servers report, by base URL; ``asked`` counts requests."""

    open: dict[str, int | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, endpoint: Endpoint, base_url: str) -> int | None:
        del endpoint
        self.asked.append(base_url)
        return self.open.get(base_url, 0)


def terms(
    *,
    ttl: float = TTL,
    start_timeout: float = PATIENCE,
    memory_mb: int = 100_000,
    starts: int = 100,
    line: int = 1000,
) -> CapacityLimits:
    """Limits under which no start waits, except for the given values."""
    return CapacityLimits(ttl, start_timeout, memory_mb * MEGABYTE, starts, line)


@dataclass
class Rig:
    """A pool with everything around it; :meth:`pool` makes the next one on the same rows."""

    state: FlakyState
    launcher: Launcher = field(default_factory=Launcher)
    spawner: PlainSpawner = field(default_factory=PlainSpawner)
    server: Server = field(default_factory=Server)
    pages: Pages = field(default_factory=Pages)
    clock: ManualClock = field(default_factory=ManualClock)

    @asynccontextmanager
    async def pool(
        self, on: CapacityLimits | None = None, *, ttl: float = TTL, start_timeout: float = PATIENCE
    ) -> AsyncIterator[SessionManager]:
        """Open a pool; at the end it is put away, as at a hub's end, and sessions go on."""
        pool = SessionManager(
            launcher=self.launcher,
            spawner=cast(Spawner, self.spawner),
            rows=self.state,
            clock=self.clock,
            probe=self.server,
            census=self.pages,
            is_dead=self.launcher.dead.__contains__,
            limits=on or terms(ttl=ttl, start_timeout=start_timeout),
        )
        await pool.open()
        try:
            yield pool
        finally:
            await pool.close()

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the recorded sessions: user, item and state."""
        return [(row.username, row.item, row.state.value) for row in self.state.sessions()]

    async def begin(
        self, pool: SessionManager, key: SessionKey = ALICE
    ) -> asyncio.Task[LiveSession]:
        """Begin a start whose server answers only once ``server.up`` is set."""
        self.server.up.clear()
        self.server.asked.clear()
        task = asyncio.create_task(pool.get_or_start(key, ignore_progress))
        await soon(self.server.asked.wait())
        return task

    async def line_up(
        self, pool: SessionManager, key: SessionKey, tell: Progress = ignore_progress
    ) -> asyncio.Task[LiveSession]:
        """Begin a start that has to wait, as the only one."""
        task = asyncio.create_task(pool.get_or_start(key, tell))
        await until(lambda: waiting(pool) == 1)
        return task

    def why_ended(self, pool: SessionManager, session: LiveSession) -> EndReason:
        ending = pool.history.of_session(session.id)
        assert ending is not None
        return ending.reason


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Rig]:
    """A rig on a fresh database."""
    engine: Engine = open_engine(f"sqlite:///{directory / 'hub.db'}")
    try:
        await asyncio.to_thread(upgrade, engine)
        yield Rig(FlakyState(engine))
    finally:
        engine.dispose()


async def soon(happens: Awaitable[object]) -> None:
    """Wait for what must happen, but not for ever."""
    async with asyncio.timeout(PATIENCE):
        await happens


def gone(session: LiveSession) -> Coroutine[None, None, None]:
    """Listen from now on for a session's end, whatever ends it; wait for it later."""
    over = asyncio.Event()
    session.on_stop.append(over.set)
    return soon(over.wait())


def measure(rig: Rig, *sizes: tuple[LiveSession, int], cpu: float = 0.0) -> None:
    """Report the memory that sessions use, in megabytes."""
    uses = (
        SessionUse(session_id=live.id, memory=size * MEGABYTE, cpu=cpu, processes=3)
        for live, size in sizes
    )
    rig.launcher.tell(Measured(sessions=tuple(uses)))


def owner(request: StartSession) -> str:
    """Return a session's student, after whom the plain spawner names the workspace."""
    return request.directory.parent.name


def waiting(pool: SessionManager) -> int:
    """Return the number of starts in the queue."""
    return pool.states()["waiting"]
