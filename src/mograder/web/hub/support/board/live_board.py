"""Boards that are looked at: kept current in memory, and sent to pages as what has changed.

A page gets the HTML of single lines, made once for all viewers, and never the table again. What a
board shows comes from the database, so that each of several hubs shows the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from mograder.core.clock import Clock
from mograder.core.errors import Busy, MograderError
from mograder.core.log import get_logger
from mograder.sandbox.protocol import Mode
from mograder.sessions.manager import SessionManager
from mograder.store.hub.board import Board, CheckRow
from mograder.web.hub.support.board.board_view import Head, Line, Share, heads_of, line_of, share_of
from mograder.web.hub.support.board.help_desk import HelpDesk
from mograder.web.hub.support.board.item_checks import Column, ItemChecks

MOST_VIEWERS = 200
MOST_OF_ONE = 8
"""Streams of one person; a further one ends the oldest."""
"""Open boards of all items at this hub; a further one is told to come back."""

_MOST_BOARDS = 60
_LEAST_SECONDS = 0.3
_LOOK_SECONDS, _SHARED_SECONDS = 10.0, 0.5
"""The time between two readings without news: of a hub that is alone, and of one of several."""

_AGAIN = timedelta(seconds=1)
"""Reports are read again for this long, since those of one time may be written later."""

_WHOLE, _WHOLE_AGAIN = timedelta(seconds=10), timedelta(seconds=20)
"""How often all lines are made again, since a student becomes quiet by time alone.

Reports are then read again for longer: the clock of another hub that writes them may be behind.
"""

_log = get_logger(__name__)


class View(StrEnum):
    """The forms of a line: with a link to the copy, with the name only, and without any name."""

    LINKED = "linked"
    NAMED = "named"
    NAMELESS = "nameless"


class Renderer(Protocol):
    """Makes the HTML of a line."""

    def __call__(self, item: str, key: str, line: Line, view: View) -> str: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A line as pages show it, since a version of the board."""

    key: str
    line: Line
    version: int
    html: Mapping[View, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a version: lines by key, keys that are gone, and the parts."""

    lines: tuple[Shown, ...]
    gone: tuple[str, ...]
    heads: bool
    queue: bool


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the hub has in memory about an item's students."""

    now: datetime
    running: frozenset[str]
    asks: Mapping[str, str]
    queue: tuple[object, ...]


@dataclass(slots=True, eq=False)
class LiveBoard:
    """The board of one item. :meth:`update` runs in a thread, one at a time; the rest on the loop.

    ``run_id`` tells the versions of this object from those of another hub's.
    """

    item: str
    secret: bytes
    render: Renderer
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))
    version: int = 0
    _next: int = 1
    columns: tuple[Column, ...] = ()
    heads: tuple[Head, ...] = ()
    viewers: int = 0
    _heads_at: int = 0
    _queue: tuple[object, ...] = ()
    _queue_at: int = 0
    _read_until: datetime | None = None
    _whole_at: datetime | None = None
    _reports: defaultdict[str, dict[str, CheckRow]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _shares: dict[str, Share] = field(default_factory=dict)
    _shown: dict[str, Shown] = field(default_factory=dict)
    _gone: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def lines(self) -> list[Shown]:
        """Return all lines, in the board's order."""
        return sorted(self._shown.values(), key=lambda shown: order_of(shown.line, shown.key))

    def since(self, version: int) -> Changes:
        """Return what has changed after a version; 0 for all."""
        # Copies, since a thread may add to these.
        newer = tuple(each for each in list(self._shown.values()) if each.version > version)
        gone = tuple(key for key, at in list(self._gone.items()) if at > version)
        return Changes(newer, gone, self._heads_at > version, self._queue_at > version)

    async def news(self, version: int, seconds: float) -> bool:
        """Wait until the board is newer than a version, or a stream ends; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self.version <= version:
                    await self._changed.wait()
        return self.version > version

    def tell(self) -> None:
        """Wake the pages that wait for news."""
        self._changed.set()
        self._changed = asyncio.Event()

    def update(self, board: Board, checks: ItemChecks, facts: _Facts) -> bool:
        """Read the reports, and make the lines that differ; return whether any does. Blocks."""
        columns, self._next = checks.of(self.item), self.version + 1
        if columns != self.columns:  # pages that are open load the new table
            self.run_id = secrets.token_hex(6)
            self.columns, self._read_until, self._whole_at = columns, None, None
            self._reports.clear()
            self._shares.clear()
            self._shown.clear()
        whole = self._whole_at is None or facts.now - self._whole_at >= _WHOLE
        if whole:
            self._whole_at = facts.now
        since = self._read_until and self._read_until - (_WHOLE_AGAIN if whole else _AGAIN)
        changed = self._take_reports(board.checks(self.item, since), facts.now)
        news = self._take_lines(changed, facts, whole=whole)
        if changed or not self.version:
            self._shares.update({user: share_of(self._reports[user]) for user in changed})
            heads = heads_of(columns, self._shares.values())
            if heads != self.heads:
                self.heads, self._heads_at, news = heads, self._next, True
        if facts.queue != self._queue:
            self._queue, self._queue_at, news = facts.queue, self._next, True
        if not news and self.version:
            return False
        self.version = self._next  # the last step: pages may read meanwhile
        return True

    def read_all_next(self) -> None:
        """Have the next update read all reports: some may be written long after their time."""
        self._read_until = None

    def _take_reports(self, read: Iterable[CheckRow], now: datetime) -> set[str]:
        """Remember reports; return the users who have different ones now."""
        changed, newest = set(), self._read_until or now
        for row in read:
            reports = self._reports[row.username]
            newest = max(newest, row.last_at)
            if reports.get(row.label) != row:
                reports[row.label] = row
                changed.add(row.username)
        self._read_until = min(now, newest)
        return changed

    def _take_lines(self, changed: Set[str], facts: _Facts, *, whole: bool) -> bool:
        """Make the lines of those that have changed; with ``whole`` all, as time changes them too.

        Return whether any line differs.
        """
        users = self._reports.keys() | facts.running | facts.asks.keys()
        news = False
        for user in users:
            running, asks = user in facts.running, facts.asks.get(user, "")
            known = self._shown.get(user)
            same = known is not None and (known.line.running, known.line.asks) == (running, asks)
            if same and not whole and user not in changed:
                continue
            reports = self._reports.get(user, {})
            line = line_of(user, self.columns, reports, facts.now, running=running, asks=asks)
            if known is None or known.line != line:
                self._shown[user], news = self._made(line), True
        for user in self._shown.keys() - users:
            self._gone[self._shown.pop(user).key], news = self._next, True
        return news

    def _made(self, line: Line) -> Shown:
        text = f"{self.item}\0{line.user}".encode()
        key = hmac.digest(self.secret, text, hashlib.sha256).hex()[:16]
        self._gone.pop(key, None)
        html = {view: self.render(self.item, key, line, view) for view in View}
        return Shown(key, line, self._next, html)


def order_of(line: Line, key: str) -> str:
    """Return the text by which a page sorts a line."""
    since = f"{line.since.timestamp():014.2f}" if line.since is not None else "9"
    return f"{line.order.value} {since} {key}"


@dataclass(slots=True, eq=False)
class Stream:
    """One open page of a board; ``replaced`` if the person has opened too many since."""

    live: LiveBoard
    replaced: bool = False


class Boards:
    """The boards that are looked at, for one event loop; :meth:`run` keeps them current.

    With ``shared`` other hubs write reports too.

    Mutable state: ``_live``, the boards by item, the last used last, ``_streams``, the open pages
    by user, the oldest first, and ``_stale``, the items with news.
    """

    def __init__(
        self,
        board: Board,
        checks: ItemChecks,
        desk: HelpDesk,
        pool: SessionManager,
        clock: Clock,
        *,
        secret: str,
        render: Renderer,
        shared: bool,
    ) -> None:
        self._board = board
        self._checks = checks
        self._desk = desk
        self._pool = pool
        self._clock = clock
        self._secret = hmac.digest(secret.encode(), b"lines of a board", hashlib.sha256)
        self._render = render
        self._seconds = _SHARED_SECONDS if shared else _LOOK_SECONDS
        self._live: dict[str, LiveBoard] = {}
        self._streams: defaultdict[str, list[Stream]] = defaultdict(list)
        self._stale: set[str] = set()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self.closed = False

    def note(self, item: str) -> None:
        """Have the board of an item read again, if it is looked at."""
        if item in self._live:
            self._stale.add(item)
            self._news.set()

    async def look(self, item: str) -> LiveBoard:
        """Return the board of an item as it is now."""
        live = self._live.pop(item, None)
        live = live or LiveBoard(item, self._secret, self._render)
        self._live[item] = live
        if live.viewers == 0 or not live.version:
            await self._update(live)
        unused = [each.item for each in self._live.values() if not each.viewers and each != live]
        for name in unused[: max(0, len(self._live) - _MOST_BOARDS)]:
            del self._live[name]
        return live

    def demand_room(self) -> None:
        """Refuse a page beyond the limit. Raises: Busy."""
        if self.closed or sum(each.viewers for each in self._live.values()) >= MOST_VIEWERS:
            raise Busy("Too many boards are open.", hint="Reload this one to see news.")

    @contextmanager
    def watching(self, live: LiveBoard, username: str) -> Iterator[Stream]:
        """Keep a board current while the block runs; the person's oldest stream may end."""
        streams, stream = self._streams[username], Stream(live)
        streams.append(stream)
        live.viewers += 1
        if len(streams) > MOST_OF_ONE:
            streams[0].replaced = True
            streams[0].live.tell()
        try:
            yield stream
        finally:
            streams.remove(stream)
            live.viewers -= 1
            if not streams:
                self._streams.pop(username, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the boards that are looked at current until ``stop`` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._seconds)
            stale = set(self._stale) if self._news.is_set() else set(self._live)
            self._news.clear()
            self._stale.clear()
            for live in [each for each in self._live.values() if each.viewers]:
                if live.item in stale:
                    await self._update_safely(live)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LEAST_SECONDS)

    def close(self) -> None:
        """End all streams, since the hub stops."""
        self.closed = True
        self._news.set()
        for live in self._live.values():
            live.version += 1
            live.tell()

    async def _update_safely(self, live: LiveBoard) -> None:
        try:
            await self._update(live)
        except MograderError as error:
            live.read_all_next()
            _log.warning("the board of %s could not be read: %s", live.item, error)
        except Exception:  # noqa: BLE001 - the loop must go on after an error
            _log.exception("the board of %s could not be read", live.item)

    async def _update(self, live: LiveBoard) -> None:
        async with self._turn:
            facts = self._facts(live.item)
            if await asyncio.to_thread(live.update, self._board, self._checks, facts):
                live.tell()

    def _facts(self, item: str) -> _Facts:
        requests = self._desk.requests(item)
        keys = (live.key for live in self._pool.all())
        return _Facts(
            now=self._clock.now(),
            running=frozenset(
                key.user for key in keys if key.item == item and key.mode is Mode.EDIT
            ),
            asks={each.username: "taken" if each.helper else "waiting" for each in requests},
            queue=(*requests, *self._desk.messages(item)),
        )
