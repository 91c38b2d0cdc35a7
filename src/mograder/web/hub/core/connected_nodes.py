"""The nodes of this hub, for pages, metrics and moving sessions away from one that is drained."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.sessions.nodes.node_registry import NodeRegistry
from mograder.sessions.session import LiveSession
from mograder.store.hub.nodes import Nodes
from mograder.web.hub.core.node_door import NodeDoor


@dataclass(frozen=True, slots=True)
class HubNodes:
    """The nodes of this hub, for pages and metrics."""

    nodes: Nodes
    registry: NodeRegistry
    door: NodeDoor

    def reached(self, live: LiveSession) -> bool:
        """Return whether this hub can end a session: its node is connected."""
        return not live.endpoint.node or self.registry.find(live.endpoint.node) is not None

    def drained(self, live: LiveSession) -> bool:
        """Return whether a session runs on a node that is being drained."""
        return bool(live.endpoint.node) and self.registry.draining(live.endpoint.node)
