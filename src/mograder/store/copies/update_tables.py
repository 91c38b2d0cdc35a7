"""The tables of updates, new releases that are merged into copies, and their dataclasses.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, false

from mograder.store.database.row_tables import Hash, Line, Name, table_of
from mograder.store.hub.hub_tables import metadata


class UpdateState(StrEnum):
    """The state of one copy with respect to an offered update."""

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

    ``before`` is the number of the version with the text before the merge, 0 if there is none, and
    ``after`` the digest of the merged text, also before it is in place. ``reason`` is why it was
    not merged. ``cells`` is the JSON of :class:`~mograder.store.copies.copy_updates.MergedCells`.
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
