"""core.item_dates: times that people type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.item_dates import END_OF_DAY, OwnDates, as_shown, read_moment


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
    "text",
    [
        "soon",
        "",
        "0001-01-01T00:00+05:00",
        "9999-12-31T23:59",
        "9" * 40,
        "0",
        "2026",
        "1800",
        "999999999",
        "٢٠٢٦١٢٠١٠٠",
    ],
)
def test_what_is_no_time_is_refused_and_the_message_names_the_zone(text: str) -> None:
    with pytest.raises(InvalidInput, match="without an offset it is in UTC"):
        read_moment(text, UTC)


def test_a_date_alone_is_its_first_moment_or_its_last() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert read_moment("20261122", berlin) == read_moment("2026-11-22", berlin)
    assert read_moment("2026-11-22", berlin) == datetime(2026, 11, 21, 23, tzinfo=UTC)
    last = read_moment("2026-11-22", berlin, END_OF_DAY)
    assert last == datetime(2026, 11, 22, 22, 59, 59, tzinfo=UTC)


def test_work_of_the_last_seconds_of_a_day_is_in_time() -> None:
    end = read_moment("2026-11-22", UTC, END_OF_DAY)
    own, next_day = OwnDates(end, end), datetime(2026, 11, 23, tzinfo=UTC)
    for last in (next_day - timedelta(seconds=1), next_day - timedelta(milliseconds=1)):
        assert not own.is_late(last)
        assert not own.is_closed(last)
        assert own.lateness(last) == ""
    assert own.is_late(next_day)
    assert own.is_closed(next_day)


def test_a_form_that_shows_the_end_of_a_day_leaves_it() -> None:
    end = read_moment("2026-11-22", UTC, END_OF_DAY)
    assert as_shown(read_moment("2026-11-22T23:59", UTC), end, UTC)
