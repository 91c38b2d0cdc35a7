"""What the pool keeps in memory of a session; the rows in the database are the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from mograder.sandbox.protocol import Endpoint, Limits, Mode


@dataclass(frozen=True, slots=True)
class SessionKey:
    """There is at most one session per user, item and mode (B72)."""

    user: str
    item: str
    mode: Mode

    @property
    def url(self) -> str:
        """The session page below the hub's prefix, without a slash in front.

        See compatibility-0.3.16.md 2.3.
        """
        return f"{self.mode.value}/user/{quote(self.user)}/{quote(self.item)}/"


@dataclass(slots=True, eq=False)
class Usage:
    """What a session uses, as far as it was measured; 0 and none until then.

    ``expected`` is the memory that it counts with while it is young or was never measured, and
    ``born`` the steady time from which it is. ``mark`` and ``marked`` are the processor seconds
    and the steady time from which ``busy`` is judged next.
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

    ``last_seen`` is its last request or message; ``paged`` and ``computed`` are when a page of it
    was last known to be open, and its kernel to compute, without any. ``on_stop`` callbacks run
    once when it is gone, whatever ended it; by then its ending can be asked for. ``limits`` are
    none of one that was adopted.
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

    @property
    def memory(self) -> int:
        """Bytes; 0 while it was never measured."""
        return self.usage.memory

    @property
    def cpu(self) -> float:
        """Processor seconds since its start."""
        return self.usage.cpu

    @property
    def processes(self) -> int:
        """How many processes it has; 0 while they were never counted."""
        return self.usage.processes

    @property
    def warm(self) -> bool | None:
        """Whether it was forked from a warm process; none if nobody said."""
        return self.usage.warm

    @property
    def busy(self) -> bool:
        """Whether it computes at the moment."""
        return self.usage.busy


async def ended(live: LiveSession, seconds: float) -> None:
    """Wait until a session that has not ended yet has, but no longer than that."""
    over = asyncio.Event()
    live.on_stop.append(over.set)
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass
    finally:  # also when whoever waits goes away
        live.on_stop.remove(over.set)
