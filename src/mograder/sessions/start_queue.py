"""The line of those who want to start a session: strictly first come, first served.

The first in line is let in when fewer than ``starts`` others are starting and its memory fits
(decision 25). Nobody overtakes, also not with something smaller: else the large one would never
have its turn. Deciding (:func:`obstacle`) is separate from doing (:class:`StartQueue`).
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mograder.core.clock import Clock
from mograder.core.errors import Busy, Conflict
from mograder.core.single_flight import Progress
from mograder.sandbox.protocol import Mode
from mograder.sessions.capacity import Terms
from mograder.sessions.counters import Counters
from mograder.sessions.memory_estimate import MemoryLedger
from mograder.sessions.session import LiveSession, SessionKey, Usage

_PLACE_SECONDS = 15.0
"""For how long a start that does not answer keeps others out. A cold one on a busy machine takes
five; a student can make a server that hangs, and a few of those must not stop everybody."""

_CROWD_SECONDS = 2.0
"""For no longer, from its start, a new session waits with its kernel for others' pages."""

_TELL_SECONDS = 0.25
"""News of places are gathered for so long: a hundred who wait hear of a hundred steps."""

_PACES = 20
_SOONEST, _LATEST, _UNKNOWN = 10, 300, 60


class Obstacle(Enum):
    """Why the first in line has to wait, in words that complete "You are number 3 in line"."""

    PLACES = "many notebooks are starting at the moment."
    MEMORY = "the server's memory is in use, and places get free as others finish."


@dataclass(slots=True, eq=False)
class Ticket:
    """One start that waits or is let in; ``number`` says who asked first.

    ``usage`` is what it counts with from the moment that it is let in.
    """

    number: int
    key: SessionKey
    session_id: str
    expected: int
    tell: Progress
    admitted: asyncio.Future[Usage] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    told: str = ""


def obstacle(
    expected: int, *, used: int, sessions: int, starting: int, terms: Terms
) -> Obstacle | None:
    """Say what keeps a start out; where nothing runs at all, its memory never does.

    ``used`` is the memory of all ``sessions``, those that are starting among them.
    """
    if starting >= terms.starts:
        return Obstacle.PLACES
    if sessions and used + expected > terms.memory:
        return Obstacle.MEMORY
    return None


def retry_after(admissions: Sequence[float], waiting: int) -> int:
    """Return in how many seconds it is worth to ask again, from the pace of the line."""
    if len(admissions) < 2:
        return _UNKNOWN
    pace = (admissions[-1] - admissions[0]) / (len(admissions) - 1)
    return min(max(math.ceil(pace * waiting), _SOONEST), _LATEST)


def place_text(place: int, why: Obstacle) -> str:
    """Tell a person the place in line; ``place`` counts from 1."""
    return f"You are number {place} in line: {why.value} Your notebook opens by itself."


class Place:
    """A start that was let in; others are kept out until it answers, or has had its seconds."""

    def __init__(self, line: StartQueue, usage: Usage, seconds: float) -> None:
        self._line = line
        self.usage = usage
        self._timer = asyncio.get_running_loop().call_later(seconds, self.leave)
        self._left = False

    def leave(self) -> None:
        """Let the next one in; the second time this does nothing."""
        self._timer.cancel()
        if not self._left:
            self._left = True
            self._line.left()


class StartQueue:
    """Who waits and who is starting; on the event loop only.

    Mutable state: ``_waiting``, in the order of their numbers, and ``_starting``, a count.
    ``pressed`` is set while the first one waits for memory, ``_calm`` unless somebody waited for
    a place and starts are still going on. :meth:`pump` is to be called when memory may have
    become free.
    """

    def __init__(
        self,
        terms: Terms,
        ledger: MemoryLedger,
        tally: Counters,
        clock: Clock,
        *,
        place_seconds: float = _PLACE_SECONDS,
    ) -> None:
        """``place_seconds`` is for how long a start may keep others out."""
        self._terms = terms
        self._ledger = ledger
        self._tally = tally
        self._clock = clock
        self._place_seconds = place_seconds
        self._waiting: list[Ticket] = []
        self._starting = 0
        self._admissions: deque[float] = deque(maxlen=_PACES)
        self._telling: asyncio.TimerHandle | None = None
        self.pressed = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def demand_room(self) -> None:
        """Refuse one more if the line is full.

        Raises: :class:`Busy` with the seconds after which to ask again.
        """
        if len(self._waiting) >= self._terms.line:
            self._tally.starts["unknown", "refused"] += 1
            raise Busy(
                "The server is full, and so is the line of those who wait.",
                hint="Try again in a few minutes.",
                retry_after=retry_after(self._admissions, len(self._waiting)),
            )

    async def enter(self, ticket: Ticket) -> Place:
        """Wait until it is this one's turn; being cancelled leaves the line.

        Raises: :class:`Busy` when the line is full, :class:`Conflict` when it was told to leave.
        """
        self.demand_room()
        bisect.insort(self._waiting, ticket, key=lambda each: each.number)
        self.pump()
        if ticket in self._waiting:  # and hears at once where; of each step, a moment later
            self._tell(self._waiting.index(ticket) + 1, ticket, self._obstacle())
        try:
            usage = await ticket.admitted
        except BaseException:
            self._withdraw(ticket)
            raise
        return Place(self, usage, self._place_seconds)

    def dismiss(self, key: SessionKey) -> bool:
        """Send a start away that waits; false if none of this key does."""
        ticket = next((each for each in self._waiting if each.key == key), None)
        if ticket is None or ticket.admitted.done():
            return False
        ticket.admitted.set_exception(
            Conflict("The notebook was stopped before its turn came.", hint="Open it again.")
        )
        return True

    def reconsider(
        self, running: Iterable[LiveSession], expected: Callable[[SessionKey], int]
    ) -> None:
        """Have who waits, and what is young, count with what is known by now, and let in."""
        known: dict[tuple[str, Mode], int] = {}

        def by_now(key: SessionKey) -> int:
            if (key.item, key.mode) not in known:
                known[key.item, key.mode] = expected(key)
            return known[key.item, key.mode]

        for live in running:
            live.usage.expected = min(live.usage.expected, by_now(live.key))
        for ticket in self._waiting:
            ticket.expected = by_now(ticket.key)
        self.pump()

    def pump(self) -> None:
        """Let in whose turn it is, and tell the others where they are."""
        while self._waiting and self._obstacle() is None:
            self._admit(self._waiting.pop(0))
        if self._waiting and self._obstacle() is Obstacle.MEMORY:
            self.pressed.set()
        else:
            self.pressed.clear()
        self._changed()

    async def pages_first(self, live: LiveSession) -> None:
        """Hold a new session back from its kernel while a crowd waits for pages, for a moment.

        A page is half the work of a start. When thirty come at once, everybody has theirs before
        the first kernels run, instead of the last when all others are done.
        """
        age = (self._clock.now() - live.started_at).total_seconds()
        if age < _CROWD_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CROWD_SECONDS - max(0.0, age)):
                    await self._calm.wait()

    def shortage(self) -> int:
        """Return how much memory the next few in line lack, in bytes."""
        wanted = sum(each.expected for each in self._waiting[: self._terms.starts])
        return max(0, self._ledger.used() + wanted - self._terms.memory) if wanted else 0

    def left(self) -> None:
        """Note that one who was let in keeps nobody out any more."""
        self._starting -= 1
        self.pump()

    def close(self) -> None:
        """Tell nobody anything any more; those who wait are cancelled by their owner."""
        if self._telling is not None:
            self._telling.cancel()

    def _obstacle(self) -> Obstacle | None:
        return obstacle(
            self._waiting[0].expected,
            used=self._ledger.used(),
            sessions=len(self._ledger),
            starting=self._starting,
            terms=self._terms,
        )

    def _admit(self, ticket: Ticket) -> None:
        if ticket.admitted.done():  # sent away, and yet to notice it
            return
        self._starting += 1
        self._admissions.append(self._clock.steady())
        ticket.admitted.set_result(self._ledger.open(ticket.session_id, ticket.expected))

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            self.pump()
        elif _let_in(ticket.admitted):  # and cancelled before it heard of it
            self._ledger.close(ticket.session_id)
            self.left()

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
        if text != ticket.told:
            ticket.told = text
            ticket.tell(text)


def _let_in(admitted: asyncio.Future[Usage]) -> bool:
    return admitted.done() and not admitted.cancelled() and admitted.exception() is None
