"""Random interleavings with hubs that follow each other: never two sessions of one key.

People open, stop and replace their notebooks; sessions crash; the hub is cut off from the
sandboxes, or killed, and another one takes its place at once. Nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
from sqlalchemy import Engine

from mograder.core.errors import MograderError
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.store.hub.hub_tables import SessionState
from tests.support.hub_pools import Hub, Sandboxes, hub_on, place_of
from tests.support.session_pools import ignore_progress

KEYS = [SessionKey(name, "A1", Mode.EDIT) for name in ("alice", "bob", "carol")]
STEPS = 80
SECONDS = 20.0


class Course:
    """The hub at work, and people who use it in a random order."""

    def __init__(self, url: str, seed: int, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self.chance = random.Random(seed)
        self.sandboxes = Sandboxes(random.Random(seed))
        self.hub: Hub
        self.opened = 0
        self.gone: list[asyncio.Task[None]] = []
        self._under_way: dict[asyncio.Task[None], Hub] = {}

    async def add_hub(self) -> None:
        """Open the next hub."""
        self.hub = await self._stack.enter_async_context(hub_on(self._url, self.sandboxes))

    async def step(self) -> None:
        """Begin one action, and let some time pass."""
        hub, key = self.hub, self.chance.choice(KEYS)
        people = (self._open, self._open, self._open, self._stop, self._replace)
        action: Callable[[Hub, SessionKey], Awaitable[None]] = self.chance.choice(people)
        self._begin(hub, partial(action, hub, key))
        fate = self.chance.random()
        if fate < 0.1 and self.sandboxes.live:
            self.sandboxes.end(self.chance.choice(sorted(self.sandboxes.live)), asked=False)
        elif fate < 0.13:
            self._begin(hub, partial(self._cut_off, hub))
        elif fate < 0.18:
            await self._kill(hub)
            await self.add_hub()
        await asyncio.sleep(self.chance.random() * 0.06)

    async def settle(self) -> None:
        """Wait until everything that began has ended, and the hub and the rows agree."""
        async with asyncio.timeout(SECONDS):
            while self._under_way:
                await asyncio.wait(self._under_way)
            while not await self._agree():  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(0.05)

    async def _open(self, hub: Hub, key: SessionKey) -> None:
        await hub.pool.get_or_start(key, ignore_progress)
        self.opened += not hub.dead

    async def _stop(self, hub: Hub, key: SessionKey) -> None:
        await hub.pool.stop(key)

    async def _replace(self, hub: Hub, key: SessionKey) -> None:
        place = place_of(key)
        async with hub.pool.without_session(key):
            if hub.dead:
                return
            if any(each.base_url == place for each in self.sandboxes.live.values()):
                self.sandboxes.faults.append(f"{place} is replaced while a session runs")
            if place in self.sandboxes.changing:
                self.sandboxes.faults.append(f"{place} is replaced twice at the same time")
            self.sandboxes.changing[place] = hub
            try:
                await asyncio.sleep(self.chance.random() * 0.15)
            finally:
                if self.sandboxes.changing.get(place) is hub:
                    del self.sandboxes.changing[place]

    async def _cut_off(self, hub: Hub) -> None:
        hub.view.cut()
        await asyncio.sleep(self.chance.random() * 0.2)
        if not hub.dead:
            hub.view.connected = True
            hub.view.on_lost()

    async def _kill(self, hub: Hub) -> None:
        hub.kill()
        theirs = [task for task, at in self._under_way.items() if at is hub]
        for task in theirs:
            task.cancel()
            del self._under_way[task]
        self.gone += theirs

    def _begin(self, hub: Hub, action: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            # Such as a start that was stopped, or sandboxes that are not reached.
            with contextlib.suppress(MograderError):
                await action()

        task = asyncio.create_task(run())
        self._under_way[task] = hub
        task.add_done_callback(lambda done: self._under_way.pop(done, None))

    async def _agree(self) -> bool:
        rows = await asyncio.to_thread(self.hub.state.sessions)
        live = set(self.sandboxes.live)
        running = {each.session_id for each in rows if each.state is SessionState.RUNNING}
        known = {each.id for each in self.hub.pool.all()}
        return len(rows) == len(running) and running == live == known


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 8))]
"""One seed in the tests of minutes, all of them in the others."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_never_two_sessions_on_one_key(url: str, engine: Engine, seed: int) -> None:
    del engine  # which made the tables
    async with AsyncExitStack() as stack:
        course = Course(url, seed, stack)
        await course.add_hub()
        for _ in range(STEPS):
            await course.step()
        await course.settle()
        await asyncio.gather(*course.gone, return_exceptions=True)
        assert course.sandboxes.faults == []
        assert course.sandboxes.starts >= len(KEYS)
        assert course.opened >= STEPS // 10
