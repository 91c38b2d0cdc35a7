"""New SQLite databases get their tables from a copy of what the migrations made first.

Alembic takes 20 ms for the tables of a hub or a gradebook, and thousands of tests make new ones.
The first of each kind in a process is made by the migrations themselves, and so is every database
that has tables already or lies on a server, and all with the migrations of a test.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from mograder.store.database.upgrades import MIGRATIONS

_OURS = frozenset(map(str, (MIGRATIONS, MIGRATIONS.with_name("gradebook_migrations"))))
_TABLES = "SELECT count(*) FROM sqlite_master"


def pytest_configure() -> None:
    """Let upgrades of this process use the copies."""
    pytest.MonkeyPatch().setattr(command, "upgrade", CopiedTables(command.upgrade))


class CopiedTables:
    """Stands for :func:`alembic.command.upgrade`, which is ``real``.

    ``_made`` has the statements by the place of their migrations.
    """

    def __init__(self, real: Callable[[Config, str], None]) -> None:
        self.real = real
        self._made: dict[str, tuple[str, ...]] = {}

    def __call__(self, config: Config, revision: str) -> None:
        place = config.get_main_option("script_location") or ""
        connection: Connection = config.attributes["connection"]
        if place not in _OURS or not _is_empty(connection):
            self.real(config, revision)
        elif place in self._made:
            cursor = connection.connection.cursor()
            for statement in self._made[place]:
                cursor.execute(statement)
        else:
            self.real(config, revision)
            self._made[place] = _statements(connection)


def _is_empty(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return False
    return not connection.exec_driver_sql(_TABLES).scalar()


def _statements(connection: Connection) -> tuple[str, ...]:
    """What makes a database of this one, without the transaction around it."""
    lines = connection.connection.driver_connection.iterdump()  # type: ignore[union-attr]
    return tuple(line for line in lines if line not in ("BEGIN TRANSACTION;", "COMMIT;"))
