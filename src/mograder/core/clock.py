"""The current time, and times in seconds since 1970, as aware datetimes in UTC."""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime
from typing import Protocol

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, tzinfo=UTC)
"""What can be meant by a date: beyond, some cannot be converted to each time zone."""


class Clock(Protocol):
    """The time of day, and a monotonic time in seconds for measuring durations."""

    def now(self) -> datetime: ...

    def steady(self) -> float: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> float:
        return time.monotonic()


def boot_time() -> float:
    """Return the seconds since the machine's start; on Linux with those in which it slept."""
    if sys.platform == "linux":
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        seconds = time.monotonic()
    return seconds


def from_unix(seconds: float) -> datetime:
    """Return a time in UTC; raises ValueError if ``datetime`` cannot represent it."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{seconds} is no time in seconds since 1970") from error


def from_unix_or_none(seconds: float | None) -> datetime | None:
    """Return a Unix time in UTC; None for None and for what ``datetime`` cannot represent."""
    try:
        return None if seconds is None else from_unix(seconds)
    except ValueError:
        return None


def within_reach(at: date) -> bool:
    """Return whether a date is one that can be meant, and be converted to each time zone."""
    return FIRST.year <= at.year <= LAST.year


def is_after(at: datetime, end: datetime) -> bool:
    """Return whether a time is after the second in which something ends.

    A date alone ends at 23:59:59, and the whole of that second belongs to the day.
    """
    return at.replace(microsecond=0) > end
