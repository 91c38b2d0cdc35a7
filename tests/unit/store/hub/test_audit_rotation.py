"""``mograder hub rotate-audit``: old lines of the audit log go to a file, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mograder.store.database.database import open_engine, upgrade
from mograder.store.hub.hub_state import HubState
from tests.support.command_line import cli

NOW = datetime.now(UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A hub's database with a line of each of the last three years."""
    engine = open_engine(f"sqlite:///{tmp_path}/.mograder/hub.db")
    upgrade(engine)
    for years in (3, 2, 1, 0):
        at = NOW - timedelta(days=365 * years + 10)
        HubState(engine).record(at, "alice", f"{years} years ago", "", "test", "ok")
    yield engine
    engine.dispose()


def actions(engine: Engine) -> list[str]:
    return [row.action for row in HubState(engine).recent_audit(10)]


def test_old_lines_go_to_a_file_of_their_own(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    cli("hub rotate-audit", str(file), "--keep-days", "400", "-C", str(tmp_path))
    moved = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["action"] for line in moved] == ["3 years ago", "2 years ago"]
    assert [line["number"] for line in moved] == [1, 2]
    assert file.stat().st_mode & 0o777 == 0o600
    assert actions(engine) == ["0 years ago", "1 years ago"]


def test_a_file_that_is_there_is_kept(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text("before")
    cli("hub rotate-audit", str(tmp_path / "audit.jsonl"), "-C", str(tmp_path), status=5)
    assert (tmp_path / "audit.jsonl").read_text() == "before"
    assert len(actions(engine)) == 4


def test_a_course_without_a_hub_gets_no_database(tmp_path: Path) -> None:
    """It would have the wrong owner: the hub could not open it."""
    file = tmp_path / "audit.jsonl"
    cli("hub rotate-audit", str(file), "-C", str(tmp_path), status=3)
    assert list(tmp_path.iterdir()) == []
    cli("hub rotate-audit", str(file), "--keep-days", "1" * 12, "-C", str(tmp_path), status=2)
