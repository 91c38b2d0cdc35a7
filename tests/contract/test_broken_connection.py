"""The connection between hub and supervisor breaks while both live: no session notices.

The pool, the client and the supervisor are the real ones; sessions are lines of shell that count in
a variable, which only the same process goes on with.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from mograder.core.clock import SystemClock
from mograder.core.errors import RemoteFailed
from mograder.core.tasks import Progress
from mograder.sandbox.client.supervisor_client import ConnectionLost, SupervisorClient
from mograder.sandbox.protocol import Endpoint, Mode, StartSession
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.sessions.connections import LocalConnections
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState
from tests.support.disconnect import hang_up
from tests.support.launchers import make_spec
from tests.support.session_pools import ignore_progress, terms
from tests.support.supervisors import (
    Sessions,
    live_supervisor,
    make_config,
    shell_environment,
    until,
)

pytestmark = pytest.mark.full

SEED = 16
ROUNDS = 12
COUNTER = """case "$1" in *zygote.py) exit 1;; esac
n=0; while [ ! -e end ]; do n=$((n+1)); echo "$$ $n" > next; mv next count; sleep 0.02; done
touch ended"""


@dataclass
class Place:
    """A pool on a real supervisor, and control of the connection between them."""

    pool: SessionManager
    client: SupervisorClient
    config: SupervisorConfig
    spawner: ShellSpawner
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))

    async def supervisor(self) -> int:
        return (await live_supervisor(self.client)).pid

    @asynccontextmanager
    async def broken(self) -> AsyncIterator[None]:
        """Break the connection while the supervisor is stopped, until the block ends."""
        pid = await self.supervisor()
        os.kill(pid, signal.SIGSTOP)
        try:
            assert await asyncio.to_thread(hang_up, [pid], str(self.config.socket))
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def running(self) -> set[str]:
        """Return the sessions that the supervisor lists."""
        return {info.session_id for info in await self.client.sessions()}

    async def count(self, session: LiveSession) -> tuple[str, int]:
        """Which process a session is, and how far it has counted; waits until it goes on."""
        path = self.spawner.directories[session.id] / "count"
        before = path.read_text() if path.exists() else ""
        await until(lambda: path.exists() and path.read_text() != before)
        process, number = path.read_text().split()
        return process, int(number)


class ShellSpawner:
    """Returns the start request of a counting shell for each key."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._environment = shell_environment(place / "environment", COUNTER)
        self.directories: dict[str, Path] = {}

    async def request(self, key: SessionKey, session_id: str, progress: Progress) -> StartSession:
        del progress
        request = make_spec(session_id, self._place, self._environment)
        self.directories[session_id] = request.directory
        return request.model_copy(update={"session_id": session_id, "mode": key.mode})

    async def version(self, key: SessionKey) -> str:
        return ""


async def _answers(endpoint: Endpoint, base_url: str) -> bool:
    """A shell serves no pages; its socket is there."""
    return True


async def _pages(endpoint: Endpoint, base_url: str) -> int | None:
    return 1


@asynccontextmanager
async def opened(config: SupervisorConfig, place: Path) -> AsyncIterator[Place]:
    client = SupervisorClient(config)
    engine = open_engine(f"sqlite:///{place / 'hub.db'}")
    await asyncio.to_thread(upgrade, engine)
    spawner = ShellSpawner(place)
    pool = SessionManager(
        launcher=client,
        spawner=cast(Spawner, spawner),
        rows=HubState(engine),
        clock=SystemClock(),
        probe=_answers,
        census=_pages,
        is_dead=LocalConnections().is_dead,
        limits=terms(),
    )
    await pool.open()
    try:
        yield Place(pool, client, config, spawner)
    finally:
        await pool.close()
        await client.close()
        engine.dispose()


def _key(name: str) -> SessionKey:
    return SessionKey(name, "A1", Mode.EDIT)


async def test_sessions_outlive_breaks_at_random_moments(runtime: Path, tmp_path: Path) -> None:
    """Others start and stop meanwhile: each of those is there or not, on both sides alike."""
    async with opened(make_config(runtime, tmp_path), tmp_path) as place:
        pool = place.pool
        working = [await pool.get_or_start(_key(name), ignore_progress) for name in ("a", "b", "c")]
        before = [await place.count(session) for session in working]
        pid = await place.supervisor()
        for number in range(ROUNDS):
            changing = asyncio.create_task(_start_and_stop(pool, _key(f"passing-{number}")))
            for _ in range(2):
                await asyncio.sleep(place.chance.uniform(0, 0.05))
                assert await asyncio.to_thread(hang_up, [pid], str(place.config.socket))
            await changing
        after = [await place.count(session) for session in working]
        assert [now[0] for now in after] == [then[0] for then in before], "the same processes"
        assert all(now[1] > then[1] for now, then in zip(after, before, strict=True))
        assert await place.supervisor() == pid
        kept = {session.id for session in pool.all()}
        assert kept >= {session.id for session in working}
        await _agreed(place, kept)


async def _start_and_stop(pool: SessionManager, key: SessionKey) -> None:
    """An interrupted start fails with a message; a stop is still carried out."""
    with contextlib.suppress(RemoteFailed):
        await pool.get_or_start(key, ignore_progress)
        await pool.stop(key)
    assert pool.find(key) is None


async def _agreed(place: Place, kept: set[str]) -> None:
    """Wait until the supervisor runs what the pool has, and nothing else."""
    sockets = place.config.runtime / "s"
    await until(lambda: {path.stem for path in sockets.iterdir()} == kept)
    assert await place.running() == kept


async def test_a_break_while_the_supervisor_is_stopped_is_survived(
    runtime: Path, tmp_path: Path
) -> None:
    async with opened(make_config(runtime, tmp_path), tmp_path) as place:
        session = await place.pool.get_or_start(_key("a"), ignore_progress)
        before = await place.count(session)
        async with place.broken():
            asking = asyncio.create_task(place.running())
            assert (await place.count(session))[0] == before[0], "it works meanwhile"
            assert place.pool.find(session.key) is session
        assert await asking == {session.id}
        assert place.pool.find(session.key) is session


async def test_a_session_ended_during_a_break_is_noticed(runtime: Path, tmp_path: Path) -> None:
    async with opened(make_config(runtime, tmp_path), tmp_path) as place:
        kept, ended = [
            await place.pool.get_or_start(_key(name), ignore_progress) for name in ("a", "b")
        ]
        await place.count(ended)
        async with place.broken():
            (place.spawner.directories[ended.id] / "end").touch()
            await until((place.spawner.directories[ended.id] / "ended").exists)
        await until(lambda: place.pool.all() == [kept])
        assert place.pool.history.of_session(ended.id) is not None


async def test_a_start_that_was_cut_off_leaves_nothing(runtime: Path, tmp_path: Path) -> None:
    """The supervisor ends what nobody was told of; where the answer was lost, a stop does."""
    config = make_config(runtime, tmp_path)
    client = SupervisorClient(config)
    sessions = Sessions(client, tmp_path)
    chance = random.Random(SEED)
    cut = 0
    for number in range(ROUNDS):
        request = sessions.request(f"{number}", "sleep 600")
        starting = asyncio.create_task(client.start(request))
        await asyncio.sleep(chance.uniform(0, 0.03))
        pid = (await live_supervisor(client)).pid
        assert await asyncio.to_thread(hang_up, [pid], str(config.socket))
        try:
            await starting
        except ConnectionLost:
            cut += 1
        await client.stop(request.session_id)
        assert await client.sessions() == ()
    assert cut, "at least one was cut off"
    assert list((runtime / "s").iterdir()) == []
    await client.close()
