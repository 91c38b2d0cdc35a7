"""The hub thins versions in the background, at one hub of several."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.store.database.database import open_engine, upgrade
from mograder.store.versions.version_thinning import Thinning
from mograder.store.versions.versions import Origin, Versions
from mograder.web.hub.copies.timeline import thin_versions
from tests.support.clock import ManualClock


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Versions, Thinning, ManualClock]:
    """Twenty versions of two copies each, all of one minute ten days ago."""
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    made, clock = Versions(engine), ManualClock()
    begin = clock.now() - timedelta(days=10)
    begin = datetime(begin.year, begin.month, begin.day, 12, tzinfo=UTC)
    for user in ("anna", "bert"):
        for number in range(20):
            at = begin + timedelta(seconds=number)
            made.record(user, "A1", b"x = %d\n" % number, Origin.EDITOR, at)
    return made, Thinning(engine), clock


async def test_a_round_thins_what_is_due_once(
    kept: tuple[Versions, Thinning, ManualClock],
) -> None:
    made, thinning, clock = kept
    await thin_versions(thinning, clock, asyncio.Event())
    for user in ("anna", "bert"):
        assert [each.number for each in made.all(user, "A1")] == [20, 1]
    assert thinning.due(clock.now(), 9) == ()
