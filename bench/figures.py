"""The arithmetic of the table: percentiles, and how steeply a measured value climbs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], per_cent: float) -> float:
    """The smallest sample that so many per cent of all are not above (the nearest rank).

    With a hundred samples or more one slow sample alone does not decide the 99th.
    Raises: ValueError without samples, or for a rank outside 0 to 100.
    """
    if not samples or not 0 <= per_cent <= 100:
        raise ValueError("a percentile needs samples and a rank between 0 and 100")
    rank = max(1, math.ceil(len(samples) * per_cent / 100))
    return sorted(samples)[rank - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The least-squares slope of (time, value) points: the value's growth per unit of time.

    Points at one moment have no slope: 0.
    """
    if not points:
        return 0.0
    middle = sum(time for time, _ in points) / len(points)
    level = sum(value for _, value in points) / len(points)
    spread = sum((time - middle) ** 2 for time, _ in points)
    together = sum((time - middle) * (value - level) for time, value in points)
    return together / spread if spread else 0.0


def steps(readings: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Turn (time, counter) readings into (time, growth per unit of time) between them."""
    return [
        (later, (high - low) / (later - earlier))
        for (earlier, low), (later, high) in itertools.pairwise(readings)
        if later > earlier
    ]


def arrivals(count: int, seconds: float) -> list[float]:
    """When each of ``count`` students arrives, spread evenly over so many seconds."""
    return [number * seconds / count for number in range(count)]
