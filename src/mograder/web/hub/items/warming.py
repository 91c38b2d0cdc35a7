"""Keeps items warm before students come: their environments, and what sessions are forked from.

An item is due some minutes before it opens, by its visibility, and before each time that an
instructor has set. While it is due it is warmed again each minute, so that it is not the one whose
process ends when others need one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.tasks.periodic import repeat, running
from mograder.core.tasks.single_flight import Progress
from mograder.notebook.pep723 import Script
from mograder.publishing.warm import Warmth, due, warm_releases
from mograder.sandbox.environments.builder import Environments
from mograder.store.releases.visibility import VisibilityRules
from mograder.store.releases.warm_times import WarmTimes
from mograder.web.hub.core.feature import Run
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.core.services import Services

_LOOK_SECONDS = 60.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Forking:
    """Prepares an environment, and warm starts of its sessions also if it was ready before."""

    environments: Environments

    async def prepare(self, script: Script, progress: Progress, /) -> object:
        environment = await self.environments.prepare(script, progress)
        self.environments.announce(environment)
        return environment


class Warming:
    """The items that are to be warm; ``times`` are those that instructors have set."""

    def __init__(self, services: Services, visibility: VisibilityRules, times: WarmTimes) -> None:
        self._services = services
        self._visibility = visibility
        self.times = times
        self._told: frozenset[str] = frozenset()

    async def warm(self, items: Collection[str], progress: Progress) -> Warmth:
        """Prepare the environments of items now, and the processes that fork their sessions."""
        services = self._services
        forking = _Forking(services.environments)
        return await warm_releases(services.releases, forking, progress, items)

    async def keep_warm(self, stop: asyncio.Event, seconds: float = _LOOK_SECONDS) -> None:
        """Warm what is due until ``stop`` is set."""
        await repeat("items that open soon", self.look, seconds, stop)

    async def look(self) -> None:
        """Warm what is due now."""
        lead = timedelta(minutes=self._services.loaded.settings.hub.warm_minutes)
        moments = await asyncio.to_thread(lambda: list(self._moments()))
        items = frozenset(due(moments, self._services.clock.now(), lead))
        for item in sorted(items - self._told):
            _log.info("keeping %s warm: students come soon", item)
        self._told = items
        if items:
            await self.warm(items, lambda _: None)

    def _moments(self) -> Iterator[tuple[str, datetime]]:
        with contextlib.suppress(MograderError):  # a file that cannot be read hides every item
            for item, rule in self._visibility.all().items():
                if rule.visible_from is not None and not rule.hidden:
                    yield item, rule.visible_from
        for item, times in self.times.all().items():
            for moment in times:
                yield item, moment


def open_warming(hub: HubApp) -> Run:
    """Make the warming of items, which are kept warm during the block."""
    services = hub.services
    times = WarmTimes(services.loaded.path(services.loaded.settings.hub.release_dir) / ".warm.json")
    warming = hub.add(Warming(services, hub.visibility, times))
    return partial(running, {"warm environments": warming.keep_warm})
