"""The tables of updates, new releases that are merged into copies, and their dataclasses.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Boolean, Column, Enum, Index, Integer, Table, Text, false

from mograder.store.hub.hub_tables import HASH, NAME, TEXT, UtcDateTime, metadata


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


def _word_of(kind: type[StrEnum]) -> Enum:
    return Enum(
        kind,
        native_enum=False,
        length=20,
        values_callable=lambda members: [each.value for each in members],
    )


update_offers = Table(
    "update_offers",
    metadata,
    Column("item", NAME, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("release", HASH, nullable=False),
    Column("offered_at", UtcDateTime(), nullable=False),
    Column("offered_by", NAME, nullable=False),
    Column("withdrawn", Boolean, nullable=False, server_default=false()),
)

copy_updates = Table(
    "copy_updates",
    metadata,
    Column("item", NAME, primary_key=True),
    Column("username", NAME, primary_key=True),
    Column("offer", Integer, nullable=False),
    Column("release", HASH, nullable=False),
    Column("state", _word_of(UpdateState), nullable=False),
    Column("at", UtcDateTime(), nullable=False),
    Column("before", Integer, nullable=False),
    Column("after", HASH, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("cells", Text, nullable=False),
    Index(None, "username"),
)


@dataclass(frozen=True, slots=True)
class OfferRow:
    """The last offer of an item: ``release`` is the digest of the kept release that is offered.

    ``number`` grows with each offer, so that one that was withdrawn can be made again.
    """

    item: str
    number: int
    release: str
    offered_at: datetime
    offered_by: str
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class CopyUpdateRow:
    """What the offer of that number has done to a copy.

    ``before`` is the number of the version with the text before the merge, 0 if there is none, and
    ``after`` the digest of the version with the merged text. ``reason`` is why it was not merged.
    ``cells`` is the JSON of :class:`~mograder.store.copies.copy_updates.MergedCells`.
    """

    item: str
    username: str
    offer: int
    release: str
    state: UpdateState
    at: datetime
    before: int = 0
    after: str = ""
    reason: str = ""
    cells: str = field(default="{}", repr=False)
