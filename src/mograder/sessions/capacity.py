"""The memory that there is for sessions, and the limits on starts and idle time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.limits.procfs import usable_memory, usable_starts

MEGABYTE = 2**20

_UNBOUNDED = 1 << 60


def _always(_: int) -> bool:
    return True


@dataclass(slots=True)
class CapacityLimits:
    """Limits for all sessions of a hub; times in seconds, memory in bytes.

    ``ttl`` is the idle time after which a session is ended (B77), ``start_timeout`` the time that
    a server has to answer after its start was admitted. ``memory`` is for all sessions together,
    ``starts`` the number of concurrent starts, ``line`` the length of the start queue.

    Where sessions run on nodes, ``memory`` and ``starts`` follow those, and are 0 while there is
    none. ``largest`` is then the memory of the largest node, and ``fits`` returns whether a node
    has that many bytes to spare.
    """

    ttl: float
    start_timeout: float
    memory: int
    starts: int
    line: int
    largest: int = 0
    fits: Callable[[int], bool] = _always

    @property
    def most_expected(self) -> int:
        """The most memory that a start may be expected to use, in bytes.

        At most half of a machine: a start that needs all of its memory would wait until nothing
        else runs there.
        """
        machine = self.largest or self.memory
        return machine // 2 if machine else _UNBOUNDED


def capacity_limits(ttl: float, limits: LimitsSettings) -> CapacityLimits:
    """Return the limits on this machine; ``ttl`` in seconds. A setting of 0 means a default."""
    return CapacityLimits(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=limits.total_memory_mb * MEGABYTE or usable_memory(),
        starts=limits.starts_at_once or usable_starts(),
        line=limits.line_length,
    )
