"""A launcher in memory, for tests of all that stands above the port.

Shipped beside the real one because both must pass the same contract
(``tests/contract/test_launcher.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import Conflict
from mograder.sessions.launcher import Endpoint, Exit, Launched, LaunchSpec, Limit, News, unheard


class InMemoryLauncher:
    """Starts nothing; ``specs`` holds what was asked for, :meth:`die` plays a process's end."""

    def __init__(self) -> None:
        self.specs: dict[str, LaunchSpec] = {}
        self.failure: Exception | None = None
        self._on_exit: Callable[[Exit], None] = lambda _: None
        self.lose: Callable[[], None] = lambda: None
        """Plays a break in the connection; with ``specs`` emptied, the launcher's own end."""
        self.tell: Callable[[News], None] = unheard
        """Plays its news."""
        self.answering: list[str] = []
        """The sessions of which it was told that they have answered."""

    async def start(self, spec: LaunchSpec) -> Launched:
        if self.failure is not None:
            raise self.failure
        if spec.session_id in self.specs:
            raise Conflict(f"Session {spec.session_id} is running already.")
        self.specs[spec.session_id] = spec
        return _launched(spec.session_id)

    async def stop(self, session_id: str) -> bool:
        if session_id not in self.specs:
            return False
        self.die(session_id, status=0)
        return True

    def answered(self, session_id: str) -> None:
        self.answering.append(session_id)

    async def running(self) -> list[Launched]:
        return [_launched(session_id) for session_id in self.specs]

    def watch(
        self,
        on_exit: Callable[[Exit], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = unheard,
    ) -> None:
        self._on_exit, self.lose, self.tell = on_exit, on_lost, on_news

    def die(
        self, session_id: str, *, status: int = 1, log_tail: str = "", limit: Limit | None = None
    ) -> None:
        """Let a session end, as a crash, a stop or a limit would."""
        del self.specs[session_id]
        self._on_exit(Exit(session_id, status, log_tail, limit))


def _launched(session_id: str) -> Launched:
    return Launched(session_id, Endpoint(Path("/nowhere") / session_id))
