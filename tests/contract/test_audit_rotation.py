"""The audit log gets shorter in one way only, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete
from sqlalchemy.exc import DBAPIError

from mograder.core.errors import MograderError
from mograder.store.database.database import writing
from mograder.store.hub.hub_state import HubState, rotate_audit
from mograder.store.hub.hub_tables import AuditRow, audit

NOW = datetime.now(UTC)


@pytest.fixture
def log(engine: Engine) -> Engine:
    """A database with a line of each of the last three years."""
    for years in (3, 2, 1, 0):
        at = NOW - timedelta(days=365 * years + 10)
        HubState(engine).record(at, "alice", f"{years} years ago", "", "test", "ok")
    return engine


def actions(log: Engine) -> list[str]:
    return [row.action for row in HubState(log).recent_audit(10)]


def test_lines_that_cannot_be_kept_stay_and_the_guard_with_them(log: Engine) -> None:
    def fail(_: Sequence[AuditRow]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        rotate_audit(log, NOW, fail)
    assert len(actions(log)) == 4
    _cannot_delete(log)


def test_afterwards_the_database_refuses_as_before(log: Engine) -> None:
    assert rotate_audit(log, NOW - timedelta(days=600), lambda _: None) == 2
    assert rotate_audit(log, NOW - timedelta(days=600), lambda _: None) == 0
    _cannot_delete(log)


def _cannot_delete(log: Engine) -> None:
    before = actions(log)
    with pytest.raises((MograderError, DBAPIError)), writing(log) as connection:
        connection.execute(delete(audit))
    assert actions(log) == before
