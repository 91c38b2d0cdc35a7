"""A row is inserted, or replaces the one of its key, by one statement on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    select,
)

from mograder.store.database.database import incoming, upsert

marks = Table(
    "marks",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("student", String),
    Column("item", String),
    Column("points", Integer),
    Column("tries", Integer, default=1),
    UniqueConstraint("student", "item"),
)
KEY = ("student", "item")


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as made:
        marks.create(made)
        yield made
    engine.dispose()


def rows(connection: Connection) -> list[tuple[object, ...]]:
    wanted = select(marks.c.student, marks.c.points, marks.c.tries).order_by(marks.c.id)
    return [tuple(row) for row in connection.execute(wanted)]


def test_a_row_replaces_the_one_of_its_key(connection: Connection) -> None:
    for points in (3, 5):
        row = {"student": "alice", "item": "A1", "points": points}
        connection.execute(upsert(connection, marks, row, KEY), row)
    assert rows(connection) == [("alice", 5, 1)]


def test_a_column_is_computed_from_both_rows(connection: Connection) -> None:
    tries = marks.c.tries + incoming("tries")
    news = [
        {"student": who, "item": "A1", "points": points, "tries": 2}
        for who, points in (("alice", 3), ("bob", 4), ("alice", 5))
    ]
    connection.execute(upsert(connection, marks, news[0], KEY, tries=tries), news)
    assert rows(connection) == [("alice", 5, 4), ("bob", 4, 2)]


def test_a_plain_statement_is_made_once(connection: Connection) -> None:
    made = upsert(connection, marks, ("student", "item", "points"), KEY)
    assert upsert(connection, marks, ["student", "item", "points"], KEY) is made
