"""The marks that students may see: the table ``mark_releases`` of the gradebook.

Rows are only added. A row releases one student's marks of an assignment from a time on, or takes
them back; :func:`standing` returns what all rows of a student mean at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Select,
    String,
    case,
    func,
    insert,
    literal,
    select,
    tuple_,
    type_coerce,
)

from mograder.core.errors import Conflict
from mograder.store.database.database import values_of
from mograder.store.gradebook.gradebook import OfBook
from mograder.store.gradebook.gradebook_tables import (
    answer_annotations,
    extensions,
    group_members,
    late_policies,
    mark_releases,
    question_marks,
    rubrics,
    saved_comments,
)

_ROWS = select(mark_releases)


@dataclass(frozen=True, slots=True)
class NewRelease:
    """The JSON of a student's marks, visible from an aware time on; None takes them back."""

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
    """The meaning at a time of the rows of a student and an assignment."""

    shown: ReleaseRow | None = None
    waiting: ReleaseRow | None = None
    """A release that will be visible later, unless another row is added before."""
    taken_back: ReleaseRow | None = None
    """The row that took back what the student saw, unless it is shown again."""


class MarkReleases(OfBook):
    def add(
        self,
        assignment: str,
        news: Iterable[NewRelease],
        *,
        seen: int,
        by: str,
        at: datetime,
        note: str = "",
    ) -> None:
        """Add all rows or none. Raises: Conflict if ``seen`` is not the newest row, 0 for none."""
        newest = select(func.max(mark_releases.c.id)).filter_by(assignment=assignment)
        with self._book.writing() as connection:
            if (connection.execute(newest).scalar() or 0) != seen:
                raise Conflict(
                    f"Marks of {assignment} were released or taken back meanwhile: "
                    "nothing was changed.",
                    hint="Look at what students see now, then try again.",
                )
            insert_releases(connection, assignment, news, by=by, at=at, note=note)

    def rows(self, assignment: str) -> Mapping[str, Sequence[ReleaseRow]]:
        return _grouped(self._read(_ROWS.filter_by(assignment=assignment)), "student")

    def since(self, at: datetime) -> Mapping[tuple[str, str], Sequence[ReleaseRow]]:
        """Return the rows of students with one that was added or becomes visible since ``at``."""
        c = mark_releases.c
        recent = select(c.assignment, c.student).where((c.at >= at) | (c.visible_from >= at))
        rows = self._read(_ROWS.where(tuple_(c.assignment, c.student).in_(recent)))
        return _grouped(rows, "assignment", "student")

    def rows_of(self, student: str) -> Mapping[str, Sequence[ReleaseRow]]:
        return _grouped(self._read(_ROWS.filter_by(student=student)), "assignment")

    def shown(self, now: datetime, student: str | None = None) -> frozenset[tuple[str, str]]:
        """Return the assignments and students of marks that are visible; the marks are not read."""
        c, no = mark_releases.c, literal("")
        wanted = select(c.id, c.assignment, c.student, c.visible_from, no, no, no, c.at)
        if student is not None:
            wanted = wanted.where(c.student == student)
        rows = _grouped(self._read(wanted), "assignment", "student")
        return frozenset(key for key, found in rows.items() if standing(found, now).shown)

    def rows_for(self, assignment: str, student: str) -> Sequence[ReleaseRow]:
        return self._read(_ROWS.filter_by(assignment=assignment, student=student))

    def newest(self) -> Mapping[str, int]:
        """Return the number of each assignment's newest row, which is another after any change."""
        c = mark_releases.c
        wanted = select(c.assignment, func.max(c.id)).group_by(c.assignment)
        with self._book.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(wanted)}

    def changed_since(self, assignment: str) -> frozenset[str]:
        """Return the students whose records changed after their last release.

        They are those of marks, of what people say about them, and of late work.

        Their marks may be other ones than those released. Those of the others are the same, unless
        the settings or the times of submission changed, or other work used late days of the term.
        """
        with self._book.reading() as connection:
            last = {row.student: row for row in connection.execute(_newest_of(assignment))}
            begin = min((row.at for row in last.values()), default="")
            if not last or _last_change_for_all(connection, assignment) >= begin:
                return frozenset(last)
            # By number: a mark may have its time, and wait for its turn until after the release.
            given = connection.execute(_last_by_student(question_marks.c.id, assignment))
            found = {name for name, mark in given if name in last and mark > last[name].mark}
            said = connection.execute(_last_by_student(answer_annotations.c.at, assignment))
            found |= {name for name, at in said if name in last and at >= last[name].at}
            return frozenset(found)

    def _read(self, wanted: Select[Any]) -> tuple[ReleaseRow, ...]:
        with self._book.reading() as connection:
            found = connection.execute(wanted.order_by(mark_releases.c.id))
            return tuple(ReleaseRow(*row) for row in found)


def _newest_of(assignment: str) -> Select[Any]:
    """Return a query for each student's newest release: its time as a text, and its newest mark.

    The number of the mark is -1 in damaged ones. Students whose marks are taken back are left out.
    """
    c = mark_releases.c
    newest = select(func.max(c.id)).where(c.assignment == assignment).group_by(c.student)
    is_json = func.json_valid(c.grade) == 1
    mark = func.coalesce(case((is_json, func.json_extract(c.grade, "$.grade.version"))), -1)
    at = type_coerce(c.at, String)
    wanted = select(c.student, at.label("at"), mark.label("mark"))
    return wanted.where(c.id.in_(newest), c.visible_from.is_not(None))


def _last_by_student(column: Column[Any], assignment: str) -> Select[Any]:
    """Return a query for each student and the greatest value of a column."""
    rows = column.table.c
    wanted = select(rows.student, func.max(column)).where(rows.assignment == assignment)
    return wanted.group_by(rows.student)


def _last_change_for_all(connection: Connection, assignment: str) -> str:
    """Return when late work, or a saved comment of the assignment, was changed last."""
    comments, starts = saved_comments.c, rubrics.c
    first = select(func.min(comments.id)).group_by(comments.comment)
    changed = select(func.max(comments.at)).where(
        comments.assignment == assignment, comments.id.not_in(first)
    )
    started = select(func.max(starts.at)).where(starts.assignment == assignment)
    late = (select(func.max(each.c.at)) for each in (extensions, group_members, late_policies))
    newest = (connection.execute(each).scalar() for each in (changed, started, *late))
    return max(each or "" for each in newest)


def insert_releases(
    connection: Connection,
    assignment: str,
    news: Iterable[NewRelease],
    *,
    by: str,
    at: datetime,
    note: str = "",
) -> None:
    made = {"assignment": assignment, "note": note, "by": by, "at": at}
    rows = [{**made, **values_of(new)} for new in news]
    if rows:
        connection.execute(insert(mark_releases), rows)


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


def _grouped(rows: Iterable[ReleaseRow], *by: str) -> Mapping[Any, Sequence[ReleaseRow]]:
    found, key = defaultdict[Any, list[ReleaseRow]](list), attrgetter(*by)
    for row in rows:
        found[key(row)].append(row)
    return found
