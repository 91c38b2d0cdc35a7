"""A launcher in memory, for tests of the code that uses the launcher port.

It passes the same contract as the real one (``tests/contract/test_launcher.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import Conflict
from mograder.core.tasks import Progress
from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import Ended, LimitReason, News, SessionInfo, StartSession


class InMemoryLauncher:
    """Starts no processes; ``requests`` holds the starts, :meth:`die` simulates a process's end."""

    def __init__(self) -> None:
        self.requests: dict[str, StartSession] = {}
        self.failure: Exception | None = None
        self._on_ended: Callable[[Ended], None] = ignore
        self.lose: Callable[[], None] = lambda: None
        """Simulates a broken connection; with ``requests`` emptied, the launcher's own end."""
        self.tell: Callable[[News], None] = ignore
        """Simulates an event of the launcher."""
        self.answering: list[str] = []
        """Sessions that were reported as answering."""

    async def start(self, request: StartSession, progress: Progress = ignore) -> SessionInfo:
        if self.failure is not None:
            raise self.failure
        if request.session_id in self.requests:
            raise Conflict(f"Session {request.session_id} is running already.")
        self.requests[request.session_id] = request
        return _info(request.session_id)

    async def stop(self, session_id: str) -> bool:
        if session_id not in self.requests:
            return False
        self.die(session_id, status=0)
        return True

    def answered(self, session_id: str) -> None:
        self.answering.append(session_id)

    async def sessions(self) -> tuple[SessionInfo, ...]:
        return tuple(_info(session_id) for session_id in self.requests)

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        self._on_ended, self.lose, self.tell = on_ended, on_lost, on_news

    def die(
        self,
        session_id: str,
        *,
        status: int = 1,
        log_tail: str = "",
        reason: LimitReason | None = None,
    ) -> None:
        """Let a session end, as a crash, a stop or a limit would."""
        del self.requests[session_id]
        self._on_ended(
            Ended(session_id=session_id, status=status, log_tail=log_tail, reason=reason or "")
        )


def _info(session_id: str) -> SessionInfo:
    return SessionInfo(session_id=session_id, socket=Path("/nowhere") / session_id)
