"""Fixtures of the session room's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.session_pools import Rig, opened


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The parts of a pool, on the test's own database."""
    async with opened(tmp_path) as rig:
        yield rig
