"""A new gradebook, or a new database of a hub, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.gradebook import Gradebook


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gradebook.db"


@pytest.fixture
def book(path: Path) -> Iterator[Gradebook]:
    with Gradebook(path) as book:
        yield book


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The database of a hub of the course in ``tmp_path``, with its tables."""
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """The statements that are executed."""
    found: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)
