"""What a rehearsal found: the figures of each student, and those of all together. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from mograder.sessions.session import SessionKey


class State(StrEnum):
    """How far the session of one student is."""

    COMING = "coming"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    NO_ROOM = "no room"
    """No memory was left: a student would wait in line."""
    GAVE_WAY = "gave way"
    """Its place was needed by a student, or it was kept waiting by students."""


OVER = frozenset({State.FINISHED, State.FAILED, State.NO_ROOM, State.GAVE_WAY})


@dataclass(slots=True)
class Trial:
    """One student of a rehearsal; the times are steady, in seconds, ``memory`` is in bytes.

    ``memory`` is the most that was measured. ``failure`` says why it failed.
    """

    key: SessionKey
    state: State = State.COMING
    asked: float = 0.0
    started: float | None = None
    first_output: float | None = None
    all_cells: float | None = None
    memory: int = 0
    warm: bool | None = None
    errors: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Times in seconds from the request to open the notebook, over all students."""

    median: float
    p95: float
    worst: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a rehearsal; memory is in bytes.

    ``memory_each`` is the median of the largest use of each session, ``memory_together`` the
    largest sum. ``holds`` is how many such sessions the machine can hold if nothing else runs,
    ``holds_now`` beside what runs already. ``errors`` is the median number of cells that ended with
    an error. Times are None if no student came so far.
    """

    students: int
    states: Counter[State]
    failures: Counter[str]
    warm: int
    started: Seconds | None
    first_output: Seconds | None
    all_cells: Seconds | None
    memory_each: int
    memory_largest: int
    memory_together: int
    memory_total: int
    holds: int
    holds_now: int
    errors: int
    seconds: float


def summary(
    trials: Sequence[Trial], *, together: int, total: int, used: int, seconds: float
) -> Outcome:
    """Return the result of a rehearsal that took ``seconds``.

    ``together`` is the largest sum of its sessions' memory, ``total`` the memory for all sessions,
    ``used`` what others used of it at the end; all in bytes.
    """
    sizes = [each.memory for each in trials if each.memory]
    each = round(median(sizes)) if sizes else 0
    states = Counter(trial.state for trial in trials)
    errors = [trial.errors for trial in trials if trial.all_cells is not None]
    return Outcome(
        students=len(trials),
        states=states,
        failures=Counter(trial.failure for trial in trials if trial.failure),
        warm=sum(trial.warm is True for trial in trials),
        started=_seconds((trial.asked, trial.started) for trial in trials),
        first_output=_seconds((trial.asked, trial.first_output) for trial in trials),
        all_cells=_seconds((trial.asked, trial.all_cells) for trial in trials),
        memory_each=each,
        memory_largest=max(sizes, default=0),
        memory_together=together,
        memory_total=total,
        holds=total // each if each else 0,
        holds_now=max(0, total - used) // each if each else 0,
        errors=round(median(errors)) if errors else 0,
        seconds=seconds,
    )


def _seconds(spans: Iterable[tuple[float, float | None]]) -> Seconds | None:
    found = sorted(end - begin for begin, end in spans if end is not None)
    if not found:
        return None
    return Seconds(median(found), found[math.ceil(0.95 * len(found)) - 1], found[-1])


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before a rehearsal; memory is in bytes.

    ``memory_each`` is what a session will probably use, ``fits`` how many of ``students`` there is
    memory for, ``seconds`` about how long it takes.
    """

    students: int
    memory_each: int
    memory_total: int
    memory_used: int
    fits: int
    seconds: float


def plan(
    students: int, within: float, *, each: int, total: int, used: int, start: float, places: int
) -> Plan:
    """Return the estimate; ``start`` is how long a start takes, of which ``places`` go on at once.

    ``within`` are the seconds over which the students come; ``each``, ``total`` and ``used`` are
    the memory of a session, of all and in use, in bytes.
    """
    fits = min(students, max(0, total - used) // max(1, each))
    waits = 0.0 if fits == students else STALLED_SECONDS
    seconds = max(within, fits * start / max(1, places)) + waits + _AFTER_SECONDS
    return Plan(students, each, total, used, fits, seconds)


STALLED_SECONDS = 25.0
"""How long the last students of a rehearsal wait for memory. A session counts with what is expected
of it for 20 seconds, and with what it uses after that, so memory may still become free."""

_AFTER_SECONDS = 10.0
"""About how long it takes to measure the sessions together, and to end them."""
