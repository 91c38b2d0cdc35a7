"""One start that waits for its admission, or was admitted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mograder.core.tasks.single_flight import Progress
from mograder.sessions.session import SessionKey, Usage


@dataclass(slots=True, eq=False)
class Ticket:
    """One start that waits or was admitted; tickets are ordered by ``number``.

    ``expected`` is in bytes. ``admitted`` resolves to the start's entry in the ledger.
    ``last_text`` is the last text that was passed to ``tell``. ``timer`` runs while the start
    counts as in progress.
    """

    number: int
    key: SessionKey
    session_id: str
    expected: int
    tell: Progress
    admitted: asyncio.Future[Usage] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    last_text: str = ""
    timer: asyncio.TimerHandle | None = None

    @property
    def let_in(self) -> bool:
        """Whether the start was admitted."""
        done = self.admitted
        return done.done() and not done.cancelled() and done.exception() is None
