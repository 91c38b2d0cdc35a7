"""What lasts until the end of a ``with`` statement: objects, pipes, and counts."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class Closing(ABC):
    """A context manager with a ``close`` method that may be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""


def open_pipes(count: int) -> tuple[tuple[int, int], ...]:
    """Return the descriptors of new pipes, each end to read first; all of them or none."""
    found: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            found.append(os.pipe())  # noqa: PERF401 - those that are open must be known
    except OSError:
        for each in found:
            os.close(each[0])
            os.close(each[1])
        raise
    return tuple(found)


@contextmanager
def under_way(counts: Counter[str], person: str, amount: int = 1) -> Iterator[None]:
    """Count what a person has under way, for a limit on it; a count of 0 is removed."""
    counts[person] += amount
    try:
        yield
    finally:
        counts[person] -= amount
        if not counts[person]:
            del counts[person]
