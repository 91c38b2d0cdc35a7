"""The values uploaded to Moodle, and those being uploaded: two tables of ``gradebook.db``.

Private to ``store.gradebook.gradebook``. A row of ``upload_intents`` is written before an upload
and removed when the upload is confirmed, so that an interrupted upload is recognised by the next
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, delete, select

from mograder.store.database.database import upsert

UNKNOWN_ATTEMPT = -1
"""The attempt number of a row that an earlier version of the program wrote."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A feedback file: our name, Moodle's name for it, its size in bytes and its SHA-256.

    ``sha256`` is empty for a file that Moodle held already and that was never read.
    """

    name: str
    kept_as: str
    size: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class SentGrade:
    """The values in Moodle for one user after our upload.

    ``grade`` is the grade as text, empty for none. ``attempt`` counts from 0, and is
    ``UNKNOWN_ATTEMPT`` where it is not known. ``modified`` is
    Moodle's Unix time of the grade, 0 where it is not known. ``comment`` and ``files`` are None
    where they are not known. ``team``: the values come from another member's row.
    """

    user_id: int
    grade: str
    attempt: int = 0
    modified: int = 0
    comment: str | None = None
    files: tuple[SentFile, ...] | None = None
    team: bool = False


def read_sent(
    connection: Connection, table: Table, site: str, assignment_id: int
) -> Mapping[int, SentGrade]:
    """Return the rows of an assignment by Moodle user id."""
    where = (table.c.site == site) & (table.c.assignment_id == assignment_id)
    rows = connection.execute(select(table).where(where)).mappings()
    return {row["user_id"]: _from_row(row) for row in rows}


def write_sent(
    connection: Connection,
    table: Table,
    site: str,
    assignment_id: int,
    rows: Iterable[SentGrade],
    now: datetime,
) -> None:
    """Insert rows, or replace existing ones, with ``now`` as their time of upload."""
    for sent in rows:
        key = {"site": site, "assignment_id": assignment_id, "user_id": sent.user_id}
        row = {**key, **_values(sent), "uploaded_at": now.isoformat()}
        connection.execute(upsert(connection, table, row, tuple(key)), row)


def remove_sent(
    connection: Connection, table: Table, site: str, assignment_id: int, users: Iterable[int]
) -> None:
    """Remove the rows of the given Moodle user ids."""
    where = (table.c.site == site) & (table.c.assignment_id == assignment_id)
    connection.execute(delete(table).where(where & table.c.user_id.in_(list(users))))


def _values(sent: SentGrade) -> dict[str, Any]:
    values = asdict(replace(sent, files=None))
    del values["user_id"]
    if sent.files is not None:
        values["files"] = json.dumps(list(map(astuple, sent.files)), ensure_ascii=False)
    return values


def _from_row(row: RowMapping) -> SentGrade:
    values = {each.name: row[each.name] for each in fields(SentGrade)}
    if row["files"] is not None:
        values["files"] = tuple(SentFile(*each) for each in json.loads(row["files"]))
    return SentGrade(**values)
