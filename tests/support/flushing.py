"""``--no-fsync``: tests do not wait for the disk; for a machine without a file system in memory.

A disk of ``tests.support.fake_disks`` still counts and fails its calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, event

_OPTION = "--no-fsync"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--no-fsync`` flushes nothing to the disk."""
    parser.addoption(_OPTION, action="store_true", help="do not wait for the disk")


def pytest_configure(config: pytest.Config) -> None:
    """Turn the flushes of this process off, SQLite's too."""
    if config.getoption(_OPTION):
        pytest.MonkeyPatch().setattr(os, "fsync", lambda _: None)
        event.listen(Engine, "begin", _do_not_wait)


@pytest.fixture
def real_fsync(pytestconfig: pytest.Config) -> Iterator[None]:
    """Let SQLite flush in a test that asks it whether it does."""
    if not pytestconfig.getoption(_OPTION):
        yield
        return
    event.remove(Engine, "begin", _do_not_wait)
    yield
    event.listen(Engine, "begin", _do_not_wait)


def _do_not_wait(connection: Connection) -> None:
    """Runs before what an engine of ours does at the begin of a transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
