"""``[items.NAME]``: what the administrator decides about one item, and where it is shown."""

from __future__ import annotations

import pytest

from mograder.core.settings import Origin, describe
from tests.unit.core.conftest import Load, Refusal

FILE = """
[limits]
memory_mb = 1000
[items.A1]
allow = ["terminal"]
[items."Week 1 & 2".limits]
memory_mb = 4096
processes = 32
"""


def test_an_items_table_is_read_and_what_is_not_set_stays_open(load: Load) -> None:
    items = load(FILE).settings.items
    assert set(items) == {"A1", "Week 1 & 2"}
    assert items["A1"].allow == ("terminal",)
    assert items["A1"].limits.model_dump(exclude_none=True) == {}
    week = items["Week 1 & 2"]
    assert week.allow is None
    assert week.limits.model_dump(exclude_none=True) == {"memory_mb": 4096, "processes": 32}


def test_what_is_set_is_described_under_the_key_that_the_file_has(load: Load) -> None:
    loaded = load(FILE)
    rows = {row.key: row for row in describe(loaded)}
    shown = {key: row.value for key, row in rows.items() if key.startswith("items")}
    assert shown == {
        "items.A1.allow": ["terminal"],
        'items."Week 1 & 2".limits.memory_mb': 4096,
        'items."Week 1 & 2".limits.processes': 32,
    }
    assert {rows[key].origin for key in shown} == {Origin.FILE}
    assert rows.keys() == loaded.origins.keys()


def test_an_item_that_allows_nothing_is_not_one_that_says_nothing(load: Load) -> None:
    items = load("[items.A1]\nallow = []\n[items.A2]\n").settings.items
    assert (items["A1"].allow, items["A2"].allow) == ((), None)


def test_a_name_is_the_same_however_it_is_composed(load: Load) -> None:
    """The keyboard of one system writes an accent apart from its letter, another's does not."""
    assert set(load("[items.'Ex e\u0301']\n").settings.items) == {"Ex \u00e9"}


def test_only_the_file_has_items(load: Load, refusal: Refusal) -> None:
    loaded = load(environ={"MOGRADER_ITEMS_A1_ALLOW": "ai", "MOGRADER_ITEMS": "x"})
    assert loaded.settings.items == {}
    assert "MOGRADER_ITEMS_A1_ALLOW is not a setting" in loaded.warnings[0]
    assert "There is no setting items" in refusal(items={"A1": {}})
    assert "There is no setting items.A1.allow" in refusal(items__A1__allow=["ai"])


def test_penalties_of_an_item_are_the_keys_that_it_sets(load: Load, refusal: Refusal) -> None:
    loaded = load(
        "[penalties]\nhard_limit = 2027-02-28T18:00:00+01:00\n"
        "[items.A1.penalties]\nper_day = 10\nenabled = false\n"
    )
    assert loaded.settings.penalties.hard_limit == "2027-02-28T18:00:00+01:00"
    rule = loaded.settings.items["A1"].penalties
    assert rule.model_dump(exclude_none=True) == {"per_day": 10, "enabled": False}
    rows = {row.key: row.value for row in describe(loaded)}
    assert rows["items.A1.penalties.per_day"] == 10
    assert "items.A1.penalties.per_days is not a setting" in refusal(
        "[items.A1.penalties]\nper_days = 1\n"
    )
    assert "must be a time such as" in refusal('[items.A1.penalties]\nhard_limit = "soon"\n')


@pytest.mark.parametrize("written", ['"2027-02-28"', "2027-02-28", '"2027-02-28T23:59"'])
def test_a_hard_limit_on_a_day_is_its_last_minute(load: Load, written: str) -> None:
    loaded = load(f"[penalties]\nhard_limit = {written}\n")
    assert loaded.settings.penalties.hard_limit == "2027-02-28T23:59:00+00:00"
