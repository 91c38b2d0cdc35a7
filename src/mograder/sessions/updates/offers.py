"""Offering an update to all copies of an item, withdrawing it, and what has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.core.tasks.single_flight import Progress
from mograder.sessions.manager import SessionManager
from mograder.sessions.student_copies import CopyOf
from mograder.sessions.updates.copy_updates import CopyUpdates
from mograder.store.copies.copy_updates import CopyUpdateRow, OfferRow, PreviewRow, UpdateState

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateOverview:
    """An item's update: its last offer, the copies that it reached, and the last preview.

    ``present`` is the digest of the published release, "" without one.
    """

    present: str
    offer: OfferRow | None
    copies: Sequence[CopyUpdateRow]
    preview: PreviewRow | None

    @property
    def offered(self) -> bool:
        """Whether the present release is offered."""
        offer = self.offer
        return offer is not None and not offer.withdrawn and offer.release == self.present

    @property
    def previewed(self) -> bool:
        """Whether the last preview is of the present release."""
        return self.preview is not None and self.preview.release == self.present


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What undoing an update did: users whose copies have the text from before, and the others.

    ``kept`` were edited since the merge, ``waiting`` are open at the moment and follow at their
    next start, ``failed`` are users with the reason.
    """

    undone: tuple[str, ...]
    kept: tuple[str, ...]
    waiting: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


class UpdateOffers:
    """Offers updates and withdraws them; for one event loop."""

    def __init__(self, updates: CopyUpdates, pool: SessionManager, clock: Clock) -> None:
        self._updates = updates
        self._stores = updates.stores
        self._pool = pool
        self._clock = clock

    async def overview(self, item: ItemName) -> UpdateOverview:
        """Return what has become of an item's update."""
        return await asyncio.to_thread(self._overview, item)

    async def offer(self, item: ItemName, who: str) -> OfferRow:
        """Offer the published release to all copies.

        Raises: :class:`NotFound` if the item is not published, :class:`Conflict` if its release is
        offered already.
        """
        return await asyncio.to_thread(self._offer, item, who)

    async def withdraw(self, item: ItemName, report: Progress) -> Withdrawal:
        """Withdraw the last offer, and give each merged copy its text from before.

        Copies that were edited since, and those that are open, are left alone. Calling it again
        goes on with what is left.

        Raises: :class:`NotFound` if nothing was ever offered.
        """
        rows = self._stores.rows
        offer = await asyncio.to_thread(rows.offer, item)
        if offer is None:
            raise NotFound(f"No update of {item} was offered.")
        await asyncio.to_thread(rows.withdraw, item)
        merged = [
            each
            for each in await asyncio.to_thread(rows.copies, item, offer.number)
            if each.state in (UpdateState.MERGED, UpdateState.MERGING)
        ]
        done = _Lists([], [], [], [])
        for number, row in enumerate(merged, start=1):
            report(f"Undoing the update: {number} of {len(merged)}")
            await self._undo(CopyOf(Username(row.username), item), done)
        return Withdrawal(
            tuple(done.undone), tuple(done.kept), tuple(done.waiting), tuple(done.failed)
        )

    async def _undo(self, copy: CopyOf, done: _Lists) -> None:
        if self._pool.find(copy.key) is not None:
            done.waiting.append(str(copy.user))
            return
        try:
            row = await self._updates.put_back(copy, edited=False)
        except MograderError as error:
            _log.warning("the update of %s of %s was not undone: %s", copy.item, copy.user, error)
            done.failed.append((str(copy.user), error.message))
            return
        lists = {UpdateState.UNDONE: done.undone, UpdateState.KEPT: done.kept}
        lists[row.state].append(str(copy.user))

    def _overview(self, item: ItemName) -> UpdateOverview:
        present = self._stores.history.present(item)
        offer = self._stores.rows.offer(item)
        return UpdateOverview(
            "" if present is None else present.digest,
            offer,
            () if offer is None else self._stores.rows.copies(item, offer.number),
            self._stores.rows.preview(item),
        )

    def _offer(self, item: ItemName, who: str) -> OfferRow:
        present = self._stores.history.present(item)
        if present is None:
            raise NotFound(f"{item} is not published.")
        last = self._stores.rows.offer(item)
        if last is not None and not last.withdrawn and last.release == present.digest:
            raise Conflict(f"This release of {item} is offered already.")
        return self._stores.rows.make_offer(item, present.digest, who, self._clock.now())


@dataclass(frozen=True, slots=True)
class _Lists:
    undone: list[str]
    kept: list[str]
    waiting: list[str]
    failed: list[tuple[str, str]]
