"""Whose turn it is: lets who starts go first, and who takes more than a share stand back.

Apart from the measuring of memory, which waits for processes that fork or map memory. How much of
the processors a session has used is read in no time, and must be known within a tenth of a second
while somebody starts beside others who are at work: until then they weigh as much as the one who
waits for a first page.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mograder.sandbox.bandwidth import NO_QUOTA, quota
from mograder.sandbox.priorities import STARTING_TIMES, Priorities
from mograder.sandbox.storms import HELD_PART, Storms
from mograder.sandbox.usage import Meter
from mograder.sandbox.watchdog import Load, choose_demoted, is_busy

_log = logging.getLogger("mograder.supervisor")

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

_NEARLY_SECONDS, _HOG_SECONDS = 0.09, 0.25
"""When somebody comes, who has had so much of a start's time goes before others no more, and who
is at work and has had twice a start's time stands back, before their load is known."""


@dataclass(slots=True)
class _Turn:
    weight: int
    born: float
    cold: bool = False
    cpu: float = 0.0
    cpu_then: float = 0.0
    """When its load was told, at ``read_at``."""
    read_at: float = -math.inf
    load: Load | None = None
    times: int = STARTING_TIMES
    """Its weight is multiplied by this."""
    started_at: float = math.inf
    stands_back: bool = False
    """For as long as somebody starts."""

    @property
    def had(self) -> float:
        """Seconds on a processor, as those of a start from a zygote."""
        return self.cpu / _COLD_TIMES if self.cold else self.cpu

    @property
    def is_hog(self) -> bool:
        """Whether it has had more than anybody needs to start."""
        return self.started and self.had >= _HOG_SECONDS

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
        return next((times for seconds, times in _START_STEPS if self.had < seconds), 1)


class Turns:
    """The sessions' turns; add and forget on the loop, all else in one thread at a time."""

    def __init__(
        self, meter: Meter, priorities: Priorities, busy: Callable[[], float], storms: Storms
    ) -> None:
        """``busy`` tells which part of all processors' time was used since it was called last."""
        self._meter = meter
        self._priorities = priorities
        self._read_busy, self._storms = busy, storms
        self._busy = 0.0
        self._turns: dict[str, _Turn] = {}
        self._demoted: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()
        self._came = False

    @property
    def busy(self) -> bool:
        """Whether the processors had no time left over when turns were given last."""
        return is_busy(self._busy)

    @property
    def pressing(self) -> bool:
        """Whether sessions are at work on a machine that is busy, and turns must not wait."""
        return self.busy and any(turn.works for turn in self._each())

    @property
    def contested(self) -> bool:
        """Whether somebody starts while others are at work, or have just started themselves."""
        starting = len(self._those_who_start())
        return starting > 1 or (starting == 1 and any(turn.works for turn in self._each()))

    @property
    def some(self) -> bool:
        """Whether there are any sessions."""
        return bool(self._turns)

    @property
    def holds(self) -> bool:
        """Whether somebody is held: there is a storm."""
        return bool(self._held)

    def expect(self, session_id: str, weight: int, now: float, *, cold: bool = False) -> None:
        """A session starts; it is measured as soon as it has a first process."""
        self._make_way(now)
        self._turns[session_id] = _Turn(weight, now, cold)
        self._came = True

    def forget(self, session_id: str) -> None:
        """A session has ended."""
        self._turns.pop(session_id, None)
        self._priorities.forget(session_id)
        self._demoted -= {session_id}
        self._held -= {session_id}

    def let_die(self, session_id: str) -> None:
        """Let a session have its weight for its end: dying takes time on a processor as well.

        But not while somebody starts, who would wait for hundreds of processes that end.
        """
        if session_id in self._held:
            self._priorities.hold(session_id, NO_QUOTA)
        if session_id in self._demoted and not self.contested:
            self._priorities.restore(session_id, self._meter.members(session_id))

    def look(self, now: float) -> None:
        """Read the processors' time of those that start and those at work."""
        for session_id, turn in self._named():
            if turn.works or not turn.started:
                self.note(session_id, self._meter.cpu(session_id), now)

    def note(self, session_id: str, cpu: float, now: float) -> None:
        """Take what one has used since its start."""
        turn = self._turns.get(session_id)
        if turn is None:
            return
        turn.cpu = cpu
        passed = now - turn.read_at
        if passed < _LOAD_SECONDS:
            return
        faded = turn.load.cpus * 0.5 ** (passed / _FADES_SECONDS) if turn.load else 0.0
        turn.load = Load(max((cpu - turn.cpu_then) / passed, faded), turn.weight)
        turn.cpu_then, turn.read_at = cpu, now

    def give(self, now: float, full: Collection[str]) -> None:
        """Put those that use too much behind the others, and take that back.

        Not those in ``full``, which have all their processes: one that forks holds locks of
        files and pages that all forks of a zygote share.
        """
        self._busy = self._read_busy()
        starting = self._those_who_start()
        for name, turn in starting:
            self._start(name, turn, now)
        if any(turn.had < _NEARLY_SECONDS for _, turn in starting):
            self._make_way(now)
        contested = self.contested
        before = self._demoted.union(name for name, turn in self._named() if turn.stands_back)
        chosen = self._choose(now, full, contested=contested)
        for name in chosen:  # those of before as well, for what they have started since
            self._priorities.demote(name, self._meter.members(name))
        for name in before - chosen:
            self._priorities.restore(name, self._meter.members(name))
        self._demoted = chosen & self._turns.keys()
        self._hold(now, full, contested=contested)

    def _those_who_start(self) -> list[tuple[str, _Turn]]:
        return [(name, turn) for name, turn in self._named() if not turn.started]

    def _each(self) -> tuple[_Turn, ...]:
        return tuple(self._turns.values())

    def _named(self) -> tuple[tuple[str, _Turn], ...]:
        return tuple(self._turns.items())

    def _choose(self, now: float, full: Collection[str], *, contested: bool) -> frozenset[str]:
        """Return who stands back from now on."""
        loads: dict[str, Load] = {}
        standing: set[str] = set()
        for name, turn in self._named():
            turn.stands_back = turn.stands_back and contested
            settled = turn.is_hog if contested else now - turn.started_at > _GRACE_SECONDS
            if turn.load is not None and name not in full and settled:
                loads[name] = turn.load
                standing.update({name} if turn.stands_back else ())
        chosen = choose_demoted(
            loads, self._demoted, self._busy, os.cpu_count() or 1, contested=contested
        )
        return chosen | standing

    def _make_way(self, now: float) -> None:
        """Let who comes now go before those who were here before.

        Bombs go off right after their own start, and a glance comes too late for a start.
        """
        if not self._priorities.prompt:
            return
        for name, turn in self._named():
            if not turn.started and turn.had >= _NEARLY_SECONDS:
                self._finish(name, turn, now)
            elif turn.is_hog and turn.works and not turn.stands_back:
                turn.stands_back = True
                self._priorities.demote(name, ())

    def _hold(self, now: float, full: Collection[str], *, contested: bool) -> None:
        """Hold those together to a small part of the processors who stand back in a storm."""
        came, self._came = self._came, False
        if not self._priorities.prompt:
            return
        if not self._storms.look(now, comes=came and contested):
            self._let_go(self._held)
            return
        suspects = self._demoted | frozenset(full) | self._held
        held = frozenset(name for name, turn in self._named() if name in suspects and turn.is_hog)
        self._let_go(self._held - held)
        if held and not self._held:
            _log.info("%d sessions keep all others waiting, and are held", len(held))
        for name in held if held != self._held else ():
            self._priorities.hold(name, quota(HELD_PART / len(held)))
        self._held = held

    def _let_go(self, names: frozenset[str]) -> None:
        for name in names:
            self._priorities.hold(name, NO_QUOTA)
        self._held -= names

    def _start(self, session_id: str, turn: _Turn, now: float) -> None:
        times = turn.times_at(now)
        if times == 1:
            self._finish(session_id, turn, now)
        elif times != turn.times:
            turn.times = times
            self._priorities.favour(session_id, times)

    def _finish(self, session_id: str, turn: _Turn, now: float) -> None:
        turn.times, turn.started_at = 1, now
        self._priorities.favour(session_id, 1)
