"""What the whole machine has left, read often and cheaply."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

_MEMINFO_BYTES, _STAT_BYTES, _WHOLE_STAT_BYTES = 4096, 512, 1 << 16
_SWITCHES = b"\nctxt "
_NANOSECONDS = 1_000_000_000
_IDLE = slice(3, 5)
"""The columns of the processors' time that nobody used: idle, and waiting for a disk."""

_COUNTED = 8
"""The columns that add up to all time; the guests' are in them already."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what could still be had without swapping, of how much, and shared memory."""

    available: int
    total: int
    shared: int


def parse_meminfo(data: bytes) -> Memory:
    """Read ``/proc/meminfo``."""
    found: dict[bytes, int] = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) << 10
    return Memory(
        available=found.get(b"MemAvailable:", 0),
        total=found.get(b"MemTotal:", 0),
        shared=found.get(b"Shmem:", 0),
    )


def parse_tasks(data: bytes) -> int:
    """Read from ``/proc/loadavg`` how many processes and threads there are."""
    return int(data.split()[3].partition(b"/")[2])


class Machine:
    """The machine's memory and processors; close it in the end."""

    def __init__(self) -> None:
        self._meminfo = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        self._stat = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        self._own = _open_if_there("/proc/self/schedstat")
        self._times = self._read_times()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Look no more."""
        os.close(self._meminfo)
        os.close(self._stat)
        os.close(self._load)
        if self._own >= 0:
            os.close(self._own)

    def memory(self) -> Memory:
        """Return what is left now."""
        return parse_meminfo(os.pread(self._meminfo, _MEMINFO_BYTES, 0))

    def tasks(self) -> int:
        """Return how many processes and threads there are."""
        return parse_tasks(os.pread(self._load, _STAT_BYTES, 0))

    def busy(self) -> float:
        """Return the part of all processors' time that was used since the last call, 0 to 1."""
        before, self._times = self._times, self._read_times()
        spent = self._times[0] - before[0]
        return (self._times[1] - before[1]) / spent if spent > 0 else 0.0

    def switches(self) -> int:
        """Return how often all processors have gone from one process to another."""
        _, _, rest = os.pread(self._stat, _WHOLE_STAT_BYTES, 0).partition(_SWITCHES)
        return int(rest.partition(b"\n")[0] or 0)

    def waited(self) -> float:
        """Return the seconds that our first thread has stood in line; 0 where nobody counts."""
        if self._own < 0:
            return 0.0
        return int(os.pread(self._own, _STAT_BYTES, 0).split()[1]) / _NANOSECONDS

    def _read_times(self) -> tuple[int, int]:
        """All time and used time, in ticks."""
        line = os.pread(self._stat, _STAT_BYTES, 0).partition(b"\n")[0]
        columns = [int(word) for word in line.split()[1 : 1 + _COUNTED]]
        return sum(columns), sum(columns) - sum(columns[_IDLE])


def _open_if_there(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
