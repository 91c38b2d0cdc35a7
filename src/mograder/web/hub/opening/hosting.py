"""What the hub asks of the machines that run sessions: its own supervisor, or nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mograder.core.settings import LoadedSettings
from mograder.sandbox.machines import Machines
from mograder.sessions.capacity import CapacityLimits, capacity_limits
from mograder.sessions.connections import Connections, LocalConnections

if TYPE_CHECKING:  # nodes are imported only where there are some
    from mograder.web.hub.core.node_door import HubNodes


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where sessions, validations and grading run."""

    machines: Machines
    limits: CapacityLimits
    connections: Connections
    runs: Path
    nodes: HubNodes | None = None


def own_machine(loaded: LoadedSettings, supervisor: Machines) -> Hosting:
    """Return the hub's own machine, where its supervisor runs everything."""
    settings = loaded.settings
    limits = capacity_limits(settings.hub.session_ttl, settings.limits)
    return Hosting(supervisor, limits, LocalConnections(), loaded.state_dir)
