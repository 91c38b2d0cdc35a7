"""Counts of what each person has under way, for limits on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def under_way(counts: Counter[str], person: str, amount: int = 1) -> Iterator[None]:
    """Add to a person's count until the block ends; a count of 0 is removed."""
    counts[person] += amount
    try:
        yield
    finally:
        counts[person] -= amount
        if not counts[person]:
            del counts[person]
