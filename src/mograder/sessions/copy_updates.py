"""Updates of copies: an offered release is merged into a copy, and the merge can be undone.

No text is replaced under anybody's hands: a copy is merged when it is opened and has no session, or
when its student asks for it, which ends the session. The text from before is a version of the copy
first, and stays one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.files.disk import DiskReserve
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.tasks import Progress, SingleFlight, to_its_end
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.merge.cell_merge import Merge
from mograder.processes.notebook_calls import CopyMerger, MergeProposal, MergeQuestion
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import CopyOf
from mograder.store.copies.update_rows import (
    CopyUpdateRow,
    MergedCells,
    OfferRow,
    UpdateRows,
    UpdateState,
    cells_in,
    stored_cells,
)
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.releases import Releases
from mograder.store.versions.kept_releases import KeptText, ReleaseHistory
from mograder.store.versions.versions import Origin, Versions, digest_of


class Standing(StrEnum):
    """The state of a copy, as its student sees it."""

    NONE = "none"
    """Nothing is offered, or the copy is as it should be."""

    OFFERED = "offered"
    """The update is merged at the next start, or when the student takes it."""

    MERGED = "merged"
    REFUSED = "refused"
    """The copy could not be merged; it is tried again at the next start."""

    WITHDRAWN = "withdrawn"
    """The copy gets its text from before back at the next start, unless it is edited."""

    KEPT = "kept"
    """The update was withdrawn, and the copy has been edited since: the student may choose."""

    UNDONE = "undone"
    """The copy has its text from before the update again."""

    @property
    def waits(self) -> bool:
        """Whether something is to be done with the copy at its next start."""
        return self in (Standing.OFFERED, Standing.REFUSED, Standing.WITHDRAWN)

    @property
    def takeable(self) -> bool:
        """Whether the student may have the update merged."""
        return self in (Standing.OFFERED, Standing.REFUSED, Standing.UNDONE)

    @property
    def undoable(self) -> bool:
        """Whether the copy has a merge, which may have changed data files alone."""
        return self in (Standing.MERGED, Standing.WITHDRAWN, Standing.KEPT)


@dataclass(frozen=True, slots=True)
class CopyStanding:
    state: Standing
    offer: OfferRow | None = None
    row: CopyUpdateRow | None = None

    @property
    def undoable(self) -> bool:
        """Whether the student may have the text from before the update: it changed the text."""
        return self.state.undoable and self.row is not None and self.row.before > 0


_OFFERED = {
    UpdateState.MERGING: Standing.OFFERED,
    UpdateState.MERGED: Standing.MERGED,
    UpdateState.REFUSED: Standing.REFUSED,
    UpdateState.UNDONE: Standing.UNDONE,
    UpdateState.KEPT: Standing.MERGED,
}
_WITHDRAWN = {
    UpdateState.MERGING: Standing.WITHDRAWN,
    UpdateState.MERGED: Standing.WITHDRAWN,
    UpdateState.REFUSED: Standing.NONE,
    UpdateState.UNDONE: Standing.NONE,
    UpdateState.KEPT: Standing.KEPT,
}


def as_it_is(row: CopyUpdateRow, came_from: str | None) -> CopyUpdateRow:
    """Return the row of an update of a copy, which comes from the release ``came_from``.

    If that is not the release of the update, the student has put a version from before it back, and
    so the row's state is UNDONE.
    """
    merged = row.state in (UpdateState.MERGED, UpdateState.KEPT)
    return replace(row, state=UpdateState.UNDONE) if merged and came_from != row.release else row


def standing_of(
    offer: OfferRow | None, row: CopyUpdateRow | None, *, present: str, behind: bool
) -> CopyStanding:
    """Return the state of a copy; ``row`` is of the last update that was merged into it.

    ``present`` is the digest of the item's release, "" without one or where its data files are not
    those of the offer. ``behind`` is whether the copy comes from an earlier one. An offer of a
    release that was replaced since does not count.
    """
    if offer is None:
        return CopyStanding(Standing.NONE)
    own = row if row is not None and row.offer == offer.number else None
    if offer.withdrawn:
        return CopyStanding(_WITHDRAWN[own.state] if own else Standing.NONE, offer, own)
    if own is not None and own.state is not UpdateState.REFUSED:
        state = _OFFERED[own.state]
        stale = state is not Standing.MERGED and offer.release != present
        return CopyStanding(Standing.NONE if stale else state, offer, own)
    if present != offer.release or not behind:
        return CopyStanding(Standing.NONE, offer)
    return CopyStanding(_OFFERED[own.state] if own else Standing.OFFERED, offer, own)


def _superseded(item: ItemName) -> Conflict:
    return Conflict(
        f"The update of {item} has just been withdrawn or replaced.", hint="Reload this page."
    )


_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateStores:
    releases: Releases
    workspaces: Workspaces
    versions: Versions
    rows: UpdateRows
    history: ReleaseHistory


@dataclass(frozen=True, slots=True)
class _Plan:
    """A copy that is to be merged: its text, the releases, and what was done before."""

    copy: CopyOf
    offer: OfferRow
    mine: str
    new: KeptText
    base: KeptText | None
    begun: CopyUpdateRow | None

    @property
    def is_in_place(self) -> bool:
        """Whether the copy has the text of a merge that was cut short."""
        return self.begun is not None and self.begun.after == digest_of(self.mine.encode())

    @property
    def question(self) -> MergeQuestion:
        base = None if self.base is None else self.base.text
        return MergeQuestion(base, self.new.text, self.mine)


class CopyUpdates:
    """Merges updates into copies and undoes them; for one event loop. Files and SQL are in threads.

    ``reserve`` is the disk space that must stay free. Previews use ``stores``, and the processes
    of ``merger``, too.
    """

    def __init__(
        self, pool: SessionManager, stores: UpdateStores, clock: Clock, *, reserve: DiskReserve
    ) -> None:
        self._pool = pool
        self.stores = stores
        self._clock = clock
        self._reserve = reserve
        self.merger = CopyMerger()
        self._settling: SingleFlight[CopyOf, CopyUpdateRow | None] = SingleFlight()

    async def close(self) -> None:
        await self._settling.settle()
        await self.merger.close()

    # ---- looking ----

    async def standing(self, copy: CopyOf) -> CopyStanding:
        return await asyncio.to_thread(self._standing, copy)

    def is_waiting(self, copy: CopyOf) -> bool:
        """Return whether something is to be done with a copy at its next start; blocks."""
        return self._standing(copy).state.waits

    def is_offered(self, offer: OfferRow) -> bool:
        """Return whether an offer is of the release that is published now, as it is; blocks."""
        item, at = ItemName(offer.item), offer.offered_at
        return not offer.withdrawn and self.stores.history.is_as_of(item, offer.release, at)

    async def propose(self, copy: CopyOf) -> MergeProposal:
        """Return what merging the item's present release into a copy would give.

        Raises: :class:`NotFound` without a copy or a release, :class:`InvalidInput` with the reason
        why it cannot be merged.
        """
        question = await asyncio.to_thread(self.question, copy)
        return await self.merger.propose(question, copy.user)

    def question(self, copy: CopyOf, present: KeptText | None = None) -> MergeQuestion:
        """Return the texts of a merge with the present release; blocks, raises as `propose`."""
        new = present or self.stores.history.present(copy.item)
        if new is None:
            raise NotFound(f"{copy.item} is not published any more.")
        mine = self.stores.workspaces.text(copy.user, copy.item, MAX_NOTEBOOK)
        base = self.stores.history.origin(copy.user, copy.item, mine)
        return MergeQuestion(None if base is None else base.text, new.text, mine)

    # ---- changing ----

    async def settle(
        self, copy: CopyOf, report: Progress, is_shown: Callable[[], bool]
    ) -> CopyUpdateRow | None:
        """Do what waits for a copy that is about to be opened; return what was done, or None.

        Nothing is done to a copy with a session, or with one that starts, and nothing is merged if
        ``is_shown``, which blocks, says that the student may not learn what is in the release.
        Failures are logged and told, and change nothing: the notebook opens as it is.
        """
        try:
            if self._pool.is_wanted(copy.key):
                return None
            standing = await self.standing(copy)
            if not standing.state.waits:
                return None
            if standing.state.takeable and not await asyncio.to_thread(is_shown):
                return None
            return await self._settling.get(copy, lambda tell: self._settle(copy, tell), report)
        except MograderError as error:
            _log.warning("%s of %s was not updated: %s", copy.item, copy.user, error)
            report(f"The notebook opens as it was: {error.message}")
            return None

    async def take(self, copy: CopyOf) -> CopyUpdateRow:
        """Merge the offered update into a copy; its session is ended first.

        Returns the row with the outcome, which may be that the copy cannot be merged.

        Raises: :class:`Conflict` if there is no update for this copy, :class:`Busy`.
        """
        async with self._pool.without_session(copy.key):
            standing = await self.standing(copy)
            if not standing.state.takeable:
                raise Conflict(
                    f"There is no update of {copy.item} to take.", hint="Reload this page."
                )
            return await self._merge(copy)

    async def put_back(self, copy: CopyOf, *, edited: bool = True) -> CopyUpdateRow:
        """Give a copy its text from before the update again; its session is ended first.

        Without ``edited`` a copy that was edited since is left alone, and is then ``KEPT``.

        Raises: :class:`Conflict` if no update has changed its text, :class:`Busy`.
        """
        async with self._pool.without_session(copy.key):
            standing = await self.standing(copy)
            possible = standing.undoable if edited else standing.state.undoable
            if standing.row is None or not possible:
                raise Conflict(
                    f"No update has changed the text of this copy of {copy.item}.",
                    hint="Reload this page.",
                )
            return await self._go_back(copy, standing.row, edited=edited)

    async def replaced(self, copy: CopyOf) -> None:
        """Note that something else took the place of a copy's text; failures are logged.

        What the last update did to it does not count any more, unless it came before that update.
        """
        try:
            await to_its_end(self._replaced, copy)
        except MograderError as error:
            _log.warning("the update of %s of %s still counts: %s", copy.item, copy.user, error)

    async def _settle(self, copy: CopyOf, tell: Progress) -> CopyUpdateRow | None:
        """Do what waits, once for all who open the copy at the same time."""
        if self._pool.is_wanted(copy.key):
            return None
        async with self._pool.without_session(copy.key):
            standing = await self.standing(copy)
            if standing.state is Standing.WITHDRAWN and standing.row is not None:
                tell("Putting back what the author has withdrawn")
                return await self._go_back(copy, standing.row, edited=False)
            if not standing.state.waits:
                return None
            tell("Bringing the author's corrections into your notebook")
            return await self._merge(copy)

    async def _merge(self, copy: CopyOf) -> CopyUpdateRow:
        plan = await asyncio.to_thread(self._plan, copy)
        if plan.is_in_place:  # merged once more, it might get the new cells a second time
            return await to_its_end(self._put, plan, Merge(plan.mine))
        try:
            merged = await self.merger.merge(plan.question)
        except InvalidInput as error:
            return await to_its_end(self._refuse, plan, error.message)
        return await to_its_end(self._put, plan, merged)

    async def _go_back(self, copy: CopyOf, row: CopyUpdateRow, *, edited: bool) -> CopyUpdateRow:
        """Put the text from before into a copy that has no session; keep an edited one."""
        if not row.before or not await asyncio.to_thread(self._was_put, copy, row):
            none = replace(row, state=UpdateState.UNDONE, at=self._clock.now())
            await to_its_end(self.stores.rows.save, none)
            return none
        if edited:
            return await to_its_end(self._put_back, copy, row)
        present, texts = await asyncio.to_thread(self._around, copy, row)
        same = present in texts or any([await self.merger.same(present, text) for text in texts])
        if same:
            return await to_its_end(self._put_back, copy, row)
        # It has other cells than the merge has left, or than before it.
        kept = replace(row, state=UpdateState.KEPT, at=self._clock.now())
        await to_its_end(self.stores.rows.save, kept)
        return kept

    # ---- in threads ----

    def _replaced(self, copy: CopyOf) -> None:
        stores, user, item = self.stores, copy.user, copy.item
        row = stores.rows.copy(user, item)
        if row is not None and row.release == stores.versions.release_of(user, item):
            stores.rows.forget(user, item)

    def _was_put(self, copy: CopyOf, row: CopyUpdateRow) -> bool:
        """Return whether the merge of a row ever was in a copy; it may have failed before that."""
        if row.state is not UpdateState.MERGING:
            return True
        present = self.stores.workspaces.text(copy.user, copy.item, MAX_NOTEBOOK)
        every = self.stores.versions.all(copy.user, copy.item)
        return row.after in (digest_of(present.encode()), *(each.digest for each in every))

    def _around(self, copy: CopyOf, row: CopyUpdateRow) -> tuple[str, list[str]]:
        """Return a copy's text, and those before and right after a merge that are still there."""
        versions = self.stores.versions
        every = versions.all(copy.user, copy.item)
        own = (each for each in every if each.number == row.before or each.digest == row.after)
        numbers = {each.number for each in own}
        found = [versions.text(copy.user, copy.item, number) for number in numbers]
        present = self.stores.workspaces.text(copy.user, copy.item, MAX_NOTEBOOK)
        return present, [text.decode() for text in found]

    def _standing(self, copy: CopyOf) -> CopyStanding:
        stores, user, item = self.stores, copy.user, copy.item
        offer = stores.rows.offer(item)
        if offer is None:
            return CopyStanding(Standing.NONE)
        row, came_from = stores.rows.copy(user, item), stores.versions.release_of(user, item)
        now = None if row is None else as_it_is(row, came_from)
        if offer.withdrawn:
            return standing_of(offer, now, present="", behind=False)
        present = offer.release if self.is_offered(offer) else ""
        has_copy = stores.workspaces.has_copy(user, item)
        behind = came_from != offer.release
        if has_copy and not behind:
            # A release whose data files only have changed has the same digest, and is newer.
            release = stores.releases.get(item)
            behind = release is not None and stores.workspaces.updated(user, release)
        found = standing_of(offer, now, present=present, behind=behind)
        if found.state is Standing.OFFERED and not has_copy:
            return CopyStanding(Standing.NONE, offer)
        return found

    def _plan(self, copy: CopyOf) -> _Plan:
        rows, history = self.stores.rows, self.stores.history
        offer, new = rows.offer(copy.item), history.present(copy.item)
        if offer is None or offer.withdrawn or new is None or new.digest != offer.release:
            raise _superseded(copy.item)
        mine = self.stores.workspaces.text(copy.user, copy.item, MAX_NOTEBOOK)
        last = rows.copy(copy.user, copy.item)
        begun = last is not None and last.state is UpdateState.MERGING
        cut_short = last if begun and last and last.offer == offer.number else None
        base = history.origin(copy.user, copy.item, mine)
        return _Plan(copy, offer, mine, new, base, cut_short)

    def _refuse(self, plan: _Plan, reason: str) -> CopyUpdateRow:
        row = replace(self._row(plan), state=UpdateState.REFUSED, reason=reason)
        self.stores.rows.save(row)
        return row

    def _put(self, plan: _Plan, merged: Merge) -> CopyUpdateRow:
        """Put a merge in place. A crash leaves the old or the new text, and a row that says so.

        The row of a merge that was cut short once the new text was in place keeps the version from
        before it, and what was done to its cells.
        """
        stores, user, item = self.stores, plan.copy.user, plan.copy.item
        self._reserve.demand_room(stores.workspaces.space())
        now, text = self._clock.now(), merged.text.encode()
        mine, base = plan.mine.encode(), plan.base.digest if plan.base else None
        found = stores.versions.record(user, item, mine, Origin.FOUND, now, release=base)
        before = found.number if text != mine else 0
        cells = MergedCells(merged.replaced, merged.added, merged.removed, merged.conflicts)
        # Else the merge has failed before, and the copy may have been edited since.
        if plan.begun is not None and plan.is_in_place:
            before, cells = plan.begun.before, cells_in(plan.begun)
        row = self._row(plan)
        row = replace(row, before=before, after=digest_of(text), cells=stored_cells(cells))
        stores.rows.save(row)
        if stores.rows.offer(item) != plan.offer:  # a later withdrawal finds the row
            raise _superseded(item)
        release, known = stores.history.to_merge(item, plan.new, plan.base)
        changes = stores.workspaces.merge(user, release, text, known, now)
        files = tuple(each.sentence for each in changes if each.is_told)
        stores.versions.record(user, item, text, Origin.MERGE, now, release=plan.new.digest)
        told = stored_cells(replace(cells, files=files))
        done = replace(row, state=UpdateState.MERGED, cells=told)
        stores.rows.save(done)
        return done

    def _row(self, plan: _Plan) -> CopyUpdateRow:
        return CopyUpdateRow(
            item=str(plan.copy.item),
            username=str(plan.copy.user),
            offer=plan.offer.number,
            release=plan.offer.release,
            state=UpdateState.MERGING,
            at=self._clock.now(),
        )

    def _put_back(self, copy: CopyOf, row: CopyUpdateRow) -> CopyUpdateRow:
        stores, user, item = self.stores, copy.user, copy.item
        now = self._clock.now()
        present = stores.workspaces.text(user, item, MAX_NOTEBOOK).encode()
        before = stores.versions.text(user, item, row.before)
        came_from = stores.versions.release_of_text(user, item, before) or ""
        stores.versions.record(user, item, present, Origin.FOUND, now)
        if present != before:  # else the merge was cut short, or changed nothing
            self._reserve.demand_room(stores.workspaces.space())
            stores.workspaces.unmerge(user, item, before, now)
        stores.versions.record(user, item, before, Origin.RESTORE, now, release=came_from)
        undone = replace(row, state=UpdateState.UNDONE, at=now)
        stores.rows.save(undone)
        return undone
