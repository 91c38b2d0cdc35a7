"""The hub's updates of copies: everything that the handlers need of them."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.sessions.updates.copy_updates import CopyUpdates, UpdateStores
from mograder.sessions.updates.offers import UpdateOffers
from mograder.sessions.updates.previews import UpdatePreviews
from mograder.store.copy_facts import CopyListing
from mograder.store.copy_updates import UpdateRows
from mograder.web.hub.support.notifier import Notifier, Part
from mograder.web.hub.support.release_history import KeptHistory, MergePlacement
from mograder.web.hub.support.services import Services


@dataclass(frozen=True, slots=True)
class HubUpdates:
    """Updates of copies, their previews, and their offers."""

    copies: CopyUpdates
    previews: UpdatePreviews
    offers: UpdateOffers

    async def close(self) -> None:
        """End previews, and wait until no copy is being changed."""
        await self.previews.close()
        await self.copies.close()


def open_updates(services: Services, listing: CopyListing, notifier: Notifier) -> HubUpdates:
    """Return the updates of a hub; instructors' pages hear of the progress of previews."""
    reserve = services.loaded.settings.limits.disk_reserve
    engine, pool, clock = services.state.engine, services.pool, services.clock
    stores = UpdateStores(
        releases=services.releases,
        workspaces=services.workspaces,
        versions=services.recorder.versions,
        rows=UpdateRows(engine),
        history=KeptHistory(services.releases, services.kept, services.recorder.versions, clock),
        placement=MergePlacement(services.releases, services.kept, services.workspaces),
    )
    copies = CopyUpdates(pool, stores, clock, reserve=reserve)
    previews = UpdatePreviews(copies, listing, clock)
    previews.on_change = lambda _: notifier.notify_instructors(Part.COPIES)
    return HubUpdates(copies, previews, UpdateOffers(copies, pool, clock))
