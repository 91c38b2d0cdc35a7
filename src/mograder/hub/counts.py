"""What takes long to count for instructors' pages: students' copies, and what waits or is wrong.

Five hundred students with thirty items are fifteen thousand folders. They are counted in the
background and only while an instructor looks; pages show the last count.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.store.copies.workspaces import CopyFacts, Workspaces

T = TypeVar("T")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Count:
    """All copies as they were ``at`` a time, and how many people have begun each item."""

    copies: Mapping[Username, tuple[CopyFacts, ...]] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers in the navigation: answers without a mark, requests to look again, problems."""

    answers: int = 0
    requests: int = 0
    problems: int = 0

    @property
    def marking(self) -> int:
        return self.answers + self.requests


class Counted(Generic[T]):
    """The ``last`` of a count that is made again after ``fresh`` seconds; for one event loop.

    A look waits ``first`` seconds for the first count, and ``again`` seconds for a later one.
    """

    def __init__(
        self,
        clock: Clock,
        count: Callable[[], Awaitable[T]],
        nothing: T,
        *,
        fresh: float,
        first: float,
        again: float,
    ) -> None:
        self.count = count
        self.last = nothing
        self._clock, self._fresh = clock, fresh
        self._patience, self._again = first, again
        self._next = float("-inf")
        self._counting: asyncio.Task[None] | None = None

    def note(self) -> None:
        self._next = float("-inf")

    async def look(self) -> T:
        if self._counting is None and self._clock.steady() >= self._next:
            # from its beginning: a change during the count asks for another one
            self._next = self._clock.steady() + self._fresh
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=self._patience)
        return self.last

    async def close(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _count(self) -> None:
        try:
            self.last = await self.count()
            self._patience = self._again
        except (MograderError, OSError) as error:
            _log.error("what instructors' pages show could not be counted: %s", error)
        finally:
            self._counting = None


def copy_counts(workspaces: Workspaces, clock: Clock) -> Counted[Count]:
    """Return the count of every student's copies, made one person at a time."""

    async def count() -> Count:
        found: dict[Username, tuple[CopyFacts, ...]] = {}
        begun: Counter[str] = Counter()
        for user in await asyncio.to_thread(workspaces.people):
            found[user] = await asyncio.to_thread(workspaces.facts_of, user)
            begun.update(str(fact.item) for fact in found[user])
        return Count(found, begun, clock.now())

    return Counted(clock, count, Count(), fresh=60.0, first=2.0, again=0.1)


class CourseNumbers(Counted[Numbers]):
    def __init__(self, clock: Clock) -> None:
        async def nothing() -> Numbers:
            return Numbers()

        super().__init__(clock, nothing, Numbers(), fresh=5.0, first=0.5, again=0.5)
