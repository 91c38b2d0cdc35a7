"""Fixtures of the tests with nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sessions import manager
from mograder.sessions.nodes import node_leases, node_machines
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from tests.support.node_rig import NodeRig

_PAUSES = (
    (node_leases, "_LOOK_SECONDS", 0.05),
    (node_leases, "_RENEW_SECONDS", 0.025),
    (node_machines, "_LEFT_SECONDS", 0.05),
    (node_machines, "_RETRY_SECONDS", 0.025),
    (node_machines, "RECONSIDER_SECONDS", 0.25),
    (manager, "RECONSIDER_SECONDS", 0.25),
)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NodeRig]:
    """A launcher on the test's own database, with shorter pauses."""
    for module, name, seconds in _PAUSES:
        monkeypatch.setattr(module, name, seconds)
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    made = NodeRig(engine, tmp_path)
    yield made
    await made.close()
    engine.dispose()
