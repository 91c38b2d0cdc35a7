"""The marks that students may see: the table ``mark_releases`` of the gradebook.

Rows are only added. A row releases one student's marks of an assignment from a time on, or takes
them back; :func:`standing` returns what all rows of a student mean at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, insert, select
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.clock import utc_iso
from mograder.store.gradebook import Gradebook
from mograder.store.marking_tables import mark_releases


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A row to add: the JSON of a student's marks, visible from an aware time on.

    ``visible_from`` None takes the student's marks back.
    """

    student: str
    visible_from: datetime | None
    grade: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A row as it is kept; both times are aware."""

    number: int
    assignment: str
    student: str
    visible_from: datetime | None
    note: str
    grade: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """The meaning at a time of the rows of a student and an assignment.

    Attributes:
        shown: The release that the student sees, None if there is none.
        waiting: A release that will be visible later, unless another row is added before.
        taken_back: The row that took back what the student saw, unless it is shown again.
    """

    shown: ReleaseRow | None = None
    waiting: ReleaseRow | None = None
    taken_back: ReleaseRow | None = None


class MarkReleases:
    """The releases of a gradebook."""

    def __init__(self, book: Gradebook) -> None:
        self._book = book

    def add(
        self, assignment: str, news: Iterable[NewRelease], *, by: str, at: datetime, note: str = ""
    ) -> None:
        """Add rows, all or none of them.

        Raises: :class:`Busy` when the gradebook is locked or the disk is full.
        """
        with self._book.writing() as connection:
            for each in news:
                insert_release(connection, assignment, each, by=by, at=at, note=note)

    def rows(self, assignment: str) -> Mapping[str, Sequence[ReleaseRow]]:
        """Return the rows of an assignment by student, oldest first."""
        return _grouped(self._read(mark_releases.c.assignment == assignment), "student")

    def rows_of(self, student: str) -> Mapping[str, Sequence[ReleaseRow]]:
        """Return the rows of a student by assignment, oldest first."""
        return _grouped(self._read(mark_releases.c.student == student), "assignment")

    def rows_for(self, assignment: str, student: str) -> Sequence[ReleaseRow]:
        """Return the rows of a student and an assignment, oldest first."""
        table = mark_releases.c
        return self._read((table.assignment == assignment) & (table.student == student))

    def newest(self) -> Mapping[str, int]:
        """Return the number of each assignment's newest row, which is another after any change."""
        table = mark_releases.c
        wanted = select(table.assignment, func.max(table.id).label("newest")).group_by(
            table.assignment
        )
        with self._book.reading() as connection:
            return {row.assignment: row.newest for row in connection.execute(wanted)}

    def _read(self, where: ColumnElement[bool]) -> tuple[ReleaseRow, ...]:
        wanted = select(mark_releases).where(where).order_by(mark_releases.c.id)
        with self._book.reading() as connection:
            return tuple(map(_row, connection.execute(wanted).mappings()))


def insert_release(
    connection: Connection,
    assignment: str,
    new: NewRelease,
    *,
    by: str,
    at: datetime,
    note: str = "",
) -> None:
    """Add a row in a transaction of the gradebook."""
    visible = None if new.visible_from is None else utc_iso(new.visible_from)
    values = {
        "assignment": assignment,
        "student": new.student,
        "visible_from": visible,
        "note": note,
        "grade": new.grade,
        "by": by,
        "at": utc_iso(at),
    }
    connection.execute(insert(mark_releases).values(values))


def standing(rows: Sequence[ReleaseRow], now: datetime) -> Standing:
    """Return what a student's rows, oldest first, mean at a time.

    A release that waits for its time is cancelled by any later row, so that a release can be put
    off; marks that were visible before stay visible until then.
    """
    shown: ReleaseRow | None = None
    waiting: ReleaseRow | None = None
    taken_back: ReleaseRow | None = None
    for row in rows:
        if waiting is not None and _begins(waiting) <= row.at:
            shown, taken_back = waiting, None
        waiting = None
        if row.visible_from is None:
            seen = shown is not None or taken_back is not None
            shown, taken_back = None, row if seen else None
        elif row.visible_from <= row.at:
            shown, taken_back = row, None
        else:
            waiting = row
    if waiting is not None and _begins(waiting) <= now:
        shown, waiting, taken_back = waiting, None, None
    return Standing(shown, waiting, taken_back)


def _begins(row: ReleaseRow) -> datetime:
    return row.visible_from or row.at


def _grouped(rows: Iterable[ReleaseRow], by: str) -> Mapping[str, Sequence[ReleaseRow]]:
    found: defaultdict[str, list[ReleaseRow]] = defaultdict(list)
    for row in rows:
        found[getattr(row, by)].append(row)
    return found


def _row(row: RowMapping) -> ReleaseRow:
    visible = row["visible_from"]
    return ReleaseRow(
        row["id"],
        row["assignment"],
        row["student"],
        None if visible is None else datetime.fromisoformat(visible),
        row["note"],
        row["grade"],
        row["by"],
        datetime.fromisoformat(row["at"]),
    )
