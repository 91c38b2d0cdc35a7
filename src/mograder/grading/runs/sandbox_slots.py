"""Numbers for the sandboxes of one run, so that no two of them have the same user id at a time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mograder.sandbox.protocol import COMMANDS_SLOT


class SandboxSlots:
    """Gives out pairs of free numbers, the lowest first; for one event loop.

    ``numbers`` are those to give out, by default those of commands. Mutable state: ``_free``,
    numbers that were returned, and ``_new``, those never given out.
    """

    def __init__(self, numbers: Iterable[int] | None = None) -> None:
        self._free: list[int] = []
        self._new = iter(itertools.count(COMMANDS_SLOT) if numbers is None else numbers)

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
        return next(self._new)
