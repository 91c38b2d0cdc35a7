"""The memory that the whole machine has left, and its processes, read often and cheaply."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

_MEMINFO_BYTES, _LOAD_BYTES = 4096, 512


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what could still be had without swapping, and of how much."""

    available: int
    total: int


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
    )


def parse_tasks(data: bytes) -> int:
    """Read from ``/proc/loadavg`` how many processes and threads there are."""
    return int(data.split()[3].partition(b"/")[2])


class Machine:
    """The machine's memory and processes; close it in the end."""

    def __init__(self) -> None:
        self._meminfo = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Look no more."""
        os.close(self._meminfo)
        os.close(self._load)

    def memory(self) -> Memory:
        """Return what is left now."""
        return parse_meminfo(os.pread(self._meminfo, _MEMINFO_BYTES, 0))

    def tasks(self) -> int:
        """Return how many processes and threads there are."""
        return parse_tasks(os.pread(self._load, _LOAD_BYTES, 0))
