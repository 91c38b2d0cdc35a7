"""The hub's updates of copies: everything that the handlers need of them.

Among it are the releases of items, the earlier ones too, and merges put in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.core.tasks.periodic import repeat, running
from mograder.sessions.copy_updates import CopyUpdates, KeptText, UpdateStores
from mograder.sessions.update_offers import UpdateOffers, UpdatePreviews
from mograder.store.copies.copy_updates import UpdateRows
from mograder.store.copies.merged_files import Placing
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.releases import Release, Releases
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.versions import Versions
from mograder.web.hub.core.hub_app import HubApp, Run
from mograder.web.hub.core.notifier import Part

_LOOK_SECONDS = 60
_TOLD = (Placing.BESIDE, Placing.STAYS, Placing.FAILED, Placing.REMOVED)
_log = get_logger(__name__)


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
        history=KeptHistory(services.releases, kept, services.recorder.versions, clock),
        placement=MergePlacement(services.releases, kept, services.workspaces),
    )
    copies = CopyUpdates(pool, stores, clock, reserve=reserve)
    previews = UpdatePreviews(copies, hub.listing, clock)
    previews.on_change = lambda _: notifier.notify_instructors(Part.COPIES)
    offers = UpdateOffers(copies, pool, clock)
    made = HubUpdates(copies, previews, offers, kept, services.releases, clock)
    return hub.add(made).at_work


class KeptHistory:
    """The published releases and the kept ones; implements ``ReleaseHistory``."""

    def __init__(
        self, releases: Releases, kept: KeptReleases, versions: Versions, clock: Clock
    ) -> None:
        self._releases = releases
        self._kept = kept
        self._versions = versions
        self._clock = clock

    def present(self, item: ItemName, /) -> KeptText | None:
        """Return the published release of an item; None if it is not published.

        It is kept if it was not, as when its files were copied into the course by hand.
        """
        release = self._releases.get(item)
        if release is None:
            return None
        digest = self._kept.keep(release, self._clock.now())
        text = self._kept.text(digest) if digest else None
        return None if text is None else KeptText(digest, text)

    def origin(self, user: Username, item: ItemName, mine: str, /) -> KeptText | None:
        """Return the release that a copy came from, None if it cannot be told.

        The copy's timeline says so; for older copies the text is compared with the kept releases.
        """
        digest = self._versions.release_of(user, item) or self._kept.fitting(item, mine)
        if not digest:
            return None
        text = self._kept.text(digest)
        return self._in_timeline(user, item, digest) if text is None else KeptText(digest, text)

    def _in_timeline(self, user: Username, item: ItemName, digest: str) -> KeptText | None:
        """Return a release that is not kept, but is the text of a version of the copy."""
        for each in self._versions.all(user, item):
            if each.digest == digest:
                try:
                    text = self._versions.text(user, item, each.number)
                    return KeptText(digest, text.decode())
                except (MograderError, UnicodeDecodeError) as error:
                    _log.warning("a version of %s/%s cannot be read: %s", user, item, error)
        return None


class MergePlacement:
    """Puts merges in place, with the release's data files; implements ``Placement``."""

    def __init__(self, releases: Releases, kept: KeptReleases, workspaces: Workspaces) -> None:
        self._releases = releases
        self._kept = kept
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
        """Replace the text and the data files; return sentences about files that were changed.

        Raises: :class:`~mograder.core.errors.Busy` (disk full), :class:`Conflict` if the item has
        been published again.
        """
        release = self._releases.get(item)
        if release is None or self._kept.keep(release, now) != new.digest:
            raise Conflict(f"{item} has just been published again.", hint="Try again.")
        known = self._kept.known_files(item, "" if base is None else base.digest)
        changes = self._workspaces.merge(user, release, text, known, now)
        return tuple(each.sentence for each in changes if each.how in _TOLD)
