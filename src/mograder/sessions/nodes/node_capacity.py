"""The limits on sessions where they run on nodes: those of all usable nodes together."""

from __future__ import annotations

from collections.abc import Sequence

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sessions.capacity import MEGABYTE, CapacityLimits
from mograder.sessions.nodes.node_registry import NodeRegistry
from mograder.sessions.nodes.placement import NodeLoad


def node_capacity(ttl: float, limits: LimitsSettings, registry: NodeRegistry) -> CapacityLimits:
    """Return limits that follow the nodes of a registry; ``ttl`` in seconds.

    ``[limits] total_memory_mb`` and ``starts_at_once`` still bound them if they are set.
    """
    capacity = CapacityLimits(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=0,
        starts=0,
        line=limits.line_length,
        fits=registry.fits,
    )

    def follow(loads: Sequence[NodeLoad]) -> None:
        memory, starts = sum(each.memory for each in loads), sum(each.starts for each in loads)
        capacity.memory = min(memory, limits.total_memory_mb * MEGABYTE or memory)
        capacity.starts = min(starts, limits.starts_at_once or starts)
        capacity.largest = max((each.memory for each in loads), default=0)

    registry.on_change = follow
    return capacity
