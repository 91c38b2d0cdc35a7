"""The memory that this machine has for sessions, and the limits on starts and idle time."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.settings_model import LimitsSettings
from mograder.sandbox.limits.machine_memory import usable_memory, usable_starts

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class CapacityLimits:
    """Limits for all sessions of a hub; times in seconds, memory in bytes.

    ``ttl`` is the idle time after which a session is ended (B77), ``start_timeout`` the time that
    a server has to answer after its start was admitted. ``memory`` is for all sessions together,
    ``starts`` the number of concurrent starts, ``line`` the length of the start queue.
    """

    ttl: float
    start_timeout: float
    memory: int
    starts: int
    line: int


def capacity_limits(ttl: float, limits: LimitsSettings) -> CapacityLimits:
    """Return the limits on this machine; ``ttl`` in seconds. A setting of 0 means a default."""
    return CapacityLimits(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=limits.total_memory_mb * MEGABYTE or usable_memory(),
        starts=limits.starts_at_once or usable_starts(),
        line=limits.line_length,
    )
