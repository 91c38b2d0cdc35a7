"""The launcher of one hub over fake nodes, with a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, update

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import Ended, Mode, News, StartSession
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_leases import Leases
from mograder.sessions.nodes.node_link import NodeLink
from mograder.sessions.nodes.node_machines import NodeMachines
from mograder.sessions.nodes.node_registry import ConnectedNode, NodeRegistry
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState
from mograder.store.hub.nodes import NodeRow, Nodes, nodes
from tests.support.clock import ManualClock
from tests.support.fake_node import FakeNode, linked
from tests.support.supervisors import until

LEASE = 8.0
EPOCH = 7
"""The epoch of the hub."""
KEY = "environment-1"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class NodeRig:
    """A launcher with its database, and the nodes that are connected to it."""

    engine: Engine
    place: Path
    ended: list[Ended] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    compared: int = 0
    """How often the manager was asked to compare the sessions."""

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.rows, self.nodes = HubState(self.engine), Nodes(self.engine)
        self.registry = NodeRegistry(self.clock, LEASE)
        self.leases = Leases(self.nodes, self.clock, LEASE, EPOCH)
        self.environments = NodeEnvironments(self.registry, 60)
        self.launcher = _Heard(self.registry, self.leases, self.environments, self.rows, EPOCH)
        self.launcher.rig = self
        self.launcher.watch(ignore, lambda: None)
        self._tasks = [asyncio.create_task(self.leases.watch())]
        self._links: list[NodeLink] = []

    async def connect(self, node: FakeNode, *, join: bool = True) -> NodeLink:
        """Connect a node and have its lease granted."""
        if join:
            self.nodes.add(NodeRow(node.name, "f" * 64, NOW))
        node.environments.add(KEY)
        link = await self.link(node)
        node.report()
        await until(lambda: self._granted(node.name))
        return link

    async def joined(self, name: str, *, zygotes: tuple[str, ...] = (), **more: Any) -> FakeNode:
        """Connect a node with these fields that has not joined yet."""
        node = FakeNode(name, zygotes=set(zygotes), **more)
        await self.connect(node)
        return node

    async def lose(self, node: FakeNode) -> None:
        """Break a node's connection, and wait until the hub knows."""
        node.disconnect()
        await until(lambda: self.registry.find(node.name) is None)

    async def link(self, node: FakeNode) -> NodeLink:
        """Connect a node that has joined."""
        link, serving = await linked(node)
        self._links.append(link)
        self._tasks.append(serving)
        compared = self.compared
        self.launcher.came(link)
        await until(lambda: self.compared > compared)
        return link

    def _granted(self, name: str) -> bool:
        found = self.registry.find(name)
        return found is not None and found.granted

    def node(self, name: str) -> ConnectedNode:
        found = self.registry.find(name)
        assert found is not None, name
        return found

    def lapse(self, name: str) -> None:
        """Let a node's lease be over by the database's time."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        with self.engine.begin() as connection:
            connection.execute(update(nodes).where(nodes.c.name == name).values(lease_until=past))

    async def start(self, name: str) -> str:
        """Start a session as the manager does; return its node."""
        request = spec(name)
        self.add_row(request.session_id)
        return (await self.launcher.start(request)).node

    def add_row(self, session_id: str) -> None:
        """Add the row that a start begins with."""
        row = SessionRow(
            session_id, session_id, "A1", "edit", SessionState.STARTING, "", "", KEY, NOW
        )
        self.rows.add_session(row)

    async def close(self) -> None:
        """Leave no task behind."""
        await self.launcher.close()
        await self.environments.close()
        await self.leases.close()
        for link in self._links:
            await link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Heard(NodeMachines):
    """A launcher whose reports the rig hears, too, before whoever watches."""

    rig: NodeRig

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        def ended(gone: Ended) -> None:
            self.rig.ended.append(gone)
            on_ended(gone)

        def lost() -> None:
            self.rig.compared += 1
            on_lost()

        def news(each: News) -> None:
            self.rig.news.append(each)
            on_news(each)

        super().watch(ended, lost, news)


def spec(name: str) -> StartSession:
    return StartSession(
        session_id=f"session-{name}",
        mode=Mode.EDIT,
        directory=Path("/share/notebooks/x/A1"),
        notebook="A1.py",
        environment=Path("/environments") / KEY,
        base_url=f"/edit/user/{name}/A1",
        uid_slot=1,
        limits=limits_of(LimitsSettings()),
    )
