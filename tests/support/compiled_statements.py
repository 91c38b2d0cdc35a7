"""SQLite engines of a process share the statements that they have compiled.

An engine keeps its own, and thousands of tests open new engines for the same statements: a tenth of
the processor time of tests with a hub. SQLAlchemy keeps statements by dialect, so that those of
SQLite have to count as equal.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_STATEMENTS = 5000


def pytest_configure() -> None:
    """Let the engines of this process share their statements."""
    shared: LRUCache[Any, Any] = LRUCache(_STATEMENTS)

    def engine_created(engine: Engine) -> None:
        engine._compiled_cache = shared

    patch, dialect = pytest.MonkeyPatch(), SQLiteDialect_pysqlite
    patch.setattr(dialect, "engine_created", engine_created)
    patch.setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))
    patch.setattr(dialect, "__hash__", lambda one: hash(type(one)))
