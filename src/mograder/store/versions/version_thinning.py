"""Thinning: removing versions as they grow old, and from copies that have far too many.

All of the last day stay, then one of ten minutes for a week, of an hour for a month, of a day
after that. The first and the newest always stay. As long as there is room, each stays that was
replaced by a reset, a restored version, an upload or a merge, or that a page handed in later. A
version from which the difference of one that stays is stored stays with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Row,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
)

from mograder.store.database.database import Tables, reading, writing
from mograder.store.versions.version_texts import version_checks, version_copies, versions
from mograder.store.versions.versions import (
    MOST_BYTES,
    MOST_VERSIONS,
    ORIGINS,
    REPLACING,
    UNCHANGED,
    Origin,
    milliseconds,
)

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_AGES = ((_DAY, 1), (7 * _DAY, 10 * _MINUTE), (30 * _DAY, _HOUR))
"""Up to each age, one version of so many milliseconds stays; beyond the last, one of a day."""

_COARSER = (
    (10 * _SECOND, 200),
    (_MINUTE, 100),
    (10 * _MINUTE, 50),
    (_HOUR, 10),
    (_DAY, 0),
)
"""What is tried one after the other where there are too many versions: an interval of which at most
one stays, and how many of those stay that were replaced."""

_ROOM = 3 / 4
"""Part of the most versions and bytes that stays where there are too many."""

_MOST_LEFT = _ROOM * MOST_BYTES
_LOOK_AGAIN = 20 * _HOUR
_LOOK_AGAIN_FULL = 10 * _MINUTE
_SETTLED = 31 * _DAY
_REMOVED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class VersionMark:
    """What decides whether a version stays; ``saved`` is in milliseconds since 1970."""

    number: int
    saved: int
    replaced: bool
    """Whether it was replaced (:data:`REPLACING`), or never was the file's text (``UNSAVED``)."""


class Thinning(Tables):
    """Thins the versions of copies; synchronous, for one thread at a time.

    Other threads and hubs may record versions meanwhile: a copy that changes is left for later.
    """

    def due(self, now: datetime, limit: int) -> tuple[int, ...]:
        """Return copies that may have versions to remove, those looked at longest ago first."""
        c, at = version_copies.c, milliseconds(now)
        full = or_(c.kept > MOST_VERSIONS, c.bytes > MOST_BYTES)
        aged = and_(c.thinned < at - _LOOK_AGAIN, c.thinned < c.saved + _SETTLED)
        flooded = and_(full, c.thinned < at - _LOOK_AGAIN_FULL, c.thinned < c.saved)
        wanted = select(c.copy).where(c.kept > 2, or_(aged, flooded))
        return tuple(self._values(wanted.order_by(c.thinned).limit(limit)))

    def thin(self, copy: int, now: datetime) -> int:
        """Return how many versions of a copy were removed."""
        with reading(self._engine) as connection:
            head = connection.execute(_HEAD, {"which": copy}).one_or_none()
            rows = connection.execute(_ROWS, {"which": copy}).all()
        if head is None or not rows:
            return 0
        full = head.kept > MOST_VERSIONS or head.bytes > MOST_BYTES
        at, stay = milliseconds(now), set[int]()
        for interval, replaced in ((1, len(rows)), *(_COARSER if full else ())):
            stay = staying(_marks(rows), at, interval, replaced)
            for row in reversed(rows):  # also those that they are stored as differences from
                if row.base and row.number in stay:
                    stay.add(row.base)
            left = sum(row.length for row in rows if row.number in stay)
            if not full or (len(stay) <= _ROOM * MOST_VERSIONS and left <= _MOST_LEFT):
                break
        return self._remove(head, [row for row in rows if row.number not in stay], at)

    def _remove(
        self, head: Row[*tuple[Any, ...]], gone: Sequence[Row[*tuple[Any, ...]]], at: int
    ) -> int:
        counted = {
            "which": head.copy,
            "expected": head.newest,
            "before": head.kept,
            "after": head.kept - len(gone),
            "less": sum(row.length for row in gone),
            "at": at,
        }
        with writing(self._engine) as connection:
            if not connection.execute(_COUNT, counted).rowcount:
                return 0  # something was recorded meanwhile
            for start in range(0, len(gone), _REMOVED_AT_ONCE):
                numbers = [row.number for row in gone[start : start + _REMOVED_AT_ONCE]]
                which = versions.c.copy == head.copy, versions.c.number.in_(numbers)
                connection.execute(delete(versions).where(*which))
            left = select(versions.c.digest).where(versions.c.copy == head.copy)
            c = version_checks.c
            unused = delete(version_checks).where(c.copy == head.copy, c.digest.not_in(left))
            connection.execute(unused)
        return len(gone)


def staying(marks: Sequence[VersionMark], now: int, interval: int, most_replaced: int) -> set[int]:
    """Return the numbers of the versions that stay, of all versions of a copy, the oldest first.

    ``now`` is in milliseconds since 1970. Of each ``interval`` at most one stays, also of the last
    day, and of the replaced versions the newest so many.
    """
    if not marks:
        return set()
    last_of: dict[tuple[int, int], int] = {}
    for mark in marks:
        step = max(interval, _step(now - mark.saved))
        last_of[step, mark.saved // step if step > 1 else mark.number] = mark.number
    replaced = [mark.number for mark in marks if mark.replaced]
    replaced = replaced[max(0, len(replaced) - most_replaced) :]
    return {*last_of.values(), *replaced, marks[0].number, marks[-1].number}


def _step(age: int) -> int:
    return next((step for most, step in _AGES if age <= most), _DAY)


def _marks(rows: Sequence[Row[*tuple[Any, ...]]]) -> list[VersionMark]:
    marks, replaced = list[VersionMark](), False
    for row in reversed(rows):
        origin = ORIGINS[row.origin]
        unsaved = origin is Origin.UNSAVED
        marks.append(VersionMark(row.number, row.saved, replaced or unsaved))
        replaced = replaced if unsaved else origin in REPLACING  # an unsaved text replaces none
    return marks[::-1]


_HEAD = select(version_copies).where(version_copies.c.copy == bindparam("which"))
_ROWS = (
    select(
        versions.c.number,
        versions.c.saved,
        versions.c.origin,
        versions.c.base,
        func.length(versions.c.data).label("length"),
    )
    .where(versions.c.copy == bindparam("which"))
    .order_by(versions.c.number)
)
_COUNT = UNCHANGED.values(
    kept=bindparam("after"),
    bytes=version_copies.c.bytes - bindparam("less"),
    thinned=bindparam("at"),
)
