"""core.clock: times in seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mograder.core.clock import from_unix, from_unix_or_none


def test_seconds_are_read_in_utc() -> None:
    assert from_unix(1_790_000_000) == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert from_unix(0).tzinfo is UTC
    assert from_unix_or_none(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_unix_or_none(None) is None


@pytest.mark.parametrize("seconds", [1e12, -1e12, 10**30, 1e308, float("nan"), float("inf")])
def test_seconds_out_of_range_are_refused(seconds: float) -> None:
    assert from_unix_or_none(seconds) is None
    with pytest.raises(ValueError, match="is no time in seconds since 1970"):
        from_unix(seconds)
