"""Two hubs that have the same nodes: each finds a session where its row says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sandbox.protocol import Failed, StartSession
from mograder.store.database.database import open_engine, upgrade
from tests.support.fake_node import FakeNode
from tests.support.node_rig import KEY, NodeRig, until


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[tuple[NodeRig, NodeRig]]:
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    one, other = NodeRig(engine, tmp_path), NodeRig(engine, tmp_path)
    yield one, other
    await one.close()
    await other.close()
    engine.dispose()


async def test_a_start_that_moved_to_another_node_is_stopped_there_by_the_other_hub(
    hubs: tuple[NodeRig, NodeRig],
) -> None:
    hub, other = hubs
    go_on = asyncio.Event()
    slow, quick = FakeNode("slow", hold=go_on, zygotes={KEY}), FakeNode("quick")
    await hub.connect(slow)
    await hub.connect(quick)
    seen = FakeNode("slow", sessions=slow.sessions, stopped=slow.stopped)
    await other.connect(seen, join=False)
    starting = asyncio.create_task(hub.start("a"))
    await slow.until(lambda: any(isinstance(call, StartSession) for call in slow.calls))
    seen.disconnect()
    await until(lambda: other.registry.find("slow") is None)
    await other.connect(
        FakeNode("quick", sessions=quick.sessions, stopped=quick.stopped), join=False
    )
    presumed = await other.launcher.sessions()
    assert [(each.session_id, each.node) for each in presumed] == [("session-a", "slow")]
    slow.failure = Failed(id=0, family="SandboxUnavailable", message="no")
    go_on.set()
    assert await starting == "quick"
    assert await other.launcher.stop("session-a")
    assert not quick.sessions
