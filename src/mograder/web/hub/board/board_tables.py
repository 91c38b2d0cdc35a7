"""The tables of boards as pages show them: made at most once a second, for all viewers.

A student's *progress* is the time of the last check that passed, or else of the first report. A
check took the time from the progress before it to its own success.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import statistics
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum

from anyio import to_thread
from markupsafe import Markup

from mograder.core.clock import Clock
from mograder.core.name_lookup import counted
from mograder.core.names import is_rehearsal
from mograder.hub.help_desk import HelpDesk
from mograder.hub.items import Column, ItemChecks
from mograder.sandbox.protocol import Mode
from mograder.sessions.manager import SessionManager
from mograder.store.hub.board import Board, CheckRow
from mograder.web.pages import Pages

_MOST_KEPT = 60

_LEAST_SECONDS, _LONGEST_SECONDS = 1.0, 10.0
"""The shortest time between two readings of an item, and how long one counts without news: a
student becomes quiet by time alone.
"""

_REST, _LONGEST_REST = 4, 3.0
"""The time between two readings, in times of what the last one and its tables took, and the
longest: a class of a thousand takes half a second, but a helper who presses a button waits too.
"""

QUIET = timedelta(minutes=15)
"""A student without a report for this long is not taken as stuck."""

_WORDS = {"success": "passed", "partial": "partial", "danger": "failed", "warn": "waiting"}
_SIGNS = {"passed": "✓", "partial": "◐", "failed": "✗", "waiting": "…", "none": ""}


class Order(IntEnum):
    STUCK = 0
    """At work, with a check that has not passed; the one without progress for longest first."""
    QUIET = 1
    AWAY = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """One check of one student: a word for the style, a sign, and the sentence."""

    kind: str
    sign: str
    attempts: int
    told: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One student.

    ``since`` is the student's progress while there is something left to do, ``at`` the check that
    failed last. ``asks`` is the state of a request for help: "", "waiting" or "taken".
    """

    user: str
    order: Order
    since: datetime | None
    at: str
    passed: int
    cells: tuple[Cell, ...]
    running: bool
    asks: str

    @property
    def stuck(self) -> bool:
        return self.order is Order.STUCK


@dataclass(frozen=True, slots=True)
class Head:
    """One check: how many have passed it, how many tried, and the median time in seconds."""

    column: Column
    passed: int
    tried: int
    median: float | None


Reports = Mapping[str, CheckRow]


class View(StrEnum):
    """The forms of a line: with a link to the copy, with the name only, and without any name."""

    LINKED = "linked"
    NAMED = "named"
    NAMELESS = "nameless"


@dataclass(frozen=True, slots=True)
class Table:
    students: int
    has_checks: bool
    heads: Markup
    lines: Markup


@dataclass(frozen=True, slots=True)
class _Class:
    at: datetime
    heads: tuple[Head, ...] = ()
    lines: tuple[Line, ...] = ()


_NOTHING = _Class(datetime.min.replace(tzinfo=UTC))


@dataclass(slots=True)
class _Kept:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = float("-inf")
    as_of: float = 0.0
    """The Unix time at which the reading began: news that came while it was read count."""
    took: float = 0.0
    """The seconds of the reading and of its tables."""
    found: _Class = _NOTHING
    tables: dict[View, Table] = field(default_factory=dict)


class BoardTables:
    """The tables of all items, for one event loop; ``_kept`` is mutable, the last used last."""

    def __init__(
        self,
        board: Board,
        checks: ItemChecks,
        desk: HelpDesk,
        pool: SessionManager,
        clock: Clock,
        pages: Pages,
        secret: str,
        changed_at: Callable[[str], float],
    ) -> None:
        """``changed_at`` returns the Unix time of the last change of an item's board."""
        self._board = board
        self._checks = checks
        self._desk = desk
        self._pool = pool
        self._clock = clock
        self._pages = pages
        self._secret = hmac.digest(secret.encode(), b"lines of a board", hashlib.sha256)
        self._changed_at = changed_at
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def look(self, item: str, view: View) -> Table:
        """Return the table as it is now: within a second, or some for a large class."""
        kept = self._of(item)
        async with kept.turn:
            if self._changed_at(item) >= kept.as_of or _age(kept) > _LONGEST_SECONDS:
                rest = max(_LEAST_SECONDS, min(_REST * kept.took, _LONGEST_REST))
                await asyncio.sleep(rest - _age(kept))
                await self._read_again(item, kept)
            if view not in kept.tables:
                begun = _now()
                kept.tables[view] = await to_thread.run_sync(self._made, item, view, kept.found)
                kept.took += _now() - begun
            return kept.tables[view]

    async def lines(self, item: str) -> tuple[Line, ...]:
        kept = self._of(item)
        async with kept.turn:
            if _age(kept) > _LONGEST_SECONDS:
                await self._read_again(item, kept)
            return kept.found.lines

    def _of(self, item: str) -> _Kept:
        kept = self._kept.setdefault(item, _Kept())
        self._kept.move_to_end(item)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return kept

    async def _read_again(self, item: str, kept: _Kept) -> None:
        begun, as_of = _now(), time.time()
        running, requests = self.running(item), self._desk.requests(item)
        asks = {each.username: "taken" if each.helper else "waiting" for each in requests}
        kept.found = await to_thread.run_sync(self._read, item, running, asks)
        kept.as_of, kept.read_at = as_of, _now()
        kept.took = kept.read_at - begun
        kept.tables.clear()

    def running(self, item: str) -> frozenset[str]:
        keys = (live.key for live in self._pool.all() if not is_rehearsal(live.key.user))
        return frozenset(key.user for key in keys if key.item == item and key.mode is Mode.EDIT)

    def _read(self, item: str, running: frozenset[str], asks: Mapping[str, str]) -> _Class:
        now, columns = self._clock.now(), self._checks.of(item)
        reports: defaultdict[str, dict[str, CheckRow]] = defaultdict(dict)
        for row in self._board.checks(item):
            reports[row.username][row.label] = row
        lines = [
            line_of(
                user,
                columns,
                reports.get(user, {}),
                now,
                running=user in running,
                asks=asks.get(user, ""),
            )
            for user in reports.keys() | running | asks.keys()
        ]
        lines.sort(key=lambda line: self._place(item, line))
        heads = heads_of(columns, reports.values())
        return _Class(now, heads, tuple(lines))

    def _place(self, item: str, line: Line) -> tuple[int, float, bytes]:
        """Return the place of a line; those of equal students follow no order of their names."""
        since = line.since.timestamp() if line.since is not None else float("inf")
        text = f"{item}\0{line.user}".encode()
        return line.order.value, since, hmac.digest(self._secret, text, hashlib.sha256)

    def _made(self, item: str, view: View, found: _Class) -> Table:
        heads = self._pages.render(
            "_board_head.html", "", heads=found.heads, students=len(found.lines), span=span
        )
        lines = self._pages.render(
            "_board_lines.html", "", item=item, lines=found.lines, view=view.value, now=found.at
        )
        # Made by templates, which escape.
        return Table(len(found.lines), bool(found.heads), Markup(heads), Markup(lines))  # noqa: S704


def line_of(
    user: str,
    columns: Sequence[Column],
    reports: Reports,
    now: datetime,
    *,
    running: bool,
    asks: str = "",
) -> Line:
    known = [reports.get(column.label) for column in columns]
    there = [row for row in known if row is not None]
    done = bool(columns) and all(row is not None and row.passed_at for row in known)
    passed = [row.passed_at for row in there if row.passed_at is not None]
    since = max(passed) if passed else min((row.first_at for row in there), default=None)
    open_ = [row for row in there if row.passed_at is None and row.attempts]
    last = max((row.last_at for row in there), default=None)
    order = Order.DONE if done else Order.QUIET if running else Order.AWAY
    if order is Order.QUIET and last is not None and now - last < QUIET:
        order = Order.STUCK
    return Line(
        user=user,
        order=order,
        since=None if done else since,
        at=max(open_, key=lambda row: row.last_at).label if open_ else "",
        passed=len(passed),
        cells=tuple(_cell(row) for row in known),
        running=running,
        asks=asks,
    )


def heads_of(columns: Sequence[Column], students: Iterable[Reports]) -> tuple[Head, ...]:
    took: dict[str, list[float]] = {column.label: [] for column in columns}
    tried: Counter[str] = Counter()
    for reports in students:
        tried.update(label for label, row in reports.items() if row.attempts)
        before = min((row.first_at for row in reports.values()), default=None)
        times = [(row.passed_at, label) for label, row in reports.items() if row.passed_at]
        for at, label in sorted(times):
            if label in took:
                took[label].append(max(0.0, (at - before).total_seconds()) if before else 0.0)
            before = at
    return tuple(
        Head(
            column,
            len(took[column.label]),
            tried[column.label],
            statistics.median(took[column.label]) if took[column.label] else None,
        )
        for column in columns
    )


def span(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return "under 1 min"
    return f"about {minutes} min" if minutes < 100 else f"about {round(minutes / 60)} h"


def _age(kept: _Kept) -> float:
    return _now() - kept.read_at


def _now() -> float:
    return asyncio.get_running_loop().time()


def _cell(row: CheckRow | None) -> Cell:
    kind = "none" if row is None else _WORDS.get(row.status, "none")
    if row is None or kind == "none":
        return Cell("none", "", 0, "not run yet")
    tries = counted(row.attempts, "attempt")
    told = {"passed": f"passed, {tries}", "waiting": "waits for code"}.get(kind)
    if kind != "passed" and row.passed_at is not None:
        told = f"passed before, does not now, {tries}"
    label = row.label if kind in ("failed", "partial") else ""
    return Cell(kind, _SIGNS[kind], row.attempts, told or f"{kind}, {tries}", label)
