"""Notifies open pages when something that they show has changed.

An event has no content and only names the part of a page that is out of date: the page requests
that part as always, with its own rights. So an event discloses nothing, several changes before a
page reloads become one event, and 500 open pages cost a set and a timer each.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import Busy

MOST_OF_ONE = 8
"""Pages of one person that are notified; one more replaces the page opened first."""

MOST = 5000
_RECENT_SECONDS = 60.0


class Part(StrEnum):
    SESSIONS = "sessions"
    COPIES = "copies"
    MARKS = "marks"
    """Grading and its results, which concern instructors only, and the marks of one student."""
    MACHINES = "machines"
    """The nodes that run the sessions, which concern instructors only."""
    HELP = "help"
    """Requests for help, and messages to open notebooks."""
    BOARD = "board"
    """The contents of an item's board; only the pages of this board are told."""
    COURSE = "course"
    """Items, their visibility, or the list of people, which concern every page."""


class Subscriber:
    """One open page, and the changes not yet sent to it; the page of a board hears of its item."""

    def __init__(self, identity: Identity, board: str) -> None:
        self._identity = identity
        self.board = board
        self._parts: set[Part] = set()
        self._changed = asyncio.Event()
        self.closed = False
        self.replaced = False

    def hears(self, user: str | None, part: Part) -> bool:
        """Return whether the page shows a person's data, "" for staff's, None for everybody's."""
        role = self._identity.role
        staff = role is Role.INSTRUCTOR or (part is Part.HELP and role is Role.MARKER)
        return staff or user in (None, self._identity.username)

    def note(self, part: Part) -> None:
        if self.board and part not in (Part.BOARD, Part.COURSE):
            return
        self._parts.add(part)
        self._changed.set()

    def close(self) -> None:
        self.closed = True
        self._changed.set()

    async def news(self, seconds: float) -> frozenset[Part]:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return frozenset()
        self._changed.clear()
        news = frozenset(self._parts)
        self._parts.clear()
        return news


class Notifier:
    """Notifies the open pages; for one event loop.

    Mutable state: ``_subscribers``, by user, the oldest first, and ``_staff``, those who are no
    students, so that a student's change does not ask the pages of all others; ``_recent``, the
    changes of the last minute by user, part and the item of a board, with their Unix times, the
    oldest first.
    """

    def __init__(self) -> None:
        self._subscribers: defaultdict[str, list[Subscriber]] = defaultdict(list)
        self._staff: set[Subscriber] = set()
        self._recent: OrderedDict[tuple[str | None, Part, str], float] = OrderedDict()
        self._closed = False

    def notify(self, user: str | None, part: Part) -> None:
        """Notify a person's pages, and those of staff, of a change in that person's data."""
        own = self._subscribers.get(user or "", ())
        for subscriber in self._all() if user is None else (*own, *self._staff):
            if subscriber.hears(user, part):
                subscriber.note(part)
        self._remember(user, part)

    def notify_instructors(self, part: Part) -> None:
        self.notify("", part)

    def notify_all(self) -> None:
        self.notify(None, Part.COURSE)

    def _all(self) -> Iterator[Subscriber]:
        return chain.from_iterable(self._subscribers.values())

    def notify_boards(self, item: str) -> None:
        for subscriber in self._staff:
            if subscriber.board == item:
                subscriber.note(Part.BOARD)
        self._remember("", Part.BOARD, item)

    def board_changed_at(self, item: str) -> float:
        """Return the Unix time of a board's last change, 0 where it is not of the last minute."""
        return self._recent.get(("", Part.BOARD, item), 0.0)

    def _remember(self, user: str | None, part: Part, board: str = "") -> None:
        now = time.time()
        self._recent[user, part, board] = now
        self._recent.move_to_end((user, part, board))
        while next(iter(self._recent.values())) < now - _RECENT_SECONDS:
            self._recent.popitem(last=False)

    def demand_room(self) -> None:
        if self._closed or sum(map(len, self._subscribers.values())) >= MOST:
            raise Busy("Too many pages are open.", hint="Reload this one to see news.")

    def present(self) -> frozenset[str]:
        return frozenset(user for user, subscribers in self._subscribers.items() if subscribers)

    @contextmanager
    def listening(
        self, identity: Identity, since: float = 0, board: str = ""
    ) -> Iterator[Subscriber]:
        """Yield the subscriber of a page requested at ``since``, in Unix seconds, 0 for now."""
        subscribers = self._subscribers[identity.username]
        subscriber = Subscriber(identity, board)
        subscribers.append(subscriber)
        if identity.role is not Role.STUDENT:
            self._staff.add(subscriber)
        since = max(since, time.time() - _RECENT_SECONDS) if since else float("inf")
        for (user, part, about), at in self._recent.items():
            if at >= since and subscriber.hears(user, part) and about in ("", board):
                subscriber.note(part)
        for old in subscribers[:-MOST_OF_ONE]:  # several, where many pages open at once
            old.replaced = True
            old.close()
        try:
            yield subscriber
        finally:
            subscribers.remove(subscriber)
            self._staff.discard(subscriber)
            if not subscribers:
                self._subscribers.pop(identity.username, None)

    def close(self) -> None:
        self._closed = True
        for subscriber in self._all():
            subscriber.close()
