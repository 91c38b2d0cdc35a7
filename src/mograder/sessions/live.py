"""What the pool keeps in memory of a session; the rows in the database are the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from mograder.sessions.launcher import Endpoint, Mode


@dataclass(frozen=True, slots=True)
class SessionKey:
    """There is at most one session per user, item and mode (B72)."""

    user: str
    item: str
    mode: Mode

    @property
    def url(self) -> str:
        """The session page below the hub's prefix, without a slash in front (compat.md 2.3)."""
        return f"{self.mode.value}/user/{quote(self.user)}/{quote(self.item)}/"


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session that answers; ``version`` is the release's, for lectures.

    ``on_stop`` callbacks run once when it is gone, whatever ended it.
    """

    id: str
    key: SessionKey
    endpoint: Endpoint
    base_url: str
    version: str
    started_at: datetime
    last_seen: datetime
    connections: int = 0
    on_stop: list[Callable[[], None]] = field(default_factory=list)
