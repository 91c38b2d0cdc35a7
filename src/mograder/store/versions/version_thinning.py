"""Thinning: removing versions as they grow old, and from copies that have far too many.

All of the last day stay, then one of ten minutes for a week, of an hour for a month, of a day
after that. The first and the newest always stay. As long as there is room, each stays that was
replaced by a reset, a restored version, an upload or a merge, or that a page handed in later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from mograder.core.log import get_logger
from mograder.store.database.database import reading, writing
from mograder.store.versions.version_chains import StoredText, deepest, verified, whole
from mograder.store.versions.version_deltas import Damaged, compress, expand
from mograder.store.versions.version_tables import version_copies, versions
from mograder.store.versions.versions import (
    MOST_BYTES,
    MOST_VERSIONS,
    ORIGINS,
    REPLACING,
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
_READ_AT_ONCE = 100
_REMOVED_AT_ONCE = 500

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VersionMark:
    """What decides whether a version stays; ``saved`` is in milliseconds since 1970."""

    number: int
    saved: int
    replaced: bool
    """Whether it was replaced (:data:`REPLACING`), or never was the file's text (``UNSAVED``)."""


@dataclass(frozen=True, slots=True)
class Thinned:
    """The outcome for one copy: the number of versions removed, and of bytes freed."""

    removed: int = 0
    freed: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """The versions of a copy that stay, and how those are stored whose base goes.

    ``full`` says that there are too many versions, or bytes of them.
    """

    stay: set[int]
    links: Mapping[int, StoredText]
    full: bool

    def bytes(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> int:
        """Return the bytes of the data that are left."""
        left = {row.number: row.length for row in rows if row.number in self.stay}
        return sum((left | {at: len(link.data) for at, link in self.links.items()}).values())


class Thinning:
    """Thins the versions of copies; synchronous, for one thread at a time.

    Other threads and hubs may record versions meanwhile: a copy that changes is left for later.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(self, now: datetime, limit: int) -> tuple[int, ...]:
        """Return copies that may have versions to remove, those looked at longest ago first."""
        c, at = version_copies.c, milliseconds(now)
        full = or_(c.kept > MOST_VERSIONS, c.bytes > MOST_BYTES)
        aged = and_(c.thinned < at - _LOOK_AGAIN, c.thinned < c.saved + _SETTLED)
        flooded = and_(full, c.thinned < at - _LOOK_AGAIN_FULL, c.thinned < c.saved)
        wanted = select(c.copy).where(c.kept > 2, or_(aged, flooded))
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(c.thinned).limit(limit))
            return tuple(row.copy for row in rows)

    def thin(self, copy: int, now: datetime) -> Thinned:
        """Remove the versions of a copy that are not to stay."""
        with reading(self._engine) as connection:
            head = connection.execute(_HEAD, {"which": copy}).one_or_none()
            rows = connection.execute(_ROWS, {"which": copy}).all()
        if head is None or not rows:
            return Thinned()
        for plan in self._plans(head, rows, milliseconds(now)):
            if not plan.full or plan.bytes(rows) <= _MOST_LEFT:
                break
        return self._change(head, rows, plan, now)

    def _plans(
        self, head: Row[*tuple[Any, ...]], rows: Sequence[Row[*tuple[Any, ...]]], now: int
    ) -> Iterator[_Plan]:
        """Yield what may be done to a copy, one after the other more drastic where it is full."""
        full = head.kept > MOST_VERSIONS or head.bytes > MOST_BYTES
        for interval, replaced in ((1, len(rows)), *(_COARSER if full else ())):
            stay = staying(_marks(rows), now, interval, replaced)
            if full and len(stay) > _ROOM * MOST_VERSIONS and interval < _DAY:
                continue
            links = self._linked_anew(head.copy, rows, stay)
            if links is None:
                yield _Plan({row.number for row in rows}, {}, full=False)
                return
            yield _Plan(stay, links, full)

    def _linked_anew(
        self, copy: int, rows: Sequence[Row[*tuple[Any, ...]]], stay: set[int]
    ) -> Mapping[int, StoredText] | None:
        """Return how those versions are stored whose base goes; None if one is damaged."""
        try:
            with reading(self._engine) as connection:
                return dict(_links(rows, stay, lambda at: _texts(connection, copy, at)))
        except Damaged:
            _log.exception("the versions of copy %s are damaged and were not thinned", copy)
            return None

    def _change(
        self,
        head: Row[*tuple[Any, ...]],
        rows: Sequence[Row[*tuple[Any, ...]]],
        plan: _Plan,
        now: datetime,
    ) -> Thinned:
        gone = [row.number for row in rows if row.number not in plan.stay]
        freed = sum(row.length for row in rows) - plan.bytes(rows)
        counted = {
            "which": head.copy,
            "expected": head.newest,
            "before": head.kept,
            "after": head.kept - len(gone),
            "less": freed,
            "at": milliseconds(now),
        }
        with writing(self._engine) as connection:
            if not connection.execute(_COUNT, counted).rowcount:
                return Thinned()  # something was recorded meanwhile
            for start in range(0, len(gone), _REMOVED_AT_ONCE):
                some = gone[start : start + _REMOVED_AT_ONCE]
                which = versions.c.copy == head.copy, versions.c.number.in_(some)
                connection.execute(delete(versions).where(*which))
            if plan.links:
                new = [{"which": head.copy, "old": at, **_new(plan.links[at])} for at in plan.links]
                connection.execute(_RELINK, new)
        return Thinned(len(gone), freed)


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


_HEAD = select(
    version_copies.c.copy,
    version_copies.c.newest,
    version_copies.c.kept,
    version_copies.c.bytes,
).where(version_copies.c.copy == bindparam("which"))
_ROWS = (
    select(
        versions.c.number,
        versions.c.saved,
        versions.c.origin,
        versions.c.base,
        versions.c.depth,
        versions.c.size,
        func.length(versions.c.data).label("length"),
    )
    .where(versions.c.copy == bindparam("which"))
    .order_by(versions.c.number)
)
_COUNT = (
    update(version_copies)
    .where(
        version_copies.c.copy == bindparam("which"),
        version_copies.c.newest == bindparam("expected"),
        version_copies.c.kept == bindparam("before"),
    )
    .values(
        kept=bindparam("after"),
        bytes=version_copies.c.bytes - bindparam("less"),
        thinned=bindparam("at"),
    )
)
_RELINK = (
    update(versions)
    .where(versions.c.copy == bindparam("which"), versions.c.number == bindparam("old"))
    .values(base=bindparam("new_base"), depth=bindparam("new_depth"), data=bindparam("new_data"))
)


def _new(link: StoredText) -> dict[str, Any]:
    return {"new_base": link.base, "new_depth": link.depth, "new_data": link.data}


def _links(
    rows: Sequence[Row[*tuple[Any, ...]]],
    stay: set[int],
    texts: Callable[[int], Iterator[tuple[int, bytes]]],
) -> Iterator[tuple[int, StoredText]]:
    """Yield the number and the new link of each version that stays and whose base goes.

    ``texts`` yields the texts of all versions from one on that needs no other.
    """
    orphans = {row.number for row in rows if row.number in stay and 0 < row.base not in stay}
    if not orphans:
        return
    by_number = {row.number: row for row in rows}
    first = min(orphans)
    while by_number[first].base:
        first = by_number[first].base
    before = (0, b"")
    for number, text in texts(first):
        if number in orphans:
            yield number, _link_to(by_number, number, text, before)
        if number in stay:
            before = number, text


def _link_to(
    rows: Mapping[int, Row[*tuple[Any, ...]]], number: int, text: bytes, before: tuple[int, bytes]
) -> StoredText:
    """Return a version as the difference from the one before it.

    It must not become deeper than it was, since those that build on it keep their depths.
    """
    base, base_text = before
    depth = rows[base].depth + 1 if base else 0
    if base == 0 or depth > min(rows[number].depth, deepest(max(len(text), len(base_text)))):
        return whole(text)
    return StoredText(base, depth, compress(text, base_text))


def _texts(connection: Connection, copy: int, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the text of each version from ``first`` on, which has no base.

    Raises: :class:`Damaged`.
    """
    c = versions.c
    at, before, text = first, 0, b""
    wanted = select(c.number, c.base, c.size, c.digest, c.data).where(c.copy == copy)
    while True:
        some = wanted.where(c.number >= at).order_by(c.number).limit(_READ_AT_ONCE)
        rows = connection.execute(some).all()
        for row in rows:
            if row.base not in (0, before):
                raise Damaged(f"The version {row.number} does not follow the one before it.")
            text = verified(expand(row.data, text if row.base else b"", row.size), row.digest)
            before = row.number
            yield before, text
        if len(rows) < _READ_AT_ONCE:
            return
        at = before + 1
