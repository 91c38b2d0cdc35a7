"""Notices storms: sessions that keep even those waiting who go before all of them.

What it looks like is told in :mod:`mograder.sandbox.bandwidth`. The supervisor tells by itself how
long it stood in line for a processor, and the kernel how often all processors went from one
process to another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

HELD_PART = 1 / 8
"""Of all processors: what those have together who are held."""

_WAITED = 0.1
"""The part of the time that the supervisor may stand in line."""

_SWITCHES = 15_000
"""Switches on each processor in a second; at work with students in a full hall it has a third."""

_COMES_PART = 0.5
"""So much of either is enough when somebody has just come, to hold for a moment."""

_MOMENT, _FIRST, _LONGEST = 1.0, 5.0, 80.0
"""Seconds for which sessions are held: each storm that follows on a hold doubles them."""

_LEAST_SAMPLE = 0.04
"""Seconds over which both are measured at least."""


class Storms:
    """Whether there is one, from what was measured so far; one thread at a time."""

    def __init__(self, waited: Callable[[], float], switches: Callable[[], int]) -> None:
        """``waited`` tells the seconds in line, ``switches`` their number, both since ever."""
        self._read_waited, self._read_switches = waited, switches
        self._waited, self._switches = waited(), switches()
        self._read_at = -math.inf
        self._until = -math.inf
        self._pause = _FIRST

    def look(self, now: float, *, comes: bool) -> bool:
        """Measure, and return whether sessions are to be held; ``comes``: somebody starts now."""
        passed = now - self._read_at
        if passed < _LEAST_SAMPLE:
            return self.holds(now)
        strain = self._strain(now, passed)
        if strain > 1 and now >= self._until - _MOMENT:
            repeated = now - self._until < self._pause
            self._pause = min(_LONGEST, self._pause * 2) if repeated else _FIRST
            self._until = now + self._pause
        elif comes and strain > _COMES_PART:
            self._until = max(self._until, now + _MOMENT)
        return self.holds(now)

    def holds(self, now: float) -> bool:
        """Whether sessions are held now."""
        return now < self._until

    def _strain(self, now: float, passed: float) -> float:
        """How much of what is bearable; the first time nothing is known."""
        waited, switches = self._read_waited(), self._read_switches()
        in_line = (waited - self._waited) / passed
        switched = (switches - self._switches) / passed / (os.cpu_count() or 1)
        self._waited, self._switches, self._read_at = waited, switches, now
        return max(in_line / _WAITED, switched / _SWITCHES)
