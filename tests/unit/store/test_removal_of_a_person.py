"""The page about a person's data names every table that has some, and its SQL removes it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from mograder.store.database.database import open_engine, sqlite_url
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.gradebook import GRADEBOOK_MIGRATIONS
from tests.support.course import REPOSITORY

PAGE = (REPOSITORY / "docs/how-to/remove-personal-data.md").read_text("utf-8")
_PERSON = frozenset({"username", "student", "one", "other", "address"})
_BY_ITSELF = frozenset({"sessions", "capabilities", "links", "external_people", "users"})
"""Removed when the person is kept out, but for ``users``, which the page names as staying."""

_OF_0316 = frozenset({"students", "submissions"})
_OTHERS = {
    "hub": {"version_checks", "versions", "grading_jobs"},
    "gradebook": {"mark_details", "regrade_messages", "uploads", "upload_intents"},
}
"""Tables with no column of a person, whose rows belong to those that have one or contain names."""


def _value(name: str, kind: str) -> object:
    if name in _PERSON:
        return "anna"
    return 1 if "INT" in kind.upper() or name in {"site", "user_id", "mark"} else "1"


@pytest.mark.parametrize(("number", "name"), list(enumerate(_OTHERS)))
def test_no_row_of_the_person_is_left(tmp_path: Path, number: int, name: str) -> None:
    file = tmp_path / f"{name}.db"
    engine = open_engine(sqlite_url(file))
    upgrade(engine, **({"migrations": GRADEBOOK_MIGRATIONS} if number else {}))
    engine.dispose()
    connection = sqlite3.connect(file, isolation_level=None)
    tables = [
        table
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not table.startswith("sqlite_")
    ]
    columns = {
        table: {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({table})")}
        for table in tables
    }
    personal = {table for table in tables if _PERSON & columns[table].keys()} | _OTHERS[name]
    personal -= _BY_ITSELF | _OF_0316
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for table in personal:
        values = [_value(*each) for each in columns[table].items()]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    sql = re.findall(r"(?ms)^```sql\n(.*?)^```", PAGE)[number]
    connection.executescript(sql)
    left = {
        table
        for table in personal
        if connection.execute(f"SELECT count(*) FROM {table}").fetchone() != (0,)
    }
    connection.close()
    assert left == set()
