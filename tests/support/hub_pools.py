"""Several session managers on one database and one set of sandboxes, as hubs of one course.

The sandboxes are in memory. They note every pair of sessions of one key that live at the same
time, and every session that lives while its files are replaced.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Engine, update

from mograder.core.clock import SystemClock
from mograder.core.errors import Busy, RemoteFailed, SandboxUnavailable
from mograder.sandbox.protocol import Ended, News, SessionInfo, StartSession
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.launcher import ignore
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey
from mograder.sessions.shared_rows import SharedRows
from mograder.store.database.database import open_engine, writing
from mograder.store.database.database_time import database_now
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import hubs as hub_table
from mograder.store.hub.hubs import Hubs
from mograder.store.hub.session_locks import SessionLocks
from tests.support.session_pools import Pages, PlainSpawner, Server, owner, terms

_ALIVE_SECONDS = 3600.0


@dataclass
class Sandboxes:
    """The sandboxes of all hubs: ``live`` sessions by id, and what went wrong (``faults``).

    Requests take a random time, up to ``slow`` seconds; a request that was sent arrives, also when
    its hub has died meanwhile. Ids that were stopped are not started any more.
    """

    chance: random.Random
    slow: float = 0.004
    live: dict[str, StartSession] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    changing: dict[str, str] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    starts: int = 0

    def view(self) -> View:
        """Connect one more hub."""
        view = View(self)
        self.views.append(view)
        return view

    async def pause(self) -> None:
        """Let others run, for a random time."""
        await asyncio.sleep(self.chance.random() * self.slow)

    def sent(self, work: Any) -> asyncio.Task[Any]:
        """Carry out a request that has been sent, whatever becomes of its hub."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def start(self, request: StartSession) -> SessionInfo:
        await self.pause()
        if request.session_id in self.stopped:
            raise SandboxUnavailable("This session was stopped before it was started.")
        place = request.base_url
        for other in self.live.values():
            if other.base_url == place:
                self.faults.append(f"two sessions of {place}")
        if place in self.changing:
            self.faults.append(f"a session of {place} while {self.changing[place]} changes it")
        self.live[request.session_id] = request
        self.starts += 1
        await self.pause()
        return SessionInfo(session_id=request.session_id, socket=Path("/on") / request.session_id)

    async def stop(self, session_id: str) -> bool:
        await self.pause()
        self.stopped.add(session_id)
        return self.end(session_id, asked=True)

    def end(self, session_id: str, *, asked: bool) -> bool:
        """End a session, and tell every hub that is connected."""
        if self.live.pop(session_id, None) is None:
            return False
        gone = Ended(session_id=session_id, status=0 if asked else 1, log_tail="", asked=asked)
        loop = asyncio.get_running_loop()
        for view in self.views:
            if view.connected:
                loop.call_later(self.chance.random() * self.slow, view.on_ended, gone)
        return True


class View:
    """One hub's launcher; ``connected`` is whether it reaches the sandboxes."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self.all = sandboxes
        self.connected = True
        self.on_ended: Callable[[Ended], None] = ignore
        self.on_lost: Callable[[], None] = lambda: None

    async def start(self, request: StartSession) -> SessionInfo:
        self._demand()
        info: SessionInfo = await asyncio.shield(self.all.sent(self.all.start(request)))
        self._demand()
        return info

    async def stop(self, session_id: str) -> bool:
        self._demand()
        done: bool = await asyncio.shield(self.all.sent(self.all.stop(session_id)))
        self._demand()
        return done

    def answered(self, session_id: str) -> None:
        """Ignore it."""

    def doubt(self, machine: str) -> None:
        """Ignore it."""

    async def sessions(self) -> tuple[SessionInfo, ...]:
        self._demand()
        await self.all.pause()
        self._demand()
        infos = (SessionInfo(session_id=each, socket=Path("/on") / each) for each in self.all.live)
        return tuple(infos)

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        del on_news
        self.on_ended, self.on_lost = on_ended, on_lost

    def cut(self) -> None:
        """Break the connection; nothing that happens meanwhile is told later."""
        self.connected = False
        self.on_lost()

    def _demand(self) -> None:
        if not self.connected:
            raise RemoteFailed("The sandboxes cannot be reached.")


@dataclass
class Hub:
    """One hub of several, with the parts of it that a test takes apart."""

    hub_id: str
    pool: SessionManager
    shared: SharedRows
    view: View
    spawner: PlainSpawner
    server: Server
    pages: Pages
    hubs: Hubs
    state: HubState
    dead: bool = False

    def kill(self) -> None:
        """Kill it: nothing that it does from now on reaches the database or the sandboxes."""
        self.dead = True

        def fail() -> None:
            raise Busy("This hub is dead.")

        self.expire()
        for place in [each for each, by in self.view.all.changing.items() if by == self.hub_id]:
            del self.view.all.changing[place]
        vars(self.state.engine)["connect"] = fail
        self.view.connected = False
        self.view.on_ended = ignore

    def expire(self) -> None:
        """Let it look dead to the others, though it lives."""
        with writing(self.state.engine) as connection:
            past = database_now(connection) - timedelta(seconds=1)
            row = update(hub_table).where(hub_table.c.hub_id == self.hub_id)
            connection.execute(row.values(alive_until=past))


@asynccontextmanager
async def hub_on(
    url: str,
    sandboxes: Sandboxes,
    *,
    ttl: float = 3600.0,
    locks: Callable[[Engine, str], SessionLocks] = SessionLocks,
) -> AsyncIterator[Hub]:
    """Open one hub on a database and sandboxes; the database has its tables already."""
    engine, clock = open_engine(url), SystemClock()
    hub_id, hubs, view = secrets.token_hex(8), Hubs(engine), sandboxes.view()
    alive = await asyncio.to_thread(hubs.beat, hub_id, "", _ALIVE_SECONDS)
    spawner, server, pages, state = PlainSpawner(), Server(), Pages(), HubState(engine)
    shared = SharedRows(
        locks(engine, hub_id),
        view,
        clock,
        alone=len(alive) == 1,
        look_seconds=0.05,
        wait_seconds=0.005,
    )
    pool = SessionManager(
        launcher=view,
        spawner=cast(Spawner, spawner),
        rows=state,
        clock=clock,
        probe=server,
        census=pages,
        is_dead=lambda _: False,
        limits=terms(ttl=ttl),
    )
    pool.share(shared)
    await pool.open()
    hub = Hub(hub_id, pool, shared, view, spawner, server, pages, hubs, state)
    try:
        yield hub
    finally:
        sandboxes.views.remove(view)
        try:
            await pool.close()
        except Busy:
            if not hub.dead:
                raise
        if not hub.dead:
            await asyncio.to_thread(hubs.leave, hub_id)
        engine.dispose()


def people(sandboxes: Sandboxes) -> list[str]:
    """Return the owners of the live sessions."""
    return sorted(map(owner, sandboxes.live.values()))


def place_of(key: SessionKey) -> str:
    """Return how the sandboxes name a key."""
    return f"/{key.url.rstrip('/')}"
