"""core.item_dates: times that people type."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.item_dates import LAST_MINUTE, read_moment


@pytest.mark.parametrize(
    ("text", "zone", "hour"),
    [
        ("2026-11-22T18:00", "UTC", 18),
        ("2026-11-22 18:00", "Europe/Berlin", 17),
        ("2026-11-22T18:00+01:00", "America/New_York", 17),
        ("1795366800", "Europe/Berlin", 17),
    ],
)
def test_a_time_without_an_offset_is_in_the_zone(text: str, zone: str, hour: int) -> None:
    assert read_moment(text, ZoneInfo(zone)) == datetime(2026, 11, 22, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["soon", "", "0001-01-01T00:00+05:00", "9999-12-31T23:59", "9" * 40]
)
def test_what_is_no_time_is_refused_and_the_message_names_the_zone(text: str) -> None:
    with pytest.raises(InvalidInput, match="without an offset it is in UTC"):
        read_moment(text, UTC)


def test_a_date_alone_is_its_first_minute_or_its_last() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert read_moment("20261122", berlin) == read_moment("2026-11-22", berlin)
    assert read_moment("2026-11-22", berlin) == datetime(2026, 11, 21, 23, tzinfo=UTC)
    assert read_moment("2026-11-22", berlin, LAST_MINUTE) == datetime(
        2026, 11, 22, 22, 59, tzinfo=UTC
    )
