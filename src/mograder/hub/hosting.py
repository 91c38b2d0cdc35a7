"""What the hub asks of the machines that run sessions: its own supervisor, or nodes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mograder.core.log import get_logger
from mograder.sandbox.machines import Machines
from mograder.sessions.capacity import CapacityLimits
from mograder.sessions.connections import Connections
from mograder.sessions.session import LiveSession
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes

if TYPE_CHECKING:  # nodes are imported only where there are some
    from mograder.sessions.nodes.node_link import NodeLinks
    from mograder.sessions.nodes.node_registry import NodeRegistry

_LOOK_SECONDS = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HubNodes:
    """The nodes for pages and the API: their rows, their states, and their connections."""

    nodes: Nodes
    registry: NodeRegistry
    links: NodeLinks

    def reached(self, live: LiveSession) -> bool:
        """Return whether this hub can end a session: its node is connected."""
        return not live.endpoint.node or self.registry.find(live.endpoint.node) is not None

    def drained(self, live: LiveSession) -> bool:
        return bool(live.endpoint.node) and self.registry.draining(live.endpoint.node)


@dataclass(frozen=True, slots=True)
class Hosting:
    machines: Machines
    limits: CapacityLimits
    connections: Connections
    runs: Path
    nodes: HubNodes | None = None


async def nodes_ended(state: HubState) -> None:
    """Wait for the leases of nodes on which a hub had sessions before it had none any more.

    The nodes end these by then. Until then a notebook that is opened would run at two places.
    """
    told = False
    while on := {row.node for row in await asyncio.to_thread(state.sessions) if row.node}:
        if not on & await asyncio.to_thread(Nodes(state.engine).holding):
            return
        if not told:
            _log.warning("sessions may run on the nodes %s; their leases are waited for", on)
            told = True
        await asyncio.sleep(_LOOK_SECONDS)
