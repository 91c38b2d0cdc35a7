"""The memory that a node's sessions and runs use, from the supervisor's measurements."""

from __future__ import annotations

from mograder.sandbox.protocol import Ended, Measured, News, SessionInfo


class NodeUse:
    """The last measurements, in bytes. Mutable state: the use of each session."""

    def __init__(self) -> None:
        self._sessions: dict[str, int] = {}
        self._overhead = 0
        self._runs = 0

    @property
    def total(self) -> int:
        """The memory of sessions, runs, zygotes and the supervisor."""
        return sum(self._sessions.values()) + self._overhead + self._runs

    def hear(self, news: News) -> None:
        """Note a measurement, which names only the sessions whose use has changed."""
        if isinstance(news, Measured):
            self._sessions.update({use.session_id: use.memory for use in news.sessions})
            self._overhead, self._runs = news.overhead, news.runs

    def forget(self, news: Ended) -> None:
        """Note the end of a session."""
        self._sessions.pop(news.session_id, None)

    def keep(self, sessions: tuple[SessionInfo, ...]) -> None:
        """Forget what is not a live session: runs, whose memory is told apart."""
        live = {session.session_id for session in sessions}
        for session_id in self._sessions.keys() - live:
            del self._sessions[session_id]
