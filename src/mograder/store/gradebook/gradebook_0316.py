"""The gradebook of mograder 0.3.16: its three tables, and their rows as they were exchanged last.

The tables are in the course's ``gradebook.db`` if 0.3.16 made it, or in another file
(compatibility-0.3.16.md 9). They are read and written by ``exchange_0316`` only. ``exchanged_0316``
has each row as it was imported or exported last: from it follows whether 0.3.16 has changed it
since, and whether people have marked the work here since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Column, Connection, Float, Integer, MetaData, Table, Text, inspect, select
from sqlalchemy import func as sql

from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook_tables import exchanged_0316, student_work
from mograder.store.gradebook.grading_records import (
    MACHINE,
    AssignmentRow,
    assignment_of,
    json_of,
    number_or_none,
    text_of,
)
from mograder.store.gradebook.mark_counting import StudentRows

metadata = MetaData()

assignments = Table(
    "assignments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("max_mark", Float, nullable=False, server_default="100"),
    Column("marks_metadata", Text),
    Column("auto_check_keys", Text),
)

students = Table(
    "students",
    metadata,
    Column("username", Text, primary_key=True),
    Column("full_name", Text, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("assignment", Text, primary_key=True),
    Column("student", Text, primary_key=True),
    Column("auto_mark", Float),
    Column("manual_mark", Float),
    Column("total_mark", Float),
    Column("feedback", Text, nullable=False, server_default=""),
    Column("cell_errors", Integer, nullable=False, server_default="0"),
    Column("tampered", Text, nullable=False, server_default="[]"),
    Column("check_results", Text, nullable=False, server_default="[]"),
    Column("graded_at", Text),
    Column("autograded_at", Text, nullable=False, server_default=""),
    Column("updated_at", Text),
    Column("penalty_pct", Float),
    Column("penalised_mark", Float),
    Column("submitted_at", Text),
)


_MOST_ERRORS = 1_000_000
_NUMBERS = frozenset(
    column.name for column in submissions.columns if isinstance(column.type, Float | Integer)
)


@dataclass(frozen=True, slots=True)
class Row0316:
    """A row of ``submissions`` without the time of its last change.

    Marks are None while they are not given; ``manual_mark`` is a percentage of the questions
    without checks. Times are ISO texts without a zone, ``submitted_at`` is Unix seconds or such a
    text. ``tampered`` and ``check_results`` are JSON.
    """

    assignment: str
    student: str
    auto_mark: float | None = None
    manual_mark: float | None = None
    total_mark: float | None = None
    penalty_pct: float | None = None
    penalised_mark: float | None = None
    cell_errors: float = 0
    feedback: str = ""
    tampered: str = "[]"
    check_results: str = "[]"
    graded_at: str = ""
    autograded_at: str = ""
    submitted_at: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return a row of the table; a value that is malformed counts as none."""
        values: dict[str, Any] = {
            name: number_or_none(row[name]) if name in _NUMBERS else text_of(row[name])
            for name in (each.name for each in fields(cls))
        }
        lists = {name: values[name] or "[]" for name in ("tampered", "check_results")}
        errors = min(max(values["cell_errors"] or 0, 0), _MOST_ERRORS)
        return cls(**{**values, **lists, "cell_errors": errors})

    def columns(self) -> dict[str, Any]:
        """Return the columns, with those empty that 0.3.16 leaves empty."""
        optional = {"graded_at": self.graded_at or None, "submitted_at": self.submitted_at or None}
        return {**asdict(self), **optional, "cell_errors": int(self.cell_errors)}

    @property
    def key(self) -> tuple[str, str]:
        return self.assignment, self.student


@dataclass(frozen=True, slots=True)
class Gradebook0316:
    """Everything that the tables hold.

    ``names`` are the full names by username. ``submissions`` are rows with ``updated_at``.
    ``place`` is where the tables are (:func:`place_of`).
    """

    assignments: Mapping[str, AssignmentRow]
    names: Mapping[str, str]
    submissions: tuple[tuple[Row0316, str], ...]
    place: str = ""

    def assignment(self, name: str) -> AssignmentRow:
        return self.assignments.get(name) or AssignmentRow(name)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A row as exchanged last, and the newest mark by a person then.

    ``updated_at`` is the time that 0.3.16 gave to the row, "" where it is not recorded yet.
    """

    row: Row0316
    mark: int
    updated_at: str = field(default="", compare=False)


class Outcome(StrEnum):
    """The outcome for a row that differs; a noted difference does not count on the other side."""

    DONE = "done"
    NOTED = "noted"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Told:
    """What is imported or exported, or why a row is left as it is."""

    assignment: str
    student: str
    outcome: Outcome
    text: str


def has_tables(connection: Connection) -> bool:
    return inspect(connection).has_table(submissions.name)


def is_first(connection: Connection) -> bool:
    """Return whether there are rows of 0.3.16, and no graded work of ours yet."""
    if not has_tables(connection):
        return False
    ours, theirs = (
        connection.execute(select(table.c.student).limit(1)).first()
        for table in (student_work, submissions)
    )
    return ours is None and theirs is not None


def read_gradebook(connection: Connection, file: Path | None = None) -> Gradebook0316:
    """Return what the tables hold; a table or column that is missing counts as empty."""
    found = [assignment_of(*row.values()) for row in _rows(connection, assignments)]
    names = {
        text_of(row["username"]): text_of(row["full_name"]) for row in _rows(connection, students)
    }
    rows = ((Row0316.of(row), text_of(row["updated_at"])) for row in _rows(connection, submissions))
    return Gradebook0316({each.name: each for each in found}, names, tuple(rows), place_of(file))


def damaged_rows(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Yield assignment, student and column of each text that should be JSON and is not."""
    for row in _rows(connection, assignments):
        for column, kind in (("marks_metadata", dict), ("auto_check_keys", list)):
            if row[column] and not isinstance(json_of(row[column]), kind):
                yield text_of(row["name"]), "", column
    for row in _rows(connection, submissions):
        for column in ("tampered", "check_results"):
            if not isinstance(json_of(row[column]), list):
                yield text_of(row["assignment"]), text_of(row["student"]), column


def changed_rows(connection: Connection) -> int:
    """Return how many rows 0.3.16 has written since they were exchanged."""
    columns = inspect(connection).get_columns("submissions")
    if all(each["name"] != "updated_at" for each in columns):
        return 0  # a table of an older program, which 0.3.16 completes when it opens it
    theirs, ours = submissions.c, exchanged_0316.c
    same = (ours.assignment == theirs.assignment) & (ours.student == theirs.student)
    joined = submissions.outerjoin(exchanged_0316, same)
    differs = sql.coalesce(theirs.updated_at, "").is_distinct_from(ours.updated_at)
    wanted = select(sql.count()).select_from(joined).where(differs)
    return connection.execute(wanted).scalar_one()


def _rows(connection: Connection, table: Table) -> Iterator[Mapping[str, Any]]:
    """Yield the rows with all columns of the table, None for one that the file does not have."""
    there = inspect(connection)
    if not there.has_table(table.name):
        return
    present = {column["name"] for column in there.get_columns(table.name)}
    columns = [column for column in table.columns if column.name in present]
    missing = dict.fromkeys(column.name for column in table.columns)
    for row in connection.execute(select(*columns)).mappings():
        yield {**missing, **row}


def place_of(file: Path | None) -> str:
    """Return what follows an assignment's name in the exchanges with another file; "" for None."""
    return "" if file is None else f"\n{file.resolve()}"


def read_exchanged(
    connection: Connection, assignment: str, place: str = ""
) -> Mapping[str, Exchanged]:
    """Return the last exchange of each student's row with a place, else the newest with any."""
    rows = exchanged_0316.c
    wanted = select(rows.student, rows.row, rows.mark, rows.updated_at).where(
        rows.assignment.between(assignment, f"{assignment}\v")
    )
    wanted = wanted.order_by(rows.assignment == f"{assignment}{place}", rows.mark)
    return {
        row.student: Exchanged(Row0316.of(json.loads(row.row)), row.mark, row.updated_at)
        for row in connection.execute(wanted)
    }


def put_exchanged(
    connection: Connection, rows: Iterable[tuple[Exchanged, str]], place: str
) -> None:
    """Record rows with their ``updated_at`` as exchanged with a place (:func:`place_of`)."""
    values = [
        {
            "assignment": f"{each.row.assignment}{place}",
            "student": each.row.student,
            "row": json.dumps(each.row.columns()),
            "updated_at": updated,
            "mark": each.mark,
        }
        for each, updated in rows
    ]
    if values:
        connection.execute(upsert(connection, exchanged_0316, values[0]), values)


def newest_given(rows: StudentRows) -> int:
    """Return the number of a student's newest mark by a person, 0 without one."""
    return max((each.number for each in rows.marks if each.marker != MACHINE), default=0)


def local_iso(at: datetime) -> str:
    """Return a time as 0.3.16 writes it: local, without a zone."""
    return at.astimezone().replace(tzinfo=None).isoformat()
