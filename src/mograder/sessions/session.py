"""The in-memory record of a session, and counters of starts and ends.

The rows in the database are authoritative.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

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


def spinner_of(mode: Mode, item: str) -> str:
    """Return the page, below the hub's prefix, that starts the caller's own session and waits."""
    return f"/{mode.value}/{quote(item, safe='')}"


@dataclass(slots=True, eq=False)
class Usage:
    """The measured use of a session; 0 and None until it is measured.

    ``memory`` is in bytes, ``cpu`` in processor seconds. ``expected`` is the memory with which it
    counts while it is young or was never measured, ``born`` the steady time of its start. ``mark``
    and ``marked`` are the processor seconds and the steady time from which ``busy`` is next judged.
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


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session that answers; ``version`` is the release's, for lectures.

    ``last_seen`` is the time of its last request or message; ``paged`` and ``computed`` are the
    times when a page was last seen open and its kernel computing. ``connections`` counts open
    WebSockets. ``on_stop`` callbacks run once when it has ended, after its ending was recorded.
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
    paged: datetime | None = None
    computed: datetime | None = None
    limits: Limits | None = None


def key_of(row: SessionRow) -> SessionKey:
    """Return the key of a row."""
    return SessionKey(row.username, row.item, Mode(row.mode))


def session_of(row: SessionRow, last_seen: datetime, usage: Usage) -> LiveSession:
    """Return the session of a row, which an earlier or another hub started."""
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
    )


async def ended(live: LiveSession, seconds: float) -> None:
    """Wait until a running session has ended, at most ``seconds``; a timeout is no error."""
    over = asyncio.Event()
    live.on_stop.append(over.set)
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass
    finally:  # also when the caller is cancelled
        live.on_stop.remove(over.set)


Kind = Literal["warm", "cold", "unknown"]
"""How a session started; "unknown" until the launcher reports it."""
Outcome = Literal["ok", "failed", "refused"]

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds; a warm start takes about 0.1, waiting in the queue up to minutes."""

_REASONS = 50


class Histogram:
    """A histogram of durations with the bounds of ``BUCKETS``."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        """Per bucket, not cumulative; the last bucket is for values above every bound."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value, in seconds."""
        index = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.counts[index] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, then infinity, with the number of values that do not exceed it."""
        so_far = 0
        for bound, count in zip((*BUCKETS, float("inf")), self.counts, strict=True):
            so_far += count
            yield bound, so_far


@dataclass(slots=True)
class Counters:
    """Counters of starts and of ends by reason, since the hub started, for ``/metrics``.

    Sessions that an earlier hub started are not included.

    ``start_seconds`` is the time from a student's request until the server answers, including the
    wait in the queue. ``fallbacks`` counts cold starts that should have been warm, by reason.
    """

    starts: Counter[tuple[Kind, Outcome]] = field(default_factory=Counter)
    start_seconds: Histogram = field(default_factory=Histogram)
    fallbacks: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    queue_length: int = 0

    def started(self, warm: bool | None, seconds: float) -> None:
        """Count a successful start that took ``seconds``."""
        self.starts[kind_of(warm), "ok"] += 1
        self.start_seconds.observe(seconds)

    def fell_back(self, reason: str) -> None:
        """Count a cold start that should have been warm, by at most 50 different reasons."""
        known = reason in self.fallbacks or len(self.fallbacks) < _REASONS
        self.fallbacks[reason if known else "other"] += 1


def kind_of(warm: bool | None) -> Kind:
    """Return the label of a start; ``warm`` is None while the launcher has not reported it."""
    if warm is None:
        return "unknown"
    return "warm" if warm else "cold"
