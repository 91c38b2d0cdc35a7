"""The queue of session starts: strictly first come, first served.

The first start is admitted when fewer than ``starts`` others are in progress and its memory fits
(decision 25). A smaller start does not overtake a larger one, which otherwise might never be
admitted. The rule (:func:`obstacle`) is separate from the state (:class:`StartQueue`).
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from mograder.core.clock import Clock
from mograder.core.errors import Busy, Conflict
from mograder.core.names import is_rehearsal
from mograder.sandbox.protocol import Mode
from mograder.sessions.capacity import CapacityLimits
from mograder.sessions.counters import Counters
from mograder.sessions.memory_estimate import MemoryLedger
from mograder.sessions.rehearsal_starts import RehearsalStarts
from mograder.sessions.session import LiveSession, SessionKey, Usage
from mograder.sessions.start_ticket import Ticket

_PLACE_SECONDS = 15.0
"""How long an unanswered start counts against the concurrent starts. A cold start on a busy
machine takes 5 s; a few servers that students made to hang must not block all other starts."""

_CROWD_SECONDS = 2.0
"""How long, from its start, a new session delays its kernel until others' pages are served."""

_TELL_SECONDS = 0.25
"""Interval at which changed places are reported: each step changes the place of all that wait."""

RECONSIDER_SECONDS = 1.0
"""The least time between two looks at all sessions and all that wait for the sake of news, which
one machine has each second, and twenty nodes thirty times a second. An end is looked at at once."""

_PACES = 20
_SOONEST, _LATEST, _UNKNOWN = 10, 300, 60


class Obstacle(Enum):
    """The reason why the first start waits; the text completes "You are number 3 in line"."""

    MACHINES = "no machine is ready yet."
    PLACES = "many notebooks are starting at the moment."
    MEMORY = "the server's memory is in use, and places get free as others finish."


def obstacle(
    expected: int, *, used: int, sessions: int, starting: int, limits: CapacityLimits
) -> Obstacle | None:
    """Return why a start must wait, or None; without other sessions, memory is no obstacle.

    ``used`` is the memory of all ``sessions`` in bytes, including those that are starting.
    """
    if not limits.starts:
        return Obstacle.MACHINES
    if starting >= limits.starts:
        return Obstacle.PLACES
    if sessions and (used + expected > limits.memory or not limits.fits(expected)):
        return Obstacle.MEMORY
    return None


def retry_after(admissions: Sequence[float], waiting: int) -> int:
    """Return after how many seconds to try again, from the steady times of past admissions."""
    if len(admissions) < 2:
        return _UNKNOWN
    pace = (admissions[-1] - admissions[0]) / (len(admissions) - 1)
    return min(max(math.ceil(pace * waiting), _SOONEST), _LATEST)


def place_text(place: int, why: Obstacle) -> str:
    """Return the text that tells a student the place in the queue; ``place`` counts from 1."""
    return f"You are number {place} in line: {why.value} Your notebook opens by itself."


class StartQueue:
    """The starts that wait or are in progress; for use on the event loop only.

    Mutable state: ``_waiting``, in the order of their numbers, and ``_starting``, a count.
    ``pressed`` is set while the first one waits for memory. ``_calm`` is cleared when starts wait
    for a place, and set again once none is waiting or in progress. Call :meth:`pump` when memory
    may have become free. ``when_none_waits`` is called then if no start waits. The starts of
    ``rehearsed`` are in no line with these, and count for no rule here.
    """

    def __init__(
        self,
        limits: CapacityLimits,
        ledger: MemoryLedger,
        tally: Counters,
        clock: Clock,
        *,
        place_seconds: float = _PLACE_SECONDS,
    ) -> None:
        """``place_seconds`` is how long an unanswered start counts as in progress."""
        self._limits = limits
        self._ledger = ledger
        self._tally = tally
        self._clock = clock
        self._place_seconds = place_seconds
        self._waiting: list[Ticket] = []
        self._starting = 0
        self._admissions: deque[float] = deque(maxlen=_PACES)
        self._telling: asyncio.TimerHandle | None = None
        self.rehearsed = RehearsalStarts(limits, ledger, self._disturbed)
        self.when_none_waits: Callable[[], None] = lambda: None
        self.pressed = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()

    def __len__(self) -> int:
        """Return the number of waiting starts."""
        return len(self._waiting)

    def demand_room(self) -> None:
        """Check that the queue is not full.

        Raises: :class:`Busy` with the seconds after which to try again.
        """
        if len(self._waiting) >= self._limits.line:
            self._tally.starts["unknown", "refused"] += 1
            raise Busy(
                "The server is full, and so is the line of those who wait.",
                hint="Try again in a few minutes.",
                retry_after=retry_after(self._admissions, len(self._waiting)),
            )

    async def enter(self, ticket: Ticket) -> Usage:
        """Wait until this start is admitted, and return its entry in the ledger.

        It counts as in progress until :meth:`leave`. Cancellation removes it from the queue.

        Raises: :class:`Busy` when the queue is full, :class:`Conflict` after :meth:`dismiss`.
        """
        if is_rehearsal(ticket.key.user):
            return await self.rehearsed.enter(ticket)
        self.demand_room()
        bisect.insort(self._waiting, ticket, key=lambda each: each.number)
        self.pump()
        if ticket in self._waiting:  # the first place is reported at once, later ones in batches
            self._tell(self._waiting.index(ticket) + 1, ticket, self._obstacle())
        try:
            usage = await ticket.admitted
        except BaseException:
            self._withdraw(ticket)
            raise
        loop = asyncio.get_running_loop()
        ticket.timer = loop.call_later(self._place_seconds, self.leave, ticket)
        return usage

    def dismiss(self, key: SessionKey) -> bool:
        """Remove the waiting start of a key; return false if there is none."""
        waiting = (each for each in self._waiting if each.key == key)
        ticket = next(waiting, None) or self.rehearsed.find(key)
        if ticket is None or ticket.admitted.done():
            return False
        ticket.admitted.set_exception(
            Conflict("The notebook was stopped before its turn came.", hint="Open it again.")
        )
        return True

    def reconsider(
        self, running: Iterable[LiveSession], expected: Callable[[SessionKey], int]
    ) -> None:
        """Update the expected memory of waiting starts and running sessions, then admit starts.

        ``expected`` returns the bytes that a session of a key will probably use.
        """
        known: dict[tuple[str, Mode], int] = {}

        def by_now(key: SessionKey) -> int:
            if (key.item, key.mode) not in known:
                known[key.item, key.mode] = expected(key)
            return known[key.item, key.mode]

        for live in running:
            live.usage.expected = min(live.usage.expected, by_now(live.key))
        for ticket in (*self._waiting, *self.rehearsed.waiting):
            ticket.expected = by_now(ticket.key)
        self.pump()

    def pump(self) -> None:
        """Admit the starts that can be, and report the new places to the others."""
        why = None
        while self._waiting and (why := self._obstacle()) is None:
            self._admit(self._waiting.pop(0))
        if self._waiting and why is Obstacle.MEMORY:
            self.pressed.set()
        else:
            self.pressed.clear()
        self._changed()
        if not self._waiting:
            self.rehearsed.admit()
            self.when_none_waits()

    async def pages_first(self, live: LiveSession) -> None:
        """Delay a new session's kernel while other starts wait, by at most two seconds.

        Serving the page is half the work of a start. When thirty start at once, all pages are
        served before the first kernels run; otherwise the last page would wait for all kernels.
        """
        age = (self._clock.now() - live.started_at).total_seconds()
        if age < _CROWD_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CROWD_SECONDS - max(0.0, age)):
                    await self._calm.wait()

    def shortage(self) -> int:
        """Return the memory in bytes that the next ``starts`` waiting starts lack."""
        waiting = self._waiting[: self._limits.starts]
        wanted = sum(each.expected for each in waiting)
        if not wanted:
            return 0
        least = 0 if self._limits.fits(waiting[0].expected) else waiting[0].expected
        return max(least, self._ledger.used() + wanted - self._limits.memory)

    def leave(self, ticket: Ticket) -> None:
        """End an admitted start's time in progress, and admit the next; later calls do nothing."""
        if ticket.timer is not None:
            ticket.timer.cancel()
            ticket.timer = None
            self._starting -= 1
            self.pump()
        else:
            self.rehearsed.leave(ticket)

    def close(self) -> None:
        """Stop reporting places; the owner cancels the waiting starts."""
        if self._telling is not None:
            self._telling.cancel()

    def _disturbed(self) -> bool:
        return bool(self._waiting or self._starting)

    def _obstacle(self) -> Obstacle | None:
        return obstacle(
            self._waiting[0].expected,
            used=self._ledger.used(),
            sessions=len(self._ledger),
            starting=self._starting,
            limits=self._limits,
        )

    def _admit(self, ticket: Ticket) -> None:
        if ticket.admitted.done():  # dismissed, and its task has not run since
            return
        self._starting += 1
        self._admissions.append(self._clock.steady())
        ticket.admitted.set_result(self._ledger.open(ticket.session_id, ticket.expected))

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            self.pump()
        elif ticket.let_in:  # cancelled after its admission, before its task ran
            self._ledger.close(ticket.session_id)
            self._starting -= 1
            self.pump()

    def _changed(self) -> None:
        self._tally.queue_length = len(self._waiting)
        if self.pressed.is_set() or not (self._waiting or self._starting):
            self._calm.set()
        elif self._waiting:
            self._calm.clear()
        if self._waiting and self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(_TELL_SECONDS, self._tell_all)

    def _tell_all(self) -> None:
        self._telling = None
        why = self._obstacle() if self._waiting else None
        for place, ticket in enumerate(self._waiting, start=1):
            self._tell(place, ticket, why)

    def _tell(self, place: int, ticket: Ticket, why: Obstacle | None) -> None:
        text = place_text(place, why or Obstacle.PLACES)
        if text != ticket.last_text:
            ticket.last_text = text
            ticket.tell(text)
