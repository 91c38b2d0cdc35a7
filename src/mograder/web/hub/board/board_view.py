"""What a board shows, from the reports of its checks. Pure.

A student's *progress* is the time of the last check that passed, or else of the first report. The
time that a check took is the time from the progress before it to its own success.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from mograder.store.hub.board import CheckRow
from mograder.web.hub.core.checks import Column

QUIET = timedelta(minutes=15)
"""A student without a report for this long is not taken as stuck."""

_WORDS = {"success": "passed", "partial": "partial", "danger": "failed", "warn": "waiting"}
_SIGNS = {"passed": "✓", "partial": "◐", "failed": "✗", "waiting": "…", "none": ""}


class Order(IntEnum):
    """The groups in which a board lists students."""

    STUCK = 0
    """At work, with a check that has not passed; the one without progress for longest first."""
    QUIET = 1
    AWAY = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """One check of one student; ``kind`` is a word for the style, ``told`` the sentence.

    ``label`` is the check's if it has run and does not pass.
    """

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
        """Whether the student is listed among those who are at work."""
        return self.order is Order.STUCK


@dataclass(frozen=True, slots=True)
class Head:
    """One check: how many have passed it, how many tried, and the median time in seconds."""

    column: Column
    passed: int
    tried: int
    median: float | None


Reports = Mapping[str, CheckRow]
"""What is known of one student's checks, by label."""


def line_of(
    user: str,
    columns: Sequence[Column],
    reports: Reports,
    now: datetime,
    *,
    running: bool,
    asks: str = "",
) -> Line:
    """Return the line of a student."""
    known = [reports.get(column.label) for column in columns]
    there = [row for row in known if row is not None]
    done = bool(columns) and all(row is not None and row.passed_at for row in known)
    progress = None if done else _progress(there)
    open_ = [row for row in there if row.passed_at is None and row.attempts]
    last = max((row.last_at for row in there), default=None)
    return Line(
        user=user,
        order=_order(now, last, done=done, running=running),
        since=progress,
        at=max(open_, key=lambda row: row.last_at).label if open_ else "",
        passed=sum(row.passed_at is not None for row in there),
        cells=tuple(_cell(row) for row in known),
        running=running,
        asks=asks,
    )


def heads_of(columns: Sequence[Column], students: Iterable[Reports]) -> tuple[Head, ...]:
    """Return the checks with the numbers of all students."""
    took: dict[str, list[float]] = {column.label: [] for column in columns}
    tried: Counter[str] = Counter()
    for reports in students:
        tried.update(label for label, row in reports.items() if row.attempts)
        for label, seconds in _took(reports).items():
            if label in took:
                took[label].append(seconds)
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
    """Return a time span in words."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "under 1 min"
    return f"about {minutes} min" if minutes < 100 else f"about {round(minutes / 60)} h"


def _order(now: datetime, last: datetime | None, *, done: bool, running: bool) -> Order:
    if done:
        return Order.DONE
    if not running:
        return Order.AWAY
    return Order.STUCK if last is not None and now - last < QUIET else Order.QUIET


def _progress(there: Sequence[CheckRow]) -> datetime | None:
    passed = [row.passed_at for row in there if row.passed_at is not None]
    return max(passed) if passed else min((row.first_at for row in there), default=None)


def _took(reports: Reports) -> Mapping[str, float]:
    """Return how many seconds each passed check took a student."""
    before = min((row.first_at for row in reports.values()), default=None)
    found: dict[str, float] = {}
    times = [(row.passed_at, label) for label, row in reports.items() if row.passed_at]
    for at, label in sorted(times):
        found[label] = max(0.0, (at - before).total_seconds()) if before else 0.0
        before = at
    return found


def _cell(row: CheckRow | None) -> Cell:
    kind = "none" if row is None else _WORDS.get(row.status, "none")
    if row is None or kind == "none":
        return Cell("none", "", 0, "not run yet")
    tries = f"{row.attempts} attempt{'' if row.attempts == 1 else 's'}"
    told = {"passed": f"passed, {tries}", "waiting": "waits for code"}.get(kind)
    if kind != "passed" and row.passed_at is not None:
        told = f"passed before, does not now, {tries}"
    label = row.label if kind in ("failed", "partial") else ""
    return Cell(kind, _SIGNS[kind], row.attempts, told or f"{kind}, {tries}", label)
