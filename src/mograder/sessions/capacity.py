"""The memory that there is for sessions, and the limits on starts and idle time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mograder.core.settings_model import LimitsSettings
from mograder.sandbox.limits.procfs import parse_meminfo

MEGABYTE = 2**20

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_STARTS_PER_PROCESSOR = 2
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
        starts=limits.starts_at_once or _STARTS_PER_PROCESSOR * len(os.sched_getaffinity(0)),
        line=limits.line_length,
    )


def usable_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the default memory for all sessions, in bytes: nine tenths of the machine's.

    A smaller limit of the hub's own cgroup takes precedence: the hub is then in a container, and
    its sessions are in the same one.
    """
    total = parse_meminfo((proc / "meminfo").read_bytes()).total
    bounds = [total, *_cgroup_bounds(proc, cgroups)]
    return min(bounds) * 9 // 10


def _cgroup_bounds(proc: Path, cgroups: Path) -> list[int]:
    """Return the cgroup v2 memory limits, in bytes, of the hub's cgroup and its ancestors."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    place = PurePosixPath(own.lstrip("/"))
    found = (_bound(cgroups / each / "memory.max") for each in (place, *place.parents))
    return [bound for bound in found if bound]


def _bound(path: Path) -> int:
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
