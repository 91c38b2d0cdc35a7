"""Deductions for late submissions, by the rule of 0.3.16 (compatibility-0.3.16.md 9); pure.

The time after the due date and the grace counts in days, of which one that has begun counts whole.
Each costs a percentage of the mark, up to a maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mograder.core.clock import from_unix
from mograder.core.errors import InvalidInput
from mograder.core.settings_model import PenaltiesSettings

_DAY = timedelta(days=1)
_ALL = 100.0


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """The rule: ``per_day`` and ``most`` are in per cent of the mark."""

    grace: timedelta
    per_day: float
    most: float

    @classmethod
    def of(cls, settings: PenaltiesSettings) -> LatePolicy:
        """Return the policy of ``[penalties]``, whether it is enabled or not."""
        grace = timedelta(minutes=min(max(settings.grace_minutes, 0.0), 10**7))
        return cls(grace, max(settings.per_day, 0.0), min(max(settings.max, 0.0), _ALL))

    def days_late(self, due: datetime, received: datetime) -> int:
        """Return the number of days for which marks are deducted, 0 for work in time."""
        return max(math.ceil((received - due - self.grace) / _DAY), 0)

    def percent(self, days: int) -> float:
        """Return the deduction for a number of days, in per cent of the mark."""
        return min(days * self.per_day, self.most)


@dataclass(frozen=True, slots=True)
class Lateness:
    """A late submission: its times, the days that count, and the deduction in per cent."""

    due: datetime
    received: datetime
    grace: timedelta
    days: int
    percent: float


def lateness(policy: LatePolicy, due: datetime, received: datetime) -> Lateness | None:
    """Return how late a submission is; None if nothing is deducted."""
    days = policy.days_late(due, received)
    percent = policy.percent(days)
    return Lateness(due, received, policy.grace, days, percent) if percent > 0 else None


def mark_after(mark: float, percent: float) -> float:
    """Return a mark after a deduction in per cent, to one decimal and at least 0."""
    return max(round(mark * (1 - percent / _ALL), 1), 0.0)


def parse_due(text: str) -> datetime:
    """Return a due date: seconds since 1970, or ISO 8601, in UTC unless it says its offset.

    Raises:
        InvalidInput: It is neither.
    """
    try:
        if text.strip().lstrip("-").isdigit():
            return from_unix(int(text))
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput(
            f"{text[:60]!r} is no due date.", hint="Write it as 2026-11-22T18:00+01:00."
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
