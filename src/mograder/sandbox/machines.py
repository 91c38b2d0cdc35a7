"""The port for the machines that run sessions and notebooks, and its two roles.

:class:`~mograder.sandbox.client.supervisor_client.SupervisorClient` implements it for one
supervisor, :class:`~mograder.sessions.nodes.node_machines.NodeMachines` for a hub's nodes. Who uses
it does not assume that there is only one machine: an implementation may choose one for each start
and each run, as long as it finds sessions by their id alone and the hub can connect to their
endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mograder.core.tasks import Progress
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


def ignore(_: object) -> None:
    """Do nothing: the default of a callback."""


class Runs(Protocol):
    """Runs notebooks and judges submissions.

    Each operation calls ``on_line`` with the lines of the reports. It raises
    :class:`~mograder.core.errors.SandboxUnavailable` when no sandbox can be created, and
    :class:`~mograder.core.errors.RemoteFailed` when a supervisor cannot be reached.
    """

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed: ...

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged: ...


class Launcher(Protocol):
    """Starts, stops and lists sessions; its operations raise as those of :class:`Runs`."""

    async def start(self, request: StartSession, progress: Progress = ignore) -> SessionInfo:
        """Start a session; call ``progress`` with what its machine has to do before that."""
        ...

    async def stop(self, session_id: str) -> bool:
        """End a session and all its processes; return false if there was no such session."""
        ...

    def answered(self, session_id: str) -> None:
        """Notify the supervisor that a session's server has answered: its start is complete."""
        ...

    async def sessions(self) -> Sequence[SessionInfo]:
        """Return the running sessions, including those that an earlier hub started.

        Sessions missing from the result count as lost, so raise unless every supervisor answered.
        """
        ...

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        """Set the callbacks for every end of a session, for ends that may be missed, and for news.

        ``on_lost`` is called when the connection to this machine's supervisor broke, when a node
        has connected, and some seconds after a node did not list its sessions: ends may have been
        missed, and :meth:`sessions` returns the sessions that still run.
        """
        ...


class Machines(Launcher, Runs, Protocol):
    async def answers(self) -> bool: ...

    def warm_later(self, environment: Path) -> None: ...
