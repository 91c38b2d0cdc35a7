"""The hub thins versions in the background, at one hub of several."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from mograder.store.versions.version_thinning import Thinning
from mograder.store.versions.versions import Origin
from mograder.web.hub.copies.versions import thin_versions
from tests.support.hub_app import HubOf


async def test_a_round_thins_what_is_due_once(hub_of: HubOf) -> None:
    hub = hub_of()
    versions, thinning = hub.services.recorder.versions, Thinning(hub.engine)
    day = (hub.clock.now() - timedelta(days=10)).date()
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=hub.clock.now().tzinfo)
    for user in ("anna", "bert"):
        for number in range(20):
            at = noon + timedelta(seconds=number)
            versions.record(user, "A1", b"x = %d\n" % number, Origin.EDITOR, at)
    await thin_versions(thinning, hub.clock, asyncio.Event())
    for user in ("anna", "bert"):
        assert [each.number for each in versions.all(user, "A1")] == [20, 1]
    assert thinning.due(hub.clock.now(), 9) == ()
