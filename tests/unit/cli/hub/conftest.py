"""The database beside the course of each test of the hub's commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState
from tests.support.fake_hub import hub

__all__ = ["hub"]


@pytest.fixture
def state(course: Path) -> Iterator[HubState]:
    """The database of a hub that has run in the course."""
    engine = open_engine(database_url("", course))
    upgrade(engine)
    yield HubState(engine)
    engine.dispose()
