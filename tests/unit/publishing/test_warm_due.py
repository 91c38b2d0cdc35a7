"""Which items are to be warm at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mograder.publishing.warm import due

AT = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
LEAD = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("minutes", "items"),
    [(-16, []), (-15, ["A1"]), (0, ["A1"]), (9, ["A1"]), (10, [])],
)
def test_an_item_is_warm_from_before_its_time_until_late_students_are_there(
    minutes: int, items: list[str]
) -> None:
    assert due([("A1", AT)], AT + timedelta(minutes=minutes), LEAD) == items


def test_without_a_lead_nothing_is_warmed() -> None:
    assert due([("A1", AT)], AT, timedelta()) == []


def test_an_item_with_several_times_is_named_once() -> None:
    times = [("B", AT), ("A", AT), ("B", AT + timedelta(minutes=1))]
    assert due(times, AT, LEAD) == ["A", "B"]
