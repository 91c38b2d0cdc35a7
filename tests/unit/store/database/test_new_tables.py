"""The copied tables of most tests (``tests.support.new_tables``) are those of the migrations."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import MIGRATIONS, upgrade
from mograder.store.gradebook.gradebook import GRADEBOOK_MIGRATIONS
from tests.support.new_tables import CopiedTables


def made(path: Path, migrations: Path) -> list[str]:
    """Make a database; return the statements that would make it again."""
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine, migrations=migrations)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("migrations", [MIGRATIONS, GRADEBOOK_MIGRATIONS], ids=["hub", "gradebook"])
def test_a_copy_is_what_the_migrations_make(
    tmp_path: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = command.upgrade
    assert isinstance(copied, CopiedTables)
    made(tmp_path / "first.db", migrations)
    copy = made(tmp_path / "copy.db", migrations)
    monkeypatch.setattr(command, "upgrade", copied.real)
    assert copy == made(tmp_path / "real.db", migrations)
