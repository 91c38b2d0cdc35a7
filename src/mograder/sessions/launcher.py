"""The port through which the pool starts and stops sessions.

:class:`~mograder.sandbox.client.supervisor_client.SupervisorClient` is the adapter for one
supervisor. The pool does not assume that there is only one: an adapter may choose among supervisors
for each start, as long as it knows sessions by their id alone and its :class:`Endpoint` can be
reached from here.
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
    made, and :class:`~mograder.core.errors.RemoteFailed` when a supervisor cannot be reached.
    """

    async def start(self, request: StartSession) -> SessionInfo: ...

    async def stop(self, session_id: str) -> bool:
        """End a session and all its processes; returns false if there was none."""
        ...

    def answered(self, session_id: str) -> None:
        """Tell the supervisor that a session's server has answered: its start is over."""
        ...

    async def sessions(self) -> Sequence[SessionInfo]:
        """Return the running sessions, also those that an earlier hub started.

        A session that is missing here is taken for lost: raise unless every supervisor answered.
        """
        ...

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        """Set the callbacks for every end of a session, whatever its cause, and for news.

        ``on_lost`` is called when a connection to a supervisor broke. Its sessions may run on, and
        their ends may have been missed: :meth:`sessions` says what is still there.
        """
        ...
