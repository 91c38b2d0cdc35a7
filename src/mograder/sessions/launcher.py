"""The interface through which the session manager starts and stops sessions.

:class:`~mograder.sandbox.client.supervisor_client.SupervisorClient` implements it for one
supervisor. The session manager does not assume that there is only one: an implementation may
choose a supervisor for each start, as long as it finds sessions by their id alone and the hub can
connect to their endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mograder.sandbox.protocol import Ended, News, SessionInfo, StartSession


def ignore(_: object) -> None:
    """Do nothing: the default of a callback."""


class Launcher(Protocol):
    """Starts, stops and lists sessions.

    Each operation raises :class:`~mograder.core.errors.SandboxUnavailable` when no sandbox can be
    created, and :class:`~mograder.core.errors.RemoteFailed` when a supervisor cannot be reached.
    """

    async def start(self, request: StartSession) -> SessionInfo: ...

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
        """Set the callbacks for every end of a session, for lost connections, and for news.

        ``on_lost`` is called when a connection to a supervisor broke. Its sessions may go on, and
        their ends may have been missed: :meth:`sessions` returns those that still run.
        """
        ...
