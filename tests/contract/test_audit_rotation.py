"""``mograder hub rotate-audit``: the only way in which the audit log gets shorter loses no line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete
from sqlalchemy.exc import DBAPIError

from mograder.core.errors import MograderError
from mograder.store.database.database import writing
from mograder.store.hub.hub_state import HubState, rotate_audit
from mograder.store.hub.hub_tables import AuditRow, audit
from tests.support.command_line import cli
from tests.support.fake_disks import FailingDisk

NOW = datetime.now(UTC)


@pytest.fixture
def log(engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The database of the course, with a line of each of the last three years.

    The clock was ahead once.
    """
    monkeypatch.setenv("MOGRADER_DATABASE_URL", url)
    for years in (3, 0, 2, 1):
        at = NOW - timedelta(days=365 * years + 10)
        HubState(engine).record(at, "alice", f"{years} years ago", "", "test", "ok")
    return engine


def actions(log: Engine) -> list[str]:
    return [row.action for row in HubState(log).recent_audit(10)]


def cannot_delete(log: Engine) -> None:
    before = actions(log)
    with pytest.raises((MograderError, DBAPIError)), writing(log) as connection:
        connection.execute(delete(audit))
    assert actions(log) == before


def test_old_lines_go_to_a_file_and_the_database_refuses_as_before(
    log: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    words = ("hub rotate-audit", str(file), "--keep-days", "400", "-C", str(tmp_path))
    file.write_text("before")
    cli(*words, status=5)
    assert file.read_text() == "before", "a file that is there is kept"
    assert len(actions(log)) == 4
    file.unlink()
    cli(*words)
    moved = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["action"] for line in moved] == ["3 years ago", "2 years ago"]
    assert [line["number"] for line in moved] == [1, 3]
    assert file.stat().st_mode & 0o777 == 0o600
    assert actions(log) == ["1 years ago", "0 years ago"]
    cannot_delete(log)


def test_while_a_slow_disk_keeps_the_lines_the_hub_can_write(log: Engine) -> None:
    """PostgreSQL ends a writer that pauses for three seconds; SQLite has one writer."""

    def keep(rows: Sequence[AuditRow]) -> None:
        kept.extend(row.action for row in rows)
        HubState(log).record(NOW, "bob", "meanwhile", "", "test", "ok")

    kept: list[str] = []
    assert rotate_audit(log, NOW - timedelta(days=400), keep) == 2
    assert kept == ["3 years ago", "2 years ago"]
    assert actions(log) == ["meanwhile", "1 years ago", "0 years ago"]


def test_lines_that_cannot_be_kept_stay_and_the_guard_with_them(log: Engine) -> None:
    def fail(_: Sequence[AuditRow]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        rotate_audit(log, NOW, fail)
    assert len(actions(log)) == 4
    cannot_delete(log)


def test_lines_are_removed_once_the_name_of_their_file_is_on_the_disk(
    log: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut in between they were in neither."""
    monkeypatch.setattr("mograder.cli.hub.upkeep.DISK", FailingDisk(0, full=True))
    cli("hub rotate-audit", str(tmp_path / "audit.jsonl"), "-C", str(tmp_path), status=75)
    assert len(actions(log)) == 4


def test_a_course_without_a_hub_gets_no_database(tmp_path: Path) -> None:
    """It would have the wrong owner: the hub could not open it."""
    file = tmp_path / "audit.jsonl"
    cli("hub rotate-audit", str(file), "-C", str(tmp_path), status=3)
    assert list(tmp_path.iterdir()) == []
    cli("hub rotate-audit", str(file), "--keep-days", "1" * 12, "-C", str(tmp_path), status=2)
