"""Admission of everything that needs memory: one queue of three kinds of requests.

Starts of students come first, then those of rehearsals, then runs that nobody waits for, such as
grading. Within a kind it is strictly first come, first served: a smaller request does not overtake
a larger one, which otherwise might never be admitted (decision 25). The rule (:func:`obstacle`) is
separate from the state (:class:`AdmissionQueue`).
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mograder.core.clock import Clock
from mograder.core.errors import Busy, Conflict
from mograder.core.tasks import Paced, Progress, set_within
from mograder.sandbox.protocol import Mode
from mograder.sessions.capacity import UNKNOWN, CapacityLimits, MemoryLedger
from mograder.sessions.counters import Counters
from mograder.sessions.session import LiveSession, SessionKey, Usage

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
_SOONEST, _LATEST, _UNKNOWN_PACE = 10, 300, 60


class Kind(Enum):
    STUDENT = "student"
    REHEARSAL = "rehearsal"
    """A start of a rehearsal: in places of its own, so that no student waits for one."""
    RUN = "run"
    """A run of notebooks, such as grading, that no student waits for."""


class Obstacle(Enum):
    """The reason why the first request of a kind waits.

    For a student, the text completes "You are number 3 in line".
    """

    MACHINES = "no machine is ready yet."
    STUDENTS = "students' notebooks come first."
    PLACES = "many notebooks are starting at the moment."
    MEMORY = "the server's memory is in use, and places get free as others finish."


@dataclass(frozen=True, slots=True)
class Load:
    """What a request is compared with.

    ``used`` is the memory in bytes of all ``others``, which are sessions (those that are starting
    as well) and runs. ``starting`` are the starts of the same kind in progress, ``students`` those
    of students, of which ``waiting`` wait.
    """

    used: int = 0
    others: int = 0
    starting: int = 0
    students: int = 0
    waiting: int = 0


def places(kind: Kind, limits: CapacityLimits) -> int:
    """Return how many starts may be in progress: of rehearsals half as many as of students."""
    return limits.starts if kind is Kind.STUDENT else max(1, limits.starts // 2)


def obstacle(kind: Kind, expected: int, load: Load, limits: CapacityLimits) -> Obstacle | None:
    """Return why the first request of a kind must wait, or None.

    Without others, memory is no obstacle. A rehearsal's start or a run leaves free what the next
    students' starts will probably use, but at most a quarter of all, so that grading goes on on a
    small machine as well.
    """
    first = kind is Kind.STUDENT
    if not limits.starts:
        return Obstacle.MACHINES
    if not first and (load.waiting or (kind is Kind.REHEARSAL and load.students)):
        return Obstacle.STUDENTS
    if kind is not Kind.RUN and load.starting >= places(kind, limits):
        return Obstacle.PLACES
    spare = 0 if first else min(limits.starts * UNKNOWN, limits.memory // 4)
    if load.others and (load.used + expected + spare > limits.memory or not limits.fits(expected)):
        return Obstacle.MEMORY
    return None


def retry_after(admissions: Sequence[float], waiting: int) -> int:
    """Return after how many seconds to try again, from the steady times of past admissions."""
    if len(admissions) < 2:
        return _UNKNOWN_PACE
    pace = (admissions[-1] - admissions[0]) / (len(admissions) - 1)
    return min(max(math.ceil(pace * waiting), _SOONEST), _LATEST)


def place_text(place: int, why: Obstacle) -> str:
    """Return the text that tells a student the place in the queue; ``place`` counts from 1."""
    return f"You are number {place} in line: {why.value} Your notebook opens by itself."


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits or was admitted; those of a kind are ordered by ``number``.

    ``id`` is that of the session or run, ``expected`` is in bytes; a run has no ``key``.
    ``admitted`` resolves to the entry in the ledger. ``last_text`` is the last text that was passed
    to ``tell``. ``timer`` runs while the start counts as in progress.
    """

    kind: Kind
    number: int
    id: str
    expected: int
    key: SessionKey | None = None
    tell: Progress = lambda _: None
    admitted: asyncio.Future[Usage] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    last_text: str = ""
    timer: asyncio.TimerHandle | None = None


class AdmissionQueue:
    """The requests that wait, and the starts in progress; for use on the event loop only.

    Mutable state: ``_lines``, in the order of their numbers, and ``_starting``, of each kind.
    ``pressed`` is set while the first student waits for memory. ``_calm`` is cleared when students
    wait for a place, and set again once none is waiting or in progress. Call :meth:`pump` when
    memory may have become free. ``expected`` is that of the ledger.
    """

    def __init__(
        self,
        limits: CapacityLimits,
        ledger: MemoryLedger,
        tally: Counters,
        clock: Clock,
    ) -> None:
        self._limits = limits
        self._ledger = ledger
        self._tally = tally
        self._clock = clock
        self._lines: dict[Kind, list[Ticket]] = {kind: [] for kind in Kind}
        self._starting: dict[Kind, set[Ticket]] = {kind: set() for kind in Kind}
        self._admissions: deque[float] = deque(maxlen=_PACES)
        self._tell_all = Paced(self._tell_places, _TELL_SECONDS)
        self.expected = ledger.expected
        self.pressed = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()

    def waiting(self, kind: Kind = Kind.STUDENT) -> Sequence[Ticket]:
        """Return the requests of a kind that wait, the next one first."""
        return tuple(self._lines[kind])

    @property
    def idle(self) -> bool:
        return not any(self._lines.values())

    @property
    def memory(self) -> int:
        """The memory for all sessions together, in bytes."""
        return self._limits.memory

    def used(self) -> int:
        return self._ledger.used()

    def places(self, kind: Kind) -> int:
        return places(kind, self._limits)

    def demand_room(self) -> None:
        """Raise Busy, with the seconds after which to try again, if the students' line is full."""
        waiting = len(self._lines[Kind.STUDENT])
        if waiting >= self._limits.line:
            self._tally.starts["unknown", "refused"] += 1
            raise Busy(
                "The server is full, and so is the line of those who wait.",
                hint="Try again in a few minutes.",
                retry_after=retry_after(self._admissions, waiting),
            )

    async def enter(self, ticket: Ticket) -> Usage:
        """Wait until a request is admitted, and return its entry in the ledger.

        A start counts as in progress until :meth:`leave`. Cancellation removes it from the queue.

        Raises: :class:`Busy` when the queue is full, :class:`Conflict` after :meth:`dismiss`.
        """
        line = self._lines[ticket.kind]
        if ticket.kind is Kind.STUDENT:
            self.demand_room()
        bisect.insort(line, ticket, key=lambda each: each.number)
        self.pump()
        if ticket in line:  # the first place is reported at once, later ones in batches
            self._tell(line.index(ticket) + 1, ticket, self.obstacle(ticket))
        try:
            usage = await ticket.admitted
        except BaseException:
            if ticket in line:
                line.remove(ticket)
                self.pump()
            else:  # dismissed, or cancelled after its admission, before its task ran
                self._ledger.close(ticket.id)
                self.leave(ticket)
            raise
        loop = asyncio.get_running_loop()
        ticket.timer = loop.call_later(_PLACE_SECONDS, self.leave, ticket)
        return usage

    @contextlib.asynccontextmanager
    async def run(self, expected: int) -> AsyncIterator[None]:
        """Wait until ``expected`` bytes are free for a run, and reserve them until the block ends.

        Its own memory counts until it has ended, so sessions and runs stay within the limit.
        """
        ticket = Ticket(Kind.RUN, 0, secrets.token_hex(8), expected)
        await self.enter(ticket)
        self.leave(ticket)
        try:
            yield
        finally:
            self._ledger.close(ticket.id)
            self.pump()

    def dismiss(self, key: SessionKey) -> bool:
        """Remove the waiting start of a key; return false if there is none."""
        waiting = (each for line in self._lines.values() for each in line if each.key == key)
        ticket = next(waiting, None)
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
        for line in self._lines.values():
            for ticket in line:
                if ticket.key is not None:
                    ticket.expected = by_now(ticket.key)
        self.pump()

    def pump(self) -> None:
        """Admit what can be, and report the new places to the students that wait."""
        why = {kind: self._advance(line) for kind, line in self._lines.items()}
        if why[Kind.STUDENT] is Obstacle.MEMORY:
            self.pressed.set()
        else:
            self.pressed.clear()
        self._changed()

    async def pages_first(self, live: LiveSession) -> None:
        """Delay a new session's kernel while other starts wait, by at most two seconds.

        Serving the page is half the work of a start. When thirty start at once, all pages are
        served before the first kernels run; otherwise the last page would wait for all kernels.
        """
        age = (self._clock.now() - live.started_at).total_seconds()
        if age < _CROWD_SECONDS:
            await set_within(self._calm, _CROWD_SECONDS - max(0.0, age))

    def shortage(self) -> int:
        """Return the memory in bytes that the next ``starts`` waiting students lack.

        What sessions use that are ending gets free without others. The result is 0 or less if no
        memory is lacking besides.
        """
        waiting = self._lines[Kind.STUDENT][: self._limits.starts]
        wanted = sum(each.expected for each in waiting)
        if not wanted:
            return 0
        least = 0 if self._limits.fits(waiting[0].expected) else waiting[0].expected
        lack = max(least, self._ledger.used() + wanted - self._limits.memory)
        return lack - self._ledger.leaving()

    def leave(self, ticket: Ticket) -> None:
        """End an admitted start's time in progress, and admit the next; later calls do nothing."""
        if ticket.timer is not None:
            ticket.timer.cancel()
        if ticket in self._starting[ticket.kind]:
            self._starting[ticket.kind].discard(ticket)
            self.pump()

    def close(self) -> None:
        """Stop reporting places; the owner cancels the waiting starts."""
        self._tell_all.close()

    def obstacle(self, ticket: Ticket) -> Obstacle | None:
        """Return why a request would wait now if it were the first of its kind, or None."""
        load = Load(
            used=self._ledger.used(),
            others=len(self._ledger),
            starting=len(self._starting[ticket.kind]),
            students=len(self._starting[Kind.STUDENT]),
            waiting=len(self._lines[Kind.STUDENT]),
        )
        return obstacle(ticket.kind, ticket.expected, load, self._limits)

    def _advance(self, line: list[Ticket]) -> Obstacle | None:
        """Admit the first of a line; return why the next one waits, None if none does."""
        while line:
            why = self.obstacle(line[0])
            if why is not None:
                return why
            self._admit(line.pop(0))
        return None

    def _admit(self, ticket: Ticket) -> None:
        if ticket.admitted.done():  # dismissed, and its task has not run since
            return
        self._starting[ticket.kind].add(ticket)
        if ticket.kind is Kind.STUDENT:
            self._admissions.append(self._clock.steady())
        run = ticket.kind is Kind.RUN
        ticket.admitted.set_result(self._ledger.open(ticket.id, ticket.expected, run=run))

    def _changed(self) -> None:
        waiting = self._lines[Kind.STUDENT]
        self._tally.queue_length = len(waiting)
        if self.pressed.is_set() or not (waiting or self._starting[Kind.STUDENT]):
            self._calm.set()
        elif waiting:
            self._calm.clear()
        if waiting:
            self._tell_all()

    def _tell_places(self) -> None:
        waiting = self._lines[Kind.STUDENT]
        why = self.obstacle(waiting[0]) if waiting else None
        for place, ticket in enumerate(waiting, start=1):
            self._tell(place, ticket, why)

    def _tell(self, place: int, ticket: Ticket, why: Obstacle | None) -> None:
        text = place_text(place, why or Obstacle.PLACES)
        if text != ticket.last_text:
            ticket.last_text = text
            ticket.tell(text)
