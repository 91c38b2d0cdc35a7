"""Updates in the hub's database, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from mograder.notebook.merge.cell_merge import Conflict as CellConflict
from mograder.store.copies.update_rows import (
    CopyUpdateRow,
    MergedCells,
    UpdateRows,
    UpdateState,
    cells_in,
    stored_cells,
)
from tests.support.threads import at_once

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


@pytest.fixture
def rows(engine: Engine) -> UpdateRows:
    return UpdateRows(engine)


def row(user: str = "alice", offer: int = 1) -> CopyUpdateRow:
    """A copy that was merged."""
    return CopyUpdateRow("A1", user, offer, "new", UpdateState.MERGED, NOW, 7, "f" * 64)


def test_each_offer_replaces_the_one_before_and_can_be_withdrawn(rows: UpdateRows) -> None:
    assert rows.offer("A1") is None
    assert rows.withdraw("A1") is None
    assert rows.make_offer("A1", "first", "prof", NOW).number == 1
    withdrawn = rows.withdraw("A1")
    assert withdrawn is not None
    assert withdrawn.withdrawn
    assert withdrawn == rows.withdraw("A1") == rows.offer("A1")
    for number, release in ((2, "first"), (3, "second")):
        again = rows.make_offer("A1", release, "ann", NOW)
        assert (again.number, again.release, again.withdrawn) == (number, release, False)
        assert rows.offer("A1") == again
    rows.make_offer("A2", "other", "prof", NOW)
    assert {item: offer.release for item, offer in rows.offers().items()} == {
        "A1": "second",
        "A2": "other",
    }


def test_offers_at_the_same_time_have_different_numbers(rows: UpdateRows) -> None:
    made = at_once(12, lambda number: rows.make_offer("A1", f"r{number}", "prof", NOW).number)
    assert set(made) == set(range(1, 13))


def test_a_copy_has_the_last_row_that_was_stored(rows: UpdateRows) -> None:
    cells = MergedCells(("the checks",), (), (), (CellConflict("area", 12, "changed by both"),))
    rows.save(replace(row(), state=UpdateState.MERGING))
    rows.save(replace(row(), cells=stored_cells(cells)))
    rows.save(row("bob"))
    rows.save(row("carol", offer=2))
    found = rows.copy("alice", "A1")
    assert found is not None
    assert found.state is UpdateState.MERGED
    assert cells_in(found) == cells
    assert [each.username for each in rows.copies("A1", 1)] == ["alice", "bob"]
    assert rows.copy("alice", "A2") is None


def test_an_offer_made_again_counts_what_the_one_before_has_merged(rows: UpdateRows) -> None:
    rows.make_offer("A1", "new", "prof", NOW)
    for state in UpdateState:
        rows.save(replace(row(state.value), state=state))
    rows.save(replace(row("other"), release="old"))
    rows.make_offer("A1", "new", "prof", NOW, again=True)
    assert {each.username: each.state.value for each in rows.copies("A1", 2)} == {
        "merging": "merging",
        "merged": "merged",
        "kept": "merged",
    }
    rows.make_offer("A1", "new", "prof", NOW)
    assert rows.copies("A1", 3) == ()


def test_long_and_strange_texts_are_stored_within_bounds(rows: UpdateRows) -> None:
    many = tuple(f"cell {number}" for number in range(1000))
    stored = stored_cells(MergedCells(many, many))
    rows.save(replace(row(), reason="x\0\ud800" * 2000, cells=stored))
    found = rows.copy("alice", "A1")
    assert found is not None
    assert len(found.reason) <= 1000
    assert len(cells_in(found).replaced) == 200


def test_cells_that_cannot_be_read_are_none(rows: UpdateRows) -> None:
    assert cells_in(replace(row(), cells="no JSON")) == MergedCells()
