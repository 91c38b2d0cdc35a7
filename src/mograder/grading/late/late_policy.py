"""Deductions for late submissions: the rule of 0.3.16 and what may be added to it; pure.

compatibility-0.3.16.md 9. The time after the due date and the grace counts in days, of which one
that has begun counts whole. Each costs a percentage of the mark, up to a maximum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mograder.core.clock import parse_time
from mograder.core.settings_model import LateRule, PenaltiesSettings

_DAY = timedelta(days=1)
_ALL = 100.0
_MOST_MINUTES = 10**7


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """The rule: ``per_day`` and ``most`` are in per cent of the mark.

    ``cut_off_days`` are the days after which nothing counts, 0 for none; ``hard_limit`` is the time
    after which nothing counts. ``late_days_each`` bounds the late days of the term that may be used
    here, None for no bound.
    """

    grace: timedelta
    per_day: float
    most: float
    cut_off_days: int = 0
    hard_limit: datetime | None = None
    late_days_each: int | None = None
    enabled: bool = True

    @classmethod
    def of(cls, settings: PenaltiesSettings) -> LatePolicy:
        """Return the policy of the keys of ``[penalties]``."""
        return cls(
            timedelta(minutes=min(max(settings.grace_minutes, 0.0), _MOST_MINUTES)),
            max(settings.per_day, 0.0),
            min(max(settings.max, 0.0), _ALL),
            settings.cut_off_days,
            parse_time(settings.hard_limit) if settings.hard_limit.strip() else None,
            settings.late_days_each,
            settings.enabled,
        )

    def days_late(self, due: datetime, received: datetime) -> int:
        """Return the number of days for which marks are deducted, 0 for work in time."""
        return max(math.ceil((received - due - self.grace) / _DAY), 0)

    def is_cut_off(self, days: int) -> bool:
        """Return whether work that is so many days late counts nothing."""
        return 0 < self.cut_off_days < days

    def percent(self, days: int) -> float:
        """Return the deduction for a number of days, in per cent of the mark."""
        return _ALL if self.is_cut_off(days) else min(days * self.per_day, self.most)

    def late_days_for(self, days: int, left: int) -> int:
        """Return how many late days of the term to use: the fewest with the least deduction."""
        each = left if self.late_days_each is None else min(left, self.late_days_each)
        usable = range(min(days, max(each, 0)) + 1)
        return min(usable, key=lambda used: (self.percent(days - used), used))


def merged(settings: PenaltiesSettings, *rules: LateRule | None) -> PenaltiesSettings:
    """Return the keys in force; those of a later rule count before those of an earlier one."""
    values: Mapping[str, object] = settings.model_dump()
    for rule in rules:
        if rule is not None:
            values = {**values, **rule.model_dump(exclude_none=True)}
    return PenaltiesSettings.model_validate(values)
