"""Whose turn it is: lets who starts go first, and who takes more than a share stand back.

Apart from the measuring of memory, which waits for processes that fork or map memory. How much of
the processors a session has used is read in no time, and must be known within a tenth of a second
while somebody starts beside others who are at work: until then they weigh as much as the one who
waits for a first page.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mograder.sandbox.priorities import STARTING_TIMES, Priorities
from mograder.sandbox.usage import Meter
from mograder.sandbox.watchdog import Load, choose_demoted, is_busy

_START_SECONDS = 15.0
_START_STEPS = ((0.03, STARTING_TIMES), (0.06, 16), (0.09, 8), (0.12, 4))
"""A session that starts goes before the others, for as long as it takes, and for as much of the
processors' time as a start from a zygote needs: by so many times its weight up to so many seconds.
The more it has had, the less: among those that start, who came last has least behind it."""

_COLD_TIMES = 10
"""A start without a zygote needs so many times as much: it imports everything itself."""

_GRACE_SECONDS = 0.5
"""For so long nobody stands back for what the start took, unless somebody else starts."""

_LOAD_SECONDS = 0.09
"""The shortest time over which a load is told: the kernel counts in hundredths of a second."""

_FADES_SECONDS = 1.0
"""In which a load is forgotten by half: who stands back and gets no time has not calmed down."""

_WORKING = 0.1
"""Processors that a session uses who may be in the way of one that starts."""


@dataclass(slots=True)
class _Turn:
    weight: int
    born: float
    cold: bool = False
    cpu: float = 0.0
    read_at: float = -math.inf
    load: Load | None = None
    times: int = STARTING_TIMES
    """Its weight is multiplied by this."""
    started_at: float = math.inf

    @property
    def started(self) -> bool:
        return self.started_at < math.inf

    @property
    def works(self) -> bool:
        return self.started and (self.load is None or self.load.cpus > _WORKING)

    def times_at(self, now: float) -> int:
        """Its weight times this is what it starts with; 1 once it has started."""
        if now - self.born > _START_SECONDS:
            return 1
        used = self.cpu / _COLD_TIMES if self.cold else self.cpu
        return next((times for seconds, times in _START_STEPS if used < seconds), 1)


class Turns:
    """The sessions' turns; add and forget on the loop, all else in one thread at a time."""

    def __init__(self, meter: Meter, priorities: Priorities, busy: Callable[[], float]) -> None:
        """``busy`` tells which part of all processors' time was used since it was called last."""
        self._meter = meter
        self._priorities = priorities
        self._read_busy = busy
        self._busy = 0.0
        self._turns: dict[str, _Turn] = {}
        self._demoted: frozenset[str] = frozenset()

    @property
    def busy(self) -> bool:
        """Whether the processors had no time left over when turns were given last."""
        return is_busy(self._busy)

    @property
    def pressing(self) -> bool:
        """Whether sessions are at work on a machine that is busy, and turns must not wait."""
        return self.busy and any(turn.works for turn in tuple(self._turns.values()))

    @property
    def contested(self) -> bool:
        """Whether somebody starts while others are at work, or have just started themselves."""
        turns = tuple(self._turns.values())
        starting = sum(not turn.started for turn in turns)
        return starting > 1 or (starting == 1 and any(turn.works for turn in turns))

    def expect(self, session_id: str, weight: int, now: float, *, cold: bool = False) -> None:
        """A session starts; it is measured as soon as it has a first process."""
        self._turns[session_id] = _Turn(weight, now, cold)

    def forget(self, session_id: str) -> None:
        """A session has ended."""
        self._turns.pop(session_id, None)
        self._priorities.forget(session_id)
        self._demoted -= {session_id}

    def let_die(self, session_id: str) -> None:
        """Let a session have its weight for its end: dying takes time on a processor as well."""
        if session_id in self._demoted:
            self._priorities.restore(session_id, self._meter.members(session_id))

    def look(self, now: float) -> None:
        """Read the processors' time of those that start and those at work."""
        for session_id, turn in tuple(self._turns.items()):
            if turn.works or not turn.started:
                self.note(session_id, self._meter.cpu(session_id), now)

    def note(self, session_id: str, cpu: float, now: float) -> None:
        """Take what one has used since its start."""
        turn = self._turns.get(session_id)
        if turn is None or now - turn.read_at < _LOAD_SECONDS:
            return
        passed = now - turn.read_at
        faded = turn.load.cpus * 0.5 ** (passed / _FADES_SECONDS) if turn.load else 0.0
        turn.load = Load(max((cpu - turn.cpu) / passed, faded), turn.weight)
        turn.cpu, turn.read_at = cpu, now

    def give(self, now: float, full: Collection[str]) -> None:
        """Put those that use too much behind the others, and take that back.

        Not those in ``full``, which have all their processes: one that forks holds locks of
        files and pages that all forks of a zygote share.
        """
        self._busy = self._read_busy()
        for name, turn in tuple(self._turns.items()):
            if not turn.started:
                self._start(name, turn, now)
        contested = self.contested
        loads = {
            name: turn.load
            for name, turn in tuple(self._turns.items())
            if turn.load is not None
            and name not in full
            and (turn.started if contested else now - turn.started_at > _GRACE_SECONDS)
        }
        chosen = choose_demoted(
            loads, self._demoted, self._busy, os.cpu_count() or 1, contested=contested
        )
        for name in chosen:  # those of before as well, for what they have started since
            self._priorities.demote(name, self._meter.members(name))
        for name in self._demoted - chosen:
            self._priorities.restore(name, self._meter.members(name))
        self._demoted = chosen & self._turns.keys()

    def _start(self, session_id: str, turn: _Turn, now: float) -> None:
        before, turn.times = turn.times, turn.times_at(now)
        if turn.times == before:
            return
        if turn.times == 1:
            turn.started_at = now
        self._priorities.favour(session_id, turn.times)
