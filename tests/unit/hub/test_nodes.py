"""A hub that opens with nodes, and its directory for runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import update

from mograder.core.settings import load_settings
from mograder.hub import hosting
from mograder.hub.hosting import nodes_ended
from mograder.hub.nodes import open_nodes
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import SessionInfo
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState
from mograder.store.hub.nodes import NodeRow, Nodes, nodes
from tests.support.clock import ManualClock
from tests.support.supervisors import until


class Builder:
    """The hub's own supervisor, which runs no session."""

    async def sessions(self) -> tuple[SessionInfo, ...]:
        return ()


class CountedState(HubState):
    """Rows of a hub; ``looks`` is how often its sessions were asked for."""

    looks = 0

    def sessions(self) -> tuple[SessionRow, ...]:
        self.looks += 1
        return super().sessions()


@asynccontextmanager
async def at_work(course: Path, share: Path) -> AsyncIterator[Path]:
    """A hub of a course that has nodes; it yields its directory for runs."""
    (course / ".mograder").mkdir(parents=True, exist_ok=True)
    overrides = {"nodes.enabled": True, "nodes.runs_dir": str(share)}
    loaded = load_settings(course, overrides=overrides, environ={})
    engine = open_engine(f"sqlite:///{course / 'hub.db'}")
    upgrade(engine)
    builder, state = cast(SupervisorClient, Builder()), HubState(engine)
    async with open_nodes(loaded, state, ManualClock(), builder, 1) as hosting:
        yield hosting.runs
    engine.dispose()


async def test_a_hub_removes_the_runs_of_the_one_before_it_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Other courses have the same directory, and users may have numbers for names."""
    share = tmp_path / "share"
    work = [share / name / "A1" / "A1.py" for name in ("1234567", "1795000000", "alice")]
    for file in work:
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n")
    async with at_work(tmp_path / "other", share) as others:
        async with at_work(tmp_path / "course", share) as killed:
            (killed / "copy.py").write_text("x = 2\n")
            kept = (tmp_path / "course/.mograder/runs-directory").read_text()
            assert kept == killed.name
        killed.mkdir()  # as if the hub had been killed
        async with at_work(tmp_path / "course", share) as own:
            assert not killed.exists()
            assert own.is_dir()
            assert others.is_dir()
    assert sorted(path.name for path in share.iterdir()) == ["1234567", "1795000000", "alice"]
    assert {file.read_text() for file in work} == {"x = 1\n"}
    (tmp_path / "course/.mograder/runs-directory").write_text("alice")
    async with at_work(tmp_path / "course", share):
        assert work[-1].exists(), "only what a hub has made"


async def test_a_hub_that_has_no_nodes_any_more_waits_for_their_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "_LOOK_SECONDS", 0.01)
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    state, now = CountedState(engine), datetime.now(UTC)
    for name, lease in (("one", 60), ("other", 60)):
        Nodes(engine).add(NodeRow(name, "f" * 64, now, now + timedelta(seconds=lease)))
    await nodes_ended(state)  # no session is on any of them
    running = SessionState.RUNNING
    state.add_session(SessionRow("s", "alice", "A1", "edit", running, "", "", "env", now, "one"))
    waiting = asyncio.create_task(nodes_ended(state))
    before = state.looks
    await until(lambda: waiting.done() or state.looks > before + 2)
    assert not waiting.done()
    with engine.begin() as connection:
        over = update(nodes).where(nodes.c.name == "one").values(lease_until=now)
        connection.execute(over)
    async with asyncio.timeout(10):
        await waiting
    engine.dispose()
