"""Drafts: versions, preconditions, and what is on the disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import MograderError
from mograder.core.names import ItemName, Username
from mograder.store.assignment_server.drafts import DRAFTS, Draft, DraftChanged, Drafts

ALICE = Username.parse("alice")
ITEM = ItemName.parse("hw1")
NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    return Drafts(tmp_path)


def save(drafts: Drafts, text: str, over: str | None, user: Username = ALICE) -> Draft:
    return drafts.replace(user, ITEM, text, NOW, over)


def test_a_version_of_nothing_is_refused(drafts: Drafts) -> None:
    with pytest.raises(DraftChanged) as refused:
        save(drafts, "one", "1-0000000000000000")
    assert refused.value.current is None


def test_the_same_text_again_changes_nothing(drafts: Drafts) -> None:
    first = save(drafts, "one", None)
    assert save(drafts, "one", None) == first


def test_of_writers_at_once_one_wins(drafts: Drafts) -> None:
    def write(number: int) -> bool:
        try:
            save(drafts, f"text {number}", None)
        except DraftChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(16)))
    assert won.count(True) == 1
    found = drafts.find(ALICE, ITEM)
    assert found is not None
    assert found.version == 1


def test_a_damaged_draft_is_not_taken_for_none(drafts: Drafts, tmp_path: Path) -> None:
    save(drafts, "one", None)
    file = tmp_path / DRAFTS / ITEM / "alice.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("{")
    with pytest.raises(MograderError, match="cannot be read"):
        drafts.find(ALICE, ITEM)
    with pytest.raises(MograderError, match="cannot be read"):
        save(drafts, "two", None)
