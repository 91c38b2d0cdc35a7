"""Thinning the versions of copies while the hub runs: slowly."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from mograder.core.clock import Clock
from mograder.core.log import get_logger
from mograder.core.tasks.periodic import repeat, running, set_within
from mograder.sessions.copy_timeline import CopyTimelines
from mograder.store.versions.version_thinning import Thinned, Thinning
from mograder.web.hub.core.feature import Run
from mograder.web.hub.core.hub_app import HubApp

_LOOK_SECONDS = 60.0
_AT_ONCE = 50
_IDLE_TIMES = 9
"""It rests so many times as long as it worked: students come first."""

_log = get_logger(__name__)


class VersionUpkeep:
    """Thins versions now and then."""

    def __init__(self, thinning: Thinning, clock: Clock) -> None:
        self._thinning = thinning
        self._clock = clock

    async def round(self, stop: asyncio.Event) -> Thinned:
        """Thin the copies that are due, some at most; ``stop`` ends it early."""
        removed = freed = 0
        for copy in await asyncio.to_thread(self._thinning.due, self._clock.now(), _AT_ONCE):
            begun = time.monotonic()
            thinned = await asyncio.to_thread(self._thinning.thin, copy, self._clock.now())
            removed, freed = removed + thinned.removed, freed + thinned.freed
            if await set_within(stop, _IDLE_TIMES * (time.monotonic() - begun)):
                break
        return Thinned(removed, freed)

    async def keep_on(self, stop: asyncio.Event, seconds: float = _LOOK_SECONDS) -> None:
        """Do it until ``stop`` is set."""

        async def thin() -> None:
            thinned = await self.round(stop)
            if thinned.removed:
                _log.info("removed %d old versions of copies", thinned.removed)

        await repeat("old versions", thin, seconds, stop, at_once=False)


def open_versions(hub: HubApp) -> Run:
    """Make the timelines of copies, whose old versions are thinned during the block."""
    services = hub.services
    hub.add(CopyTimelines(hub.copies, services.recorder, services.clock))
    upkeep = VersionUpkeep(Thinning(services.state.engine), services.clock)
    return partial(running, {"old versions": upkeep.keep_on})
