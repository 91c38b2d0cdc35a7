"""What a machine, or the container that we are in, has for sessions by default."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from mograder.sandbox.limits.procfs import parse_meminfo

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_STARTS_PER_PROCESSOR = 2


def usable_starts() -> int:
    """Return how many sessions may start at the same time."""
    return _STARTS_PER_PROCESSOR * len(os.sched_getaffinity(0))


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
