"""What an update means for a copy, for every state of its offer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mograder.sessions.copy_updates import Standing, standing_of
from mograder.store.copies.update_rows import CopyUpdateRow, OfferRow, UpdateState

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
OFFER = OfferRow("A1", 2, "new", NOW, "prof")
WITHDRAWN = replace(OFFER, withdrawn=True)


def row(state: UpdateState, offer: int = 2) -> CopyUpdateRow:
    """What the offer of that number did to alice's copy."""
    return CopyUpdateRow("A1", "alice", offer, "new", state, NOW)


def state(
    offer: OfferRow | None, done: CopyUpdateRow | None, present: str = "new", *, behind: bool = True
) -> Standing:
    """The state of alice's copy."""
    return standing_of(offer, done, present=present, behind=behind).state


def test_without_an_offer_there_is_nothing() -> None:
    assert state(None, None) is Standing.NONE
    assert state(None, row(UpdateState.MERGED)) is Standing.NONE


def test_an_offer_waits_for_a_copy_of_another_release() -> None:
    assert state(OFFER, None) is Standing.OFFERED
    assert state(OFFER, None, behind=False) is Standing.NONE


def test_an_offer_of_a_release_that_was_replaced_does_not_count() -> None:
    assert state(OFFER, None, present="newer") is Standing.NONE
    assert state(OFFER, row(UpdateState.REFUSED), present="newer") is Standing.NONE
    assert state(OFFER, row(UpdateState.MERGING), present="newer") is Standing.NONE
    assert state(OFFER, row(UpdateState.MERGED), present="newer") is Standing.MERGED


@pytest.mark.parametrize(
    ("done", "offered", "withdrawn"),
    [
        (UpdateState.MERGING, Standing.OFFERED, Standing.WITHDRAWN),
        (UpdateState.MERGED, Standing.MERGED, Standing.WITHDRAWN),
        (UpdateState.REFUSED, Standing.REFUSED, Standing.NONE),
        (UpdateState.UNDONE, Standing.UNDONE, Standing.NONE),
        (UpdateState.KEPT, Standing.MERGED, Standing.KEPT),
    ],
)
def test_what_was_done_decides(done: UpdateState, offered: Standing, withdrawn: Standing) -> None:
    assert state(OFFER, row(done)) is offered
    assert state(WITHDRAWN, row(done)) is withdrawn


def test_what_an_earlier_offer_did_does_not_count_for_a_new_one() -> None:
    assert state(OFFER, row(UpdateState.UNDONE, offer=1)) is Standing.OFFERED
    assert state(WITHDRAWN, row(UpdateState.MERGED, offer=1)) is Standing.NONE


def test_nothing_is_both_taken_and_undone() -> None:
    for each in Standing:
        assert not (each.takeable and each.undoable)
