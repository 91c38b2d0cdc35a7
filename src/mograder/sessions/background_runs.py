"""Runs of notebooks that no student waits for, such as grading: they take the memory that is free.

A run begins only while no session waits to start, and leaves memory free for the next starts; its
own memory counts until it has ended, so sessions and runs together stay within the limit.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mograder.sessions.capacity import CapacityLimits
from mograder.sessions.memory_estimate import UNKNOWN, MemoryLedger


@dataclass(slots=True, eq=False)
class _Waiting:
    expected: int
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    admitted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def has_room(expected: int, *, used: int, others: int, limits: CapacityLimits) -> bool:
    """Return whether a run of ``expected`` bytes may begin beside ``others`` that use ``used``.

    It leaves free what the next starts will probably use, but at most a quarter of all, so that
    grading goes on on a small machine as well. The only run needs no memory to be free, but a
    machine.
    """
    if not limits.starts:
        return False
    spare = min(limits.starts * UNKNOWN, limits.memory // 4)
    return not others or (used + expected + spare <= limits.memory and limits.fits(expected))


class BackgroundRuns:
    """The runs that wait for memory or have some; for use on the event loop only.

    ``pump`` is called when memory has become free; it starts sessions that wait, then calls
    :meth:`admit`. Mutable state: ``_waiting``, in the order of arrival.
    """

    def __init__(self, limits: CapacityLimits, ledger: MemoryLedger) -> None:
        self._limits = limits
        self._ledger = ledger
        self._waiting: deque[_Waiting] = deque()
        self.pump: Callable[[], None] = self.admit

    def __len__(self) -> int:
        """Return the number of runs that wait."""
        return len(self._waiting)

    def admit(self) -> None:
        """Admit the runs for which there is room; only while no session waits to start."""
        while self._waiting and self._has_room(self._waiting[0]):
            waiting = self._waiting.popleft()
            if not waiting.admitted.done():  # else it was cancelled, and its task has not run since
                self._ledger.open_run(waiting.run_id, waiting.expected)
                waiting.admitted.set_result(None)

    @asynccontextmanager
    async def memory(self, expected: int) -> AsyncIterator[None]:
        """Wait until ``expected`` bytes are free, and reserve them until the block ends."""
        waiting = _Waiting(expected)
        self._waiting.append(waiting)
        try:
            self.pump()
            await waiting.admitted
            yield
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            self._ledger.close_run(waiting.run_id)
            self.pump()

    def _has_room(self, waiting: _Waiting) -> bool:
        used, others = self._ledger.used(), len(self._ledger)
        return has_room(waiting.expected, used=used, others=others, limits=self._limits)
