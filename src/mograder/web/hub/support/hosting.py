"""What the hub asks of the machines that run sessions: its own supervisor, or nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mograder.core.settings import LoadedSettings
from mograder.sandbox.execution.judge_runner import JudgingHands
from mograder.sandbox.execution.runner import Hands
from mograder.sessions.capacity import CapacityLimits, capacity_limits
from mograder.sessions.connections import Connections, LocalConnections
from mograder.sessions.launcher import Launcher

if TYPE_CHECKING:  # nodes are imported only where there are some
    from mograder.web.hub.support.connected_nodes import HubNodes


class SessionMachines(Launcher, Hands, JudgingHands, Protocol):
    """Runs sessions and notebooks."""

    async def answers(self) -> bool:
        """Return whether sessions can be started."""
        ...

    def warm_later(self, environment: Path) -> None:
        """Prepare warm starts of an environment's sessions in the background."""
        ...

    async def in_use(self) -> frozenset[str]:
        """Return the names of the environments that are in use."""
        ...


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where sessions, validations and grading run."""

    machines: SessionMachines
    limits: CapacityLimits
    connections: Connections
    runs: Path
    nodes: HubNodes | None = None


def own_machine(loaded: LoadedSettings, supervisor: SessionMachines) -> Hosting:
    """Return the hub's own machine, where its supervisor runs everything."""
    settings = loaded.settings
    limits = capacity_limits(settings.hub.session_ttl, settings.limits)
    return Hosting(supervisor, limits, LocalConnections(), loaded.state_dir)
