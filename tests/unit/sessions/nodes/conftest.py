"""Fixtures of the tests with nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.store.database.database import open_engine, upgrade
from tests.support.node_rig import NodeRig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NodeRig]:
    """A launcher on the test's own database."""
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    made = NodeRig(engine, tmp_path)
    yield made
    await made.close()
    engine.dispose()
