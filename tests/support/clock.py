"""A clock that only the test advances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Fulfils :class:`~mograder.core.clock.Clock`."""

    def __init__(self, start: datetime = datetime(2026, 9, 1, 9, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._steady = 1000.0

    def now(self) -> datetime:
        return self._now

    def steady(self) -> float:
        return self._steady

    def set_by(self, seconds: float) -> None:
        """Set the time of day, as an administrator or a time server does."""
        self._now += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._steady += seconds
