"""What an update means for one copy at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mograder.store.copies.copy_updates import CopyUpdateRow, OfferRow, UpdateState


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
        """Whether the student may have the text from before the update."""
        return self in (Standing.MERGED, Standing.WITHDRAWN, Standing.KEPT)


@dataclass(frozen=True, slots=True)
class CopyStanding:
    """The state of a copy, with the rows that it follows from."""

    state: Standing
    offer: OfferRow | None = None
    row: CopyUpdateRow | None = None


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


def standing_of(
    offer: OfferRow | None, row: CopyUpdateRow | None, *, present: str, behind: bool
) -> CopyStanding:
    """Return the state of a copy; ``row`` is of the last update that was merged into it.

    ``present`` is the digest of the item's release, "" without one, and ``behind`` is whether the
    copy comes from an earlier one. An offer of a release that was replaced since does not count.
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
