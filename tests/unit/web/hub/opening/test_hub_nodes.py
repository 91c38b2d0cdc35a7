"""A hub that opens with nodes, and its directory for runs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from mograder.core.settings import load_settings
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import SessionInfo
from mograder.store.database.database import open_engine, upgrade
from mograder.store.hub.hub_state import HubState
from mograder.web.hub.opening.hub_nodes import open_nodes
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
