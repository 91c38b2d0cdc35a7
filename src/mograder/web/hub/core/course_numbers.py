"""The numbers in the navigation of instructors: what waits for them, and what is wrong.

Counting reads files and tables, so it happens while an instructor looks, and not for each page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger

_FRESH_SECONDS = 5.0
_PATIENCE_SECONDS = 0.5
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of answers without a mark, of requests to look again, and of problems."""

    answers: int = 0
    requests: int = 0
    problems: int = 0

    @property
    def marking(self) -> int:
        """All that waits for somebody who marks."""
        return self.answers + self.requests


class CourseNumbers:
    """The last numbers, for one event loop; ``count`` blocks, and is set when the hub is made."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = Numbers()
        self.count: Callable[[], Numbers] = Numbers
        self._ended = float("-inf")
        self._counting: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Have the next look count again."""
        self._ended = float("-inf")

    async def look(self) -> None:
        """Count again if the numbers are old; does not wait for long."""
        if self._counting is None and self._clock.steady() - self._ended >= _FRESH_SECONDS:
            self._ended = self._clock.steady()  # a change during the count asks for another one
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=_PATIENCE_SECONDS)

    async def close(self) -> None:
        """Wait for a running count."""
        if self._counting is not None:
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _count(self) -> None:
        try:
            self.last = await asyncio.to_thread(self.count)
        except (MograderError, OSError) as error:
            _log.error("what waits for instructors could not be counted: %s", error)
        finally:
            self._counting = None
