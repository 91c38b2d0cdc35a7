"""Numbers for the sandboxes of one run, so that no two of them have the same user id at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager


class SandboxSlots:
    """Gives out pairs of free numbers, the lowest first; for one event loop.

    Mutable state: ``_free``, numbers that were returned, and ``_next``, the first never given out.
    """

    def __init__(self, first: int = 1) -> None:
        self._free: list[int] = []
        self._next = first

    @contextmanager
    def pair(self) -> Iterator[tuple[int, int]]:
        """Hold two numbers: the worker's and the judge's."""
        taken = self._take(), self._take()
        try:
            yield taken
        finally:
            for each in taken:
                heapq.heappush(self._free, each)

    def _take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1
