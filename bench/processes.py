"""Memory of processes as proportional set size (PSS), and their processor time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1 << 20


def below(pid: int) -> frozenset[int]:
    """Every process that a process started, directly or not."""
    return frozenset(child.pid for child in psutil.Process(pid).children(recursive=True))


def pss(pids: Iterable[int]) -> int:
    """Return the bytes of these processes, shared pages divided by the number of sharers.

    A process that ends meanwhile counts as zero.
    """
    return sum(map(_pss_of, pids))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of these processes and of those of their children that have ended."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def own_cpu_seconds(pid: int) -> float:
    """Processor time of one process alone."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def resident(pid: int) -> int:
    """Bytes of one process that are in memory (RSS)."""
    return int(psutil.Process(pid).memory_info().rss)


def affordable(wanted: int, each_mib: float) -> int:
    """How many of something fit into four fifths of the memory that is free now, at most wanted."""
    fits = int(psutil.virtual_memory().available * 0.8 / MIB / each_mib)
    return max(1, min(wanted, fits))


def _pss_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
