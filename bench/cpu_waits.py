"""Time that threads ran on a processor and time that they waited for one, as the kernel counts it.

``/proc/PID/task/TID/schedstat`` has both in nanoseconds. Waiting for a disk or a lock is in
neither, so the rest of the elapsed time was spent on those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on processors, and in line for them, of all threads together."""

    ran: float = 0.0
    waited: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.ran + other.ran, self.waited + other.waited)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.ran - other.ran, self.waited - other.waited)

    def __str__(self) -> str:
        return f"{self.waited * 1000:.0f} + {self.ran * 1000:.0f} ms"


def parse_schedstat(text: str) -> Spent:
    """Read one thread's line."""
    ran, waited, _ = text.split()
    return Spent(int(ran) / _NANOSECONDS, int(waited) / _NANOSECONDS)


def spent(pids: Iterable[int]) -> Spent:
    """Return the sum over the threads of these processes; ended processes count as zero."""
    total = Spent()
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(OSError, ValueError):
                total += parse_schedstat((task / "schedstat").read_text())
    return total


def zygotes_below(pid: int) -> list[int]:
    """The warm processes of a supervisor."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(word.endswith("/zygote.py") for word in process.cmdline()):
                found.append(process.pid)
    return found


def told(parts: Mapping[str, Spent]) -> str:
    """Describe waiting and running time by process name."""
    return ", ".join(f"{name} {each}" for name, each in parts.items())


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
