"""All that a hub asks of nodes, as it asks a supervisor on its own machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import (
    Ended,
    Execute,
    Executed,
    Judged,
    JudgeSubmission,
    News,
    SessionInfo,
    StartSession,
)
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_launcher import NodeLauncher
from mograder.sessions.nodes.node_runs import NodeRuns


@dataclass(frozen=True, slots=True)
class NodeMachines:
    """The nodes of a hub, in place of
    :class:`~mograder.sandbox.client.supervisor_client.SupervisorClient`.
    """

    launcher: NodeLauncher
    runs: NodeRuns
    environments: NodeEnvironments

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        """Set the callbacks, as :meth:`NodeLauncher.watch`."""
        self.launcher.watch(on_ended, on_lost, on_news)

    async def start(self, request: StartSession) -> SessionInfo:
        """Start a session, as :meth:`NodeLauncher.start`."""
        return await self.launcher.start(request)

    async def stop(self, session_id: str) -> bool:
        """End a session, as :meth:`NodeLauncher.stop`."""
        return await self.launcher.stop(session_id)

    def answered(self, session_id: str) -> None:
        """Notify the session's node that its server has answered."""
        self.launcher.answered(session_id)

    async def sessions(self) -> Sequence[SessionInfo]:
        """Return the sessions that run or may run."""
        return await self.launcher.sessions()

    async def answers(self) -> bool:
        """Return whether a node is connected that takes sessions."""
        return await self.launcher.answers()

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook on a node, as :meth:`NodeRuns.execute`."""
        return await self.runs.execute(request, on_line)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        """Judge a submission on a node, as :meth:`NodeRuns.judge`."""
        return await self.runs.judge(request, on_line)

    def warm_later(self, environment: Path) -> None:
        """Have all nodes prepare warm starts of an environment."""
        self.environments.warm_later(environment)
