"""The limit rules: which sessions must end. Pure: measuring and ending are done elsewhere.

Memory and processes can end a session, CPU use cannot. Where the kernel enforces cgroup limits,
these rules only detect that it did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mograder.sandbox.limits.procfs import Memory
from mograder.sandbox.protocol import LimitReason

FULL_SECONDS = 1.0
"""Seconds at the limit of processes after which a session counts as stuck."""

FEW = 4
"""Distance from the limit in tasks: our count includes bwrap and pid 1, RLIMIT_NPROC does not."""

_RESERVE_PART, _RESERVE_MOST = 20, 256 << 20
"""The machine is short of memory below 1/20 of its total, or 256 MiB if that is less."""

_GROWN = 32 << 20
"""Growth in bytes since the last pass that makes a session the cause of a shortage."""


@dataclass(frozen=True, slots=True)
class View:
    """A session's measured state, in bytes; ``limit`` is 0 for no limit.

    ``full_since`` is the monotonic time since which it has been at its limit of processes.
    """

    session_id: str
    memory: int
    limit: int
    grown: int
    full_since: float = math.inf


@dataclass(frozen=True, slots=True)
class End:
    session_id: str
    reason: LimitReason


def is_full(tasks: int, limit: int) -> bool:
    """Return whether a session has (nearly) as many tasks as its limit; false without a limit."""
    return limit > 0 and tasks >= max(limit - FEW, 1)


def decide(views: Sequence[View], memory: Memory, now: float) -> list[End]:
    """Return the sessions that must end: those over a limit, or one if the machine is short."""
    ends: dict[str, End] = {}
    for view in views:
        if view.limit and view.memory > view.limit:
            ends[view.session_id] = End(view.session_id, "memory")
        elif now - view.full_since >= FULL_SECONDS:
            ends[view.session_id] = End(view.session_id, "processes")
    if not ends and (culprit := _culprit(views, memory)) is not None:
        return [End(culprit.session_id, "shortage")]
    return list(ends.values())


def is_short(memory: Memory) -> bool:
    return memory.available < _reserve(memory)


def _culprit(views: Sequence[View], memory: Memory) -> View | None:
    """Return the session to end when memory is short: the fastest growing, else the largest.

    This precedes the OOM killer, which could choose the hub. None if ending a session would not
    free enough, since then other processes use the memory.
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
