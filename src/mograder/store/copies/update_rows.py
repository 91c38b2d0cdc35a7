"""Updates in the hub's database: what is offered, and what became of each copy.

An update is a new release that is merged into copies. ``migrations/versions`` creates the two
tables; a contract test compares them with the classes of their rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Index, delete, false, select, update

from mograder.notebook.merge.cell_merge import Conflict as CellConflict
from mograder.store.database.database import (
    Hash,
    Line,
    Name,
    Tables,
    table_of,
    upsert,
    values_of,
    writing,
)
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import metadata

_TEXT = 1000
_MOST_CELLS = 200
"""Largest number of names of each kind that is stored of one merge."""


class UpdateState(StrEnum):
    MERGING = "merging"
    """Begun, and perhaps cut short: the copy has its text from before, or the merged one."""

    MERGED = "merged"
    REFUSED = "refused"
    """It cannot be merged as it is; it is tried again at each start."""

    UNDONE = "undone"
    """It has its text from before the merge again."""

    KEPT = "kept"
    """The update was withdrawn, but the student has worked on the merged copy since."""


@dataclass(frozen=True, slots=True)
class OfferRow:
    """The last offer of an item: ``release`` is the digest of the kept release that is offered.

    ``number`` grows with each offer, so that one that was withdrawn can be made again.
    """

    item: Name
    number: int
    release: Hash
    offered_at: datetime
    offered_by: Name
    withdrawn: bool = False


update_offers = table_of("update_offers", metadata, OfferRow, ("item",), withdrawn=false())


@dataclass(frozen=True, slots=True)
class CopyUpdateRow:
    """What the offer of that number has done to a copy.

    ``before`` is the number of the version with the text before the merge, 0 if it left the text
    alone, and ``after`` the digest of the merged text, also before it is in place. ``reason`` is
    why it was not merged. ``cells`` is the JSON of :class:`MergedCells`.
    """

    item: Name
    username: Name
    offer: int
    release: Hash
    state: UpdateState
    at: datetime
    before: int = 0
    after: Hash = ""
    reason: Line = ""
    cells: str = field(default="{}", repr=False)


copy_updates = table_of(
    "copy_updates", metadata, CopyUpdateRow, ("item", "username"), Index(None, "username")
)


@dataclass(frozen=True, slots=True)
class MergedCells:
    """What a merge did: names of the author's cells, conflicts, and names of data files."""

    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[CellConflict, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the copy was as the new release wants it already."""
        return not (self.replaced or self.added or self.removed or self.conflicts or self.files)


_CELLS = TypeAdapter(MergedCells)


class UpdateRows(Tables):
    def offer(self, item: str) -> OfferRow | None:
        """Return the last offer of an item, also one that was withdrawn."""
        return self._row(OfferRow, select(update_offers).filter_by(item=item))

    def offers(self) -> dict[str, OfferRow]:
        return {row.item: row for row in self._rows(OfferRow, select(update_offers))}

    def make_offer(
        self, item: str, release: str, who: str, at: datetime, *, again: bool = False
    ) -> OfferRow:
        """Offer a release to the copies of an item, in place of what was offered before.

        ``again`` is whether the last offer was of this release with these data files. Copies that
        still have its merge then count as merged by the new offer, which can undo it.
        """
        row = OfferRow(item, 1, release, at, bounded(who, 200))
        number = update_offers.c.number
        values = values_of(row)
        with writing(self._engine) as connection:
            offer = upsert(connection, update_offers, values, number=number + 1).returning(number)
            made = replace(row, number=connection.execute(offer, values).scalar_one())
            if again:
                _take_over(connection, made)
            return made

    def withdraw(self, item: str) -> OfferRow | None:
        """Withdraw the last offer of an item and return it; None if there was never one."""
        changed = update(update_offers).filter_by(item=item).values(withdrawn=True)
        with writing(self._engine) as connection:
            row = connection.execute(changed.returning(*update_offers.c)).one_or_none()
            return None if row is None else OfferRow(*row)

    def copy(self, user: str, item: str) -> CopyUpdateRow | None:
        return self._row(CopyUpdateRow, select(copy_updates).filter_by(item=item, username=user))

    def copies(self, item: str, offer: int) -> tuple[CopyUpdateRow, ...]:
        """Return what the offer of that number did to each copy, by user."""
        wanted = select(copy_updates).filter_by(item=item, offer=offer)
        return self._rows(CopyUpdateRow, wanted.order_by(copy_updates.c.username))

    def save(self, row: CopyUpdateRow) -> None:
        self._put(copy_updates, values_of(row) | {"reason": bounded(row.reason, _TEXT)})

    def forget(self, user: str, item: str) -> None:
        """Remove a copy's row: its text was replaced by something else."""
        self._change(delete(copy_updates).filter_by(item=item, username=user), fleeting=True)


def _take_over(connection: Connection, offer: OfferRow) -> None:
    """Count what the offer before has merged, and has not undone, as merged by this one."""
    c = copy_updates.c
    merged = update(copy_updates).where(
        c.item == offer.item, c.offer == offer.number - 1, c.release == offer.release
    )
    kept = merged.where(c.state == UpdateState.KEPT).values(state=UpdateState.MERGED)
    connection.execute(kept)
    held = merged.where(c.state.in_((UpdateState.MERGING, UpdateState.MERGED)))
    connection.execute(held.values(offer=offer.number))


def stored_cells(cells: MergedCells) -> str:
    kept = {kind: each[:_MOST_CELLS] for kind, each in asdict(cells).items()}
    return json.dumps(kept, ensure_ascii=True)


def cells_in(row: CopyUpdateRow) -> MergedCells:
    """Return what a merge did; nothing if the row's JSON cannot be read."""
    try:
        return _CELLS.validate_json(row.cells)
    except ValidationError:
        return MergedCells()
