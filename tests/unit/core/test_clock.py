"""core.clock: times in seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mograder.core.clock import from_unix, from_unix_or_none, utc_iso


def test_seconds_are_read_in_utc() -> None:
    assert from_unix(1_790_000_000) == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert from_unix(0).tzinfo is UTC
    assert from_unix_or_none(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_unix_or_none(None) is None


def test_times_of_other_zones_are_written_in_utc() -> None:
    at = datetime(2026, 9, 21, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert utc_iso(at) == "2026-09-20T23:30:00+00:00"


@pytest.mark.parametrize("seconds", [1e12, -1e12, 10**30, 1e308, float("nan"), float("inf")])
def test_seconds_out_of_range_are_refused(seconds: float) -> None:
    assert from_unix_or_none(seconds) is None
    with pytest.raises(ValueError, match="is no time in seconds since 1970"):
        from_unix(seconds)
