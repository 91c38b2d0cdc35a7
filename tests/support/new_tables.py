"""An empty SQLite file gets its tables from memory: the migrations make them once in a process.

Running all migrations takes as long as most tests. Tests of the migrations themselves use the
fixture ``real_migrations``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_upgrade: Callable[[Config, str], None] = command.upgrade
_made: dict[tuple[str, ...], list[str]] = {}
"""The statements that make the tables, by the files of the migrations."""

_patch = pytest.MonkeyPatch()


def pytest_configure() -> None:
    """Have Alembic remember what it made."""
    _patch.setattr(command, "upgrade", _upgrade_once)


@pytest.fixture
def real_migrations() -> Iterator[None]:
    """Run each migration in this test."""
    _patch.setattr(command, "upgrade", _upgrade)
    yield
    _patch.setattr(command, "upgrade", _upgrade_once)


def _upgrade_once(config: Config, revision: str) -> None:
    connection = config.attributes["connection"]
    assert isinstance(connection, Connection)
    if connection.dialect.name != "sqlite" or _count(connection):
        _upgrade(config, revision)
        return
    place = Path(config.get_main_option("script_location") or "")
    files = (str(place), revision, *sorted(each.name for each in place.glob("versions/*.py")))
    if files in _made:
        for statement in _made[files]:
            connection.exec_driver_sql(statement)
        return
    _upgrade(config, revision)
    opened = cast(sqlite3.Connection, connection.connection.driver_connection)
    ends = ("BEGIN TRANSACTION;", "COMMIT;")
    _made[files] = [each for each in opened.iterdump() if each not in ends]


def _count(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one())
