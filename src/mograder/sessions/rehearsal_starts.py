"""The starts of a rehearsal: they take what students leave.

A start is admitted only while no student's start waits or is in progress, in places of its own, and
only into memory that the next students' starts do not need (as
:mod:`~mograder.sessions.background_runs`). So no student waits for a rehearsal's start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mograder.sessions.background_runs import has_room
from mograder.sessions.capacity import CapacityLimits
from mograder.sessions.memory_estimate import MemoryLedger
from mograder.sessions.session import SessionKey, Usage
from mograder.sessions.start_ticket import Ticket


class RehearsalStarts:
    """The starts of rehearsals that wait or are in progress; for use on the event loop only.

    ``disturbs`` returns whether a student's start waits or is in progress. Mutable state:
    ``waiting``, in the order of arrival, and ``_starting``. Call :meth:`admit` when memory or a
    place may have become free.
    """

    def __init__(
        self, limits: CapacityLimits, ledger: MemoryLedger, disturbs: Callable[[], bool]
    ) -> None:
        self._limits = limits
        self._ledger = ledger
        self._disturbs = disturbs
        self.waiting: deque[Ticket] = deque()
        self._starting: set[Ticket] = set()

    def __len__(self) -> int:
        """Return the number of starts that wait."""
        return len(self.waiting)

    @property
    def places(self) -> int:
        """How many starts may be in progress: half as many as of students."""
        return max(1, self._limits.starts // 2)

    @property
    def memory(self) -> int:
        """The memory for all sessions together, in bytes."""
        return self._limits.memory

    def used(self) -> int:
        """Return the memory that is in use, in bytes, as admission counts it."""
        return self._ledger.used()

    def lacks_memory(self, expected: int) -> bool:
        """Return whether a start of ``expected`` bytes would wait for memory now."""
        used, others = self._ledger.used(), len(self._ledger)
        return not has_room(expected, used=used, others=others, limits=self._limits)

    async def enter(self, ticket: Ticket) -> Usage:
        """Wait until this start is admitted, and return its entry in the ledger.

        It counts as in progress until :meth:`leave`. Cancellation removes it.

        Raises: :class:`~mograder.core.errors.Conflict` after it was dismissed.
        """
        self.waiting.append(ticket)
        self.admit()
        try:
            return await ticket.admitted
        except BaseException:
            if ticket in self.waiting:
                self.waiting.remove(ticket)
            elif ticket.let_in:  # cancelled after its admission, before its task ran
                self._ledger.close(ticket.session_id)
                self.leave(ticket)
            raise

    def find(self, key: SessionKey) -> Ticket | None:
        """Return the waiting start of a key."""
        return next((each for each in self.waiting if each.key == key), None)

    def leave(self, ticket: Ticket) -> None:
        """End an admitted start's time in progress; does nothing for any other."""
        if ticket in self._starting:
            self._starting.discard(ticket)
            self.admit()

    def admit(self) -> None:
        """Admit the starts that can be."""
        while self.waiting and self._may_start(self.waiting[0]):
            ticket = self.waiting.popleft()
            if not ticket.admitted.done():  # else it was dismissed, and its task has not run since
                self._starting.add(ticket)
                usage = self._ledger.open(ticket.session_id, ticket.expected)
                ticket.admitted.set_result(usage)

    def _may_start(self, ticket: Ticket) -> bool:
        if self._disturbs() or len(self._starting) >= self.places:
            return False
        return not self.lacks_memory(ticket.expected)
