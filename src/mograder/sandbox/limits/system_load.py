"""Available memory and task count of the whole machine, cheap enough to read often."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

_MEMINFO_BYTES, _LOAD_BYTES = 4096, 512


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that are available without swapping, and in total."""

    available: int
    total: int


def parse_meminfo(data: bytes) -> Memory:
    """Parse ``/proc/meminfo``."""
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
    """Return the number of processes and threads from ``/proc/loadavg``."""
    return int(data.split()[3].partition(b"/")[2])


class Machine:
    """The machine's memory and task count; must be closed."""

    def __init__(self) -> None:
        self._meminfo = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files in ``/proc``."""
        os.close(self._meminfo)
        os.close(self._load)

    def memory(self) -> Memory:
        """Return the current memory."""
        return parse_meminfo(os.pread(self._meminfo, _MEMINFO_BYTES, 0))

    def tasks(self) -> int:
        """Return the current number of processes and threads."""
        return parse_tasks(os.pread(self._load, _LOAD_BYTES, 0))
