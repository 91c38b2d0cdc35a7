"""The hub thins versions in the background, at one hub of several."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Busy
from mograder.store.database.database import open_engine, upgrade
from mograder.store.versions.version_thinning import Thinned, Thinning
from mograder.store.versions.versions import Origin, Versions
from mograder.web.hub.copies.timeline import VersionUpkeep
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
    upkeep = VersionUpkeep(thinning, clock)
    assert (await upkeep.round(asyncio.Event())).removed == 36
    assert [each.number for each in made.all("anna", "A1")] == [20, 1]
    assert await upkeep.round(asyncio.Event()) == Thinned()


async def test_it_goes_on_after_a_failure(
    kept: tuple[Versions, Thinning, ManualClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, thinning, clock = kept
    stop, calls = asyncio.Event(), iter(range(9))
    due = thinning.due

    def first_busy(now: datetime, limit: int) -> tuple[int, ...]:
        call = next(calls)
        if call == 0:
            raise Busy("The database does not answer.")
        if call > 1:
            stop.set()
        return due(now, limit)

    monkeypatch.setattr(thinning, "due", first_busy)
    async with asyncio.timeout(60):
        await VersionUpkeep(thinning, clock).keep_on(stop, 0.001)
    assert len(made.all("bert", "A1")) == 2
