"""Rings at the pages that are open when something that they show has changed.

An event carries no content, only which part of a page is out of date: the page asks for that as
it always does, with its own rights. So what is told can leak nothing, news that come faster than
a page can follow melt into one, and 500 open pages cost a set and a timer each.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import Busy

MOST_OF_ONE = 8
"""Pages of one person that are kept up to date; the one opened first makes room for another."""

MOST = 5000


class Part(StrEnum):
    """What has changed."""

    SESSIONS = "sessions"
    COPIES = "copies"
    COURSE = "course"
    """Items, their visibility, or the list of people: everybody's page."""


class Ear:
    """One open page: what it has not been told yet."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._parts: set[Part] = set()
        self._stirred = asyncio.Event()
        self.closed = False
        self.replaced = False

    def hear(self, part: Part) -> None:
        """Note a change."""
        self._parts.add(part)
        self._stirred.set()

    def close(self) -> None:
        """End the stream that listens here."""
        self.closed = True
        self._stirred.set()

    async def news(self, seconds: float) -> frozenset[Part]:
        """Wait for changes, at most so long, and return them."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return frozenset()
        self._stirred.clear()
        news = frozenset(self._parts)
        self._parts.clear()
        return news


class Bell:
    """Rings at the pages that are open; of one event loop.

    Mutable state: ``_ears``, by user, the oldest first, and those of them that hear of everybody.
    """

    def __init__(self) -> None:
        self._ears: defaultdict[str, list[Ear]] = defaultdict(list)
        self._instructors: set[Ear] = set()
        self._count = 0
        self._silent = False

    def ring(self, user: str, part: Part) -> None:
        """Tell a person's pages, and the instructors', of a change of that person's."""
        for ear in self._ears.get(user, ()):
            ear.hear(part)
        for ear in self._instructors:
            ear.hear(part)

    def ring_all(self) -> None:
        """Tell everybody that the course has changed."""
        for ears in self._ears.values():
            for ear in ears:
                ear.hear(Part.COURSE)

    def demand_room(self) -> None:
        """Refuse one page too many.

        Raises: Busy.
        """
        if self._silent or self._count >= MOST:
            raise Busy("Too many pages are open.", hint="Reload this one to see news.")

    def present(self) -> frozenset[str]:
        """Who has a page of the hub's open."""
        return frozenset(user for user, ears in self._ears.items() if ears)

    @contextmanager
    def listening(self, identity: Identity) -> Iterator[Ear]:
        """Count an open page; the first of too many has to go."""
        ears = self._ears[identity.username]
        ear = Ear(identity)
        ears.append(ear)
        self._count += 1
        if identity.role is Role.INSTRUCTOR:
            self._instructors.add(ear)
        if len(ears) > MOST_OF_ONE:
            ears[0].replaced = True
            ears[0].close()
        try:
            yield ear
        finally:
            ears.remove(ear)
            self._instructors.discard(ear)
            self._count -= 1
            if not ears:
                self._ears.pop(identity.username, None)

    def close(self) -> None:
        """End all streams, since the hub ends; there will be no others."""
        self._silent = True
        for ears in self._ears.values():
            for ear in ears:
                ear.close()
