"""How much the machine has for sessions, and on what terms they live."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mograder.core.settings_model import LimitsSettings

MEGABYTE = 2**20

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_STARTS_PER_PROCESSOR = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """What a pool holds its sessions to; times in seconds, memory in bytes.

    ``ttl`` is the idle time after which a session is ended (B77), ``start_timeout`` how long a
    server may take from the moment its start is let in. ``memory`` is for all sessions together,
    ``starts`` how many start at a time, ``line`` how many may wait.
    """

    ttl: float
    start_timeout: float
    memory: int
    starts: int
    line: int


def terms_of(ttl: float, limits: LimitsSettings) -> Terms:
    """Return the terms that the settings mean on this machine."""
    return Terms(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=limits.total_memory_mb * MEGABYTE or usable_memory(),
        starts=limits.starts_at_once or _STARTS_PER_PROCESSOR * len(os.sched_getaffinity(0)),
        line=limits.line_length,
    )


def usable_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the memory that there is for sessions if nobody says: all but a tenth.

    A bound on the hub's own cgroup counts where it is smaller: the hub is in a container then,
    and its sessions with it.
    """
    total = _total_of((proc / "meminfo").read_text())
    bounds = [total, *_cgroup_bounds(proc, cgroups)]
    return min(bounds) * 9 // 10


def _total_of(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    raise ValueError("/proc/meminfo tells no MemTotal")


def _cgroup_bounds(proc: Path, cgroups: Path) -> list[int]:
    """Return every bound of version 2 from the hub's cgroup up; one above counts as well."""
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
