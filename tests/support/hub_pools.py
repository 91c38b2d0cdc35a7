"""Session managers on one database and one set of sandboxes, as hubs that follow each other.

The sandboxes are in memory. They note every pair of sessions of one key that live at the same
time, and every session that lives while its files are replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest import mock

from sqlalchemy import Engine

from mograder.core.clock import SystemClock
from mograder.core.errors import Busy, Conflict, RemoteFailed
from mograder.core.tasks import Progress
from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import Ended, News, SessionInfo, StartSession
from mograder.sessions import manager
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey
from mograder.store.database.database import open_engine
from mograder.store.hub.hub_state import HubState
from tests.support.session_pools import Pages, PlainSpawner, Server, owner, terms


@dataclass
class Sandboxes:
    """The sandboxes of all hubs: ``live`` sessions by id, and what went wrong (``faults``).

    Requests take a random time, up to ``slow`` seconds; a request that was sent arrives, also when
    its hub has died meanwhile. As a supervisor they refuse a hub that another one has followed,
    and end a session whose hub has lost its connection during the start.
    """

    chance: random.Random
    slow: float = 0.004
    live: dict[str, StartSession] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    changing: dict[str, Hub] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    starts: int = 0

    def view(self) -> View:
        """Connect the next hub."""
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

    async def start(self, view: View, request: StartSession) -> SessionInfo:
        await self.pause()
        if view is not self.views[-1]:
            raise Conflict("Another hub is at work on this course.")
        view.demand()
        place = request.base_url
        for other in self.live.values():
            if other.base_url == place:
                self.faults.append(f"two sessions of {place}")
        if place in self.changing:
            self.faults.append(f"a session of {place} while a hub changes it")
        self.live[request.session_id] = request
        self.starts += 1
        await self.pause()
        if not view.connected:
            self.end(request.session_id, asked=False)
        return SessionInfo(session_id=request.session_id, socket=Path("/on") / request.session_id)

    async def stop(self, session_id: str) -> bool:
        await self.pause()
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

    async def start(self, request: StartSession, progress: Progress = ignore) -> SessionInfo:
        self.demand()
        info: SessionInfo = await asyncio.shield(self.all.sent(self.all.start(self, request)))
        self.demand()
        return info

    async def stop(self, session_id: str) -> bool:
        self.demand()
        done: bool = await asyncio.shield(self.all.sent(self.all.stop(session_id)))
        self.demand()
        return done

    def answered(self, session_id: str) -> None:
        """Ignore it."""

    async def sessions(self) -> tuple[SessionInfo, ...]:
        self.demand()
        await self.all.pause()
        self.demand()
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

    def demand(self) -> None:
        """Refuse a hub that does not reach the sandboxes."""
        if not self.connected:
            raise RemoteFailed("The sandboxes cannot be reached.")


@dataclass(eq=False)
class Hub:
    """A hub, with the parts of it that a test takes apart."""

    pool: SessionManager
    view: View
    server: Server
    state: HubState
    dead: bool = False

    def kill(self) -> None:
        """Kill it: nothing that it does from now on reaches the database or the sandboxes."""
        self.dead = True

        def fail() -> None:
            raise Busy("This hub is dead.")

        for place in [each for each, by in self.view.all.changing.items() if by is self]:
            del self.view.all.changing[place]
        vars(self.state.engine)["connect"] = fail
        self.view.connected = False
        self.view.on_ended = ignore


@asynccontextmanager
async def hub_on(
    url: str,
    sandboxes: Sandboxes,
    *,
    make_state: Callable[[Engine], HubState] = HubState,
) -> AsyncIterator[Hub]:
    """Open a hub on a database and sandboxes; the database has its tables already."""
    engine, view, server = open_engine(url), sandboxes.view(), Server()
    state = make_state(engine)
    pool = SessionManager(
        launcher=view,
        spawner=cast(Spawner, PlainSpawner()),
        rows=state,
        clock=SystemClock(),
        probe=server,
        census=Pages(),
        is_dead=lambda _: False,
        limits=terms(ttl=3600.0),
    )
    await pool.open()
    hub = Hub(pool, view, server, state)
    try:
        yield hub
    finally:
        await _close(hub)
        engine.dispose()


async def _close(hub: Hub) -> None:
    if not hub.dead:
        await hub.pool.close()
        return
    with suppress(Busy), mock.patch.object(manager, "_CLOSE_SECONDS", 0.1):  # nothing succeeds
        await hub.pool.close()


def people(sandboxes: Sandboxes) -> list[str]:
    """Return the owners of the live sessions."""
    return sorted(map(owner, sandboxes.live.values()))


def place_of(key: SessionKey) -> str:
    """Return how the sandboxes name a key."""
    return f"/{key.url.rstrip('/')}"
