"""A session manager over fake nodes, as a hub with nodes has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.manager import SessionManager
from mograder.sessions.nodes.node_registry import node_capacity
from mograder.sessions.session import LiveSession, SessionKey
from tests.support.fake_node import FakeLink, FakeNode
from tests.support.node_rig import NodeRig
from tests.support.session_pools import Pages, PlainSpawner, ignore_progress

TTL = 3600.0
ENVIRONMENT = "abc"
"""The environment of all sessions."""


@dataclass
class NodePool:
    """A pool of sessions, and the rig with the nodes on which they run."""

    rig: NodeRig
    pool: SessionManager

    async def connect(self, node: FakeNode, *, join: bool = True) -> FakeLink:
        """Connect a node that has the environment."""
        node.environments.add(ENVIRONMENT)
        return await self.rig.connect(node, join=join)

    async def open(self, user: str, item: str = "A1") -> LiveSession:
        """Open a notebook."""
        key = SessionKey(user, item, Mode.EDIT)
        return await self.pool.get_or_start(key, ignore_progress)

    def opening(self, user: str) -> asyncio.Task[LiveSession]:
        """Begin to open a notebook."""
        return asyncio.create_task(self.open(user))


@asynccontextmanager
async def pool_on(
    rig: NodeRig,
    *,
    start_timeout: int = 40,
    serves: Callable[[Endpoint], bool] = lambda _: True,
) -> AsyncIterator[NodePool]:
    """A pool over the nodes of a rig; ``serves`` is whether a session's server ever answers."""

    async def probe(endpoint: Endpoint, base_url: str) -> bool:
        del base_url
        if not serves(endpoint):
            await asyncio.Event().wait()
        return True

    limits = LimitsSettings(start_timeout=start_timeout)
    pool = SessionManager(
        launcher=rig.launcher,
        spawner=cast(Spawner, PlainSpawner()),
        rows=rig.rows,
        clock=rig.clock,
        probe=probe,
        census=Pages(),
        is_dead=lambda _: False,
        limits=node_capacity(TTL, limits, rig.registry),
    )
    await pool.open()
    try:
        yield NodePool(rig, pool)
    finally:
        await pool.close()
