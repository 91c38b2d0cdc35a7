"""A hub that opens with nodes, and its directory for runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import update

from mograder.core.settings import load_settings
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import SessionInfo
from mograder.store.database.database import open_engine, upgrade
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState
from mograder.store.hub.nodes import NodeRow, Nodes, nodes
from mograder.web.hub.startup import hosting
from mograder.web.hub.startup.hosting import nodes_ended
from mograder.web.hub.startup.hub_nodes import open_nodes
from tests.support.clock import ManualClock


class Builder:
    """The hub's own supervisor, which runs no session."""

    async def sessions(self) -> tuple[SessionInfo, ...]:
        return ()


async def test_only_what_earlier_hubs_ran_is_removed_where_runs_dir_names_the_share(
    tmp_path: Path,
) -> None:
    share = tmp_path / "share"
    work = share / "hub-notebooks" / "alice" / "A1" / "A1.py"
    earlier = share / "1795000000" / "run"
    for file in (work, earlier):
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n")
    overrides = {"nodes.enabled": True, "nodes.runs_dir": str(share)}
    loaded = load_settings(tmp_path, overrides=overrides, environ={})
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    builder = cast(SupervisorClient, Builder())
    async with open_nodes(loaded, HubState(engine), ManualClock(), builder, 1795000001):
        assert not earlier.parent.exists()
        assert (share / "1795000001").is_dir()
    engine.dispose()
    assert sorted(path.name for path in share.iterdir()) == ["hub-notebooks"]
    assert work.read_text() == "x = 1\n"


async def test_a_hub_that_has_no_nodes_any_more_waits_for_their_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "_LOOK_SECONDS", 0.01)
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    state, now = HubState(engine), datetime.now(UTC)
    for name, lease in (("one", 60), ("other", 60)):
        Nodes(engine).add(NodeRow(name, "f" * 64, now, now + timedelta(seconds=lease)))
    await nodes_ended(state)  # no session is on any of them
    running = SessionState.RUNNING
    state.add_session(SessionRow("s", "alice", "A1", "edit", running, "", "", "env", now, "one"))
    waiting = asyncio.create_task(nodes_ended(state))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    with engine.begin() as connection:
        over = update(nodes).where(nodes.c.name == "one").values(lease_until=now)
        connection.execute(over)
    async with asyncio.timeout(10):
        await waiting
    engine.dispose()
