"""The hub's updates of copies: everything that the handlers need of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from mograder.core.clock import Clock
from mograder.core.tasks.periodic import repeat, running
from mograder.sessions.copy_updates import CopyUpdates, UpdateStores
from mograder.sessions.update_offers import UpdateOffers, UpdatePreviews
from mograder.store.copies.copy_updates import UpdateRows
from mograder.store.releases.releases import Release, Releases
from mograder.store.versions.kept_releases import KeptReleases, ReleaseHistory
from mograder.web.hub.core.hub_app import HubApp, Run
from mograder.web.hub.core.notifier import Part

_LOOK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class HubUpdates:
    """Updates of copies, their previews and their offers, and the releases kept for merges."""

    copies: CopyUpdates
    previews: UpdatePreviews
    offers: UpdateOffers
    kept: KeptReleases
    releases: Releases
    clock: Clock

    def keep(self, release: Release) -> None:
        """Keep a release that is being published, or replaced; blocks."""
        self.kept.keep(release, self.clock.now())

    async def keep_releases(self, stop: asyncio.Event) -> None:
        """Keep the published releases, also those that were copied into the course by hand."""
        keep = partial(asyncio.to_thread, self._keep_all)
        await repeat("kept releases", keep, _LOOK_SECONDS, stop)

    def _keep_all(self) -> None:
        self.kept.keep_all(self.releases.all(), self.clock.now())

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Keep releases during the block; then end previews, and wait for changes of copies."""
        try:
            async with running({"kept releases": self.keep_releases}):
                yield
        finally:
            await self.previews.close()
            await self.copies.close()


def open_updates(hub: HubApp) -> Run:
    """Make the updates of a hub; instructors' pages hear of the progress of previews."""
    services, notifier = hub.services, hub.notifier
    reserve = services.loaded.settings.limits.disk_reserve
    engine, pool, clock = services.state.engine, services.pool, services.clock
    kept = KeptReleases(engine)
    stores = UpdateStores(
        releases=services.releases,
        workspaces=services.workspaces,
        versions=services.recorder.versions,
        rows=UpdateRows(engine),
        history=ReleaseHistory(services.releases, kept, services.recorder.versions, clock),
    )
    copies = CopyUpdates(pool, stores, clock, reserve=reserve)
    previews = UpdatePreviews(copies, clock)
    previews.on_change = lambda _: notifier.notify_instructors(Part.COPIES)
    offers = UpdateOffers(copies, previews, pool, clock)
    made = HubUpdates(copies, previews, offers, kept, services.releases, clock)
    return hub.add(made).at_work
