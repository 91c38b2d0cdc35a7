"""The key of a session, and its record in memory; the rows in the database are authoritative."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from mograder.core.names import ItemName, Username
from mograder.core.tasks import set_within
from mograder.sandbox.protocol import Endpoint, Limits, Mode
from mograder.store.hub.hub_tables import SessionRow


@dataclass(frozen=True, slots=True)
class SessionKey:
    """The key of a session: there is at most one per user, item and mode (B72)."""

    user: str
    item: str
    mode: Mode

    @property
    def url(self) -> str:
        """The path of the session's page below the hub's prefix, without a leading slash.

        See compatibility-0.3.16.md 2.3.
        """
        return f"{self.mode.value}/user/{quote(self.user)}/{quote(self.item)}/"


@dataclass(frozen=True, slots=True)
class CopyOf:
    """The address of a copy: its user and its item; as a text ``user/item``."""

    user: Username
    item: ItemName

    def __str__(self) -> str:
        return f"{self.user}/{self.item}"

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.user, self.item, Mode.EDIT)

    @property
    def notebook(self) -> str:
        return f"{self.item}.py"


def spinner_of(mode: Mode, item: str) -> str:
    """Return the page, below the hub's prefix, that starts the caller's own session and waits."""
    return f"/{mode.value}/{quote(item, safe='')}"


@dataclass(slots=True, eq=False)
class Usage:
    """The measured use of a session; 0 and None until it is measured.

    ``memory`` is in bytes, ``cpu`` in processor seconds. ``expected`` is the memory with which it
    counts while it is young or was never measured, ``born`` the steady time of its start. ``mark``
    and ``marked`` are the processor seconds and the steady time from which ``busy`` is next judged.
    ``ends`` is the steady time at which its end began, None on a node that is cut off
    or drained.
    """

    expected: int
    born: float
    memory: int = 0
    cpu: float = 0.0
    processes: int = 0
    warm: bool | None = None
    busy: bool = False
    mark: float = 0.0
    marked: float | None = None
    ends: float | None = None


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session that answers; ``version`` is the release's, for lectures.

    ``last_seen`` is the time of its last request or message, ``asked`` that of the last one of a
    page or of the adoption, None until the first one; ``paged`` and ``computed`` are the times
    when a page was last seen open and its kernel computing. ``connections`` counts open WebSockets.
    ``on_stop`` callbacks run once when it has ended, after its ending was recorded.
    ``limits`` is None for a session that was adopted.
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
    usage: Usage = field(default_factory=lambda: Usage(expected=0, born=0.0))
    asked: datetime | None = None
    paged: datetime | None = None
    computed: datetime | None = None
    limits: Limits | None = None


def key_of(row: SessionRow) -> SessionKey:
    return SessionKey(row.username, row.item, Mode(row.mode))


def session_of(row: SessionRow, last_seen: datetime, usage: Usage) -> LiveSession:
    """Return the session of a row, which an earlier hub started."""
    key = key_of(row)
    return LiveSession(
        id=row.session_id,
        key=key,
        endpoint=Endpoint(Path(row.socket), row.node),
        base_url=f"/{key.url.rstrip('/')}",
        version=row.version,
        started_at=row.started_at,
        last_seen=last_seen,
        usage=usage,
        asked=last_seen,
    )


async def ended(live: LiveSession, seconds: float) -> None:
    """Wait until a running session has ended, at most ``seconds``; a timeout is no error."""
    over = asyncio.Event()
    live.on_stop.append(over.set)
    try:
        await set_within(over, seconds)
    finally:  # also when the caller is cancelled
        live.on_stop.remove(over.set)
