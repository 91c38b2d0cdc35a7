"""The hub's updates of copies: everything that the handlers need of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mograder.core.names import ItemName, Username
from mograder.sessions.updates.copy_updates import CopyUpdates, UpdateStores
from mograder.sessions.updates.offers import UpdateOffers
from mograder.sessions.updates.ports import KeptText
from mograder.sessions.updates.previews import UpdatePreviews
from mograder.store.copy_facts import CopyListing
from mograder.store.copy_updates import UpdateRows
from mograder.store.releases import Releases
from mograder.store.versions import Versions, digest_of
from mograder.store.workspaces import Workspaces
from mograder.web.hub.support.notifier import Notifier, Part
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
        workspaces=services.workspaces,
        versions=services.recorder.versions,
        rows=UpdateRows(engine),
        history=_Published(services.releases, services.recorder.versions),
        placement=_TextOnly(services.workspaces),
    )
    copies = CopyUpdates(pool, stores, clock, reserve=reserve)
    previews = UpdatePreviews(copies, listing, clock)
    previews.on_change = lambda _: notifier.notify_instructors(Part.COPIES)
    return HubUpdates(copies, previews, UpdateOffers(copies, pool, clock))


class _Published:
    """The published releases, and those that stand in the copies' own versions."""

    def __init__(self, releases: Releases, versions: Versions) -> None:
        self._releases = releases
        self._versions = versions

    def present(self, item: ItemName, /) -> KeptText | None:
        release = self._releases.get(item)
        if release is None:
            return None
        text = release.notebook.read_bytes()
        return KeptText(digest_of(text), text.decode())

    def origin(self, user: Username, item: ItemName, mine: str, /) -> KeptText | None:
        digest = self._versions.release_of(user, item)
        for each in self._versions.all(user, item):
            if digest and each.digest == digest:
                return KeptText(digest, self._versions.text(user, item, each.number).decode())
        return None


class _TextOnly:
    """Replaces the text and no files."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    def put(
        self,
        user: Username,
        item: ItemName,
        text: bytes,
        new: KeptText,
        base: KeptText | None,
        now: datetime,
        /,
    ) -> tuple[str, ...]:
        self._workspaces.restore(user, item, text, now)
        return ()
