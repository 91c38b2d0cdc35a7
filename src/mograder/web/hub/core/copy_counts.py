"""Counts every student's copies now and then, so that no page reads every student's folder.

Five hundred students with thirty items are fifteen thousand folders. They are read in the
background, one person at a time, at most once a minute and only while an instructor looks; pages
show the last count and its time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mograder.core.clock import Clock
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.store.copies.copy_facts import CopyFacts, CopyListing

_FRESH_SECONDS = 60.0
_PATIENCE_SECONDS = 2.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Count:
    """All copies as they were ``at`` a time; empty until a first count is complete.

    ``begun`` is how many people have a copy of each item.
    """

    copies: Mapping[Username, tuple[CopyFacts, ...]] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    at: datetime | None = None


class CopyCounts:
    """Counts copies for one event loop; :meth:`close` ends a running count."""

    def __init__(self, listing: CopyListing, clock: Clock) -> None:
        self._listing = listing
        self._clock = clock
        self._last = Count()
        self._ended = float("-inf")
        self._counting: asyncio.Task[None] | None = None

    async def look(self) -> Count:
        """Return the last count; start another if it is old. Waits up to 2 s for the first one."""
        if self._counting is None and self._clock.steady() - self._ended >= _FRESH_SECONDS:
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None and self._last.at is None:
            await asyncio.wait({self._counting}, timeout=_PATIENCE_SECONDS)
        return self._last

    async def close(self) -> None:
        """Cancel a running count."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _count(self) -> None:
        try:
            found: dict[Username, tuple[CopyFacts, ...]] = {}
            begun: Counter[str] = Counter()
            for user in await asyncio.to_thread(self._listing.people):
                found[user] = await asyncio.to_thread(self._listing.of, user)
                begun.update(str(fact.item) for fact in found[user])
            self._last = Count(found, begun, self._clock.now())
        except OSError as error:
            _log.error("the students' copies could not be counted: %s", error)
        finally:
            self._ended = self._clock.steady()
            self._counting = None
