"""Decides what becomes of sessions that use too much. Pure: measuring and acting are elsewhere.

Memory and processes end a session; the processor never does. Where the kernel enforces cgroup
limits by itself this only notices what it did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mograder.sandbox.limits.system_load import Memory
from mograder.sandbox.protocol import LimitReason

FULL_SECONDS = 1.0
"""How long a session may have as many processes as it can before it counts as stuck there."""

FEW = 4
"""How near the limit is at it: a sandbox's own processes count here and not there."""

_RESERVE_PART, _RESERVE_MOST = 20, 256 << 20
"""The machine runs out of memory below a twentieth, or this."""

_GROWN = 32 << 20
"""Growth since the last look that makes a session one that the machine's shortage is due to."""


@dataclass(frozen=True, slots=True)
class View:
    """A session as the watchdog sees it; ``limit`` and ``task_limit`` 0 for none.

    ``full_since`` is when it was first seen at its limit of processes, since when it has been.
    """

    session_id: str
    memory: int
    limit: int
    grown: int
    full_since: float = math.inf


@dataclass(frozen=True, slots=True)
class End:
    """A session is to be ended."""

    session_id: str
    reason: LimitReason


def is_full(tasks: int, limit: int) -> bool:
    """Whether a session has all the processes that it may have."""
    return limit > 0 and tasks >= max(limit - FEW, 1)


def decide(views: Sequence[View], memory: Memory, now: float) -> list[End]:
    """Return which sessions must end: those over a limit, and one when the machine runs out."""
    ends: dict[str, End] = {}
    for view in views:
        if view.limit and view.memory > view.limit:
            ends[view.session_id] = End(view.session_id, "memory")
        elif now - view.full_since >= FULL_SECONDS:
            ends[view.session_id] = End(view.session_id, "processes")
    if not ends and (culprit := _culprit(views, memory)) is not None:
        return [End(culprit.session_id, "memory")]
    return list(ends.values())


def is_short(memory: Memory) -> bool:
    """Whether the machine itself runs out."""
    return memory.available < _reserve(memory)


def _culprit(views: Sequence[View], memory: Memory) -> View | None:
    """Before the kernel's own choice, which could be the hub: whoever grew most, or is largest.

    A session whose end would not help is not ended: then the memory is somebody else's.
    """
    if not views or not is_short(memory):
        return None
    growing = max(views, key=lambda view: view.grown)
    if growing.grown >= _GROWN:
        return growing
    largest = max(views, key=lambda view: view.memory)
    return largest if largest.memory >= _reserve(memory) else None


def _reserve(memory: Memory) -> int:
    return min(memory.total // _RESERVE_PART, _RESERVE_MOST)
