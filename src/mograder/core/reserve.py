"""The free space that students' files leave on a disk: ``[limits] disk_reserve_mb`` of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DiskReserve:
    """So many MiB, but never more than ``percent`` of the file system: a small one works too."""

    mb: int
    percent: int = 5

    def of(self, total: int) -> int:
        """Return the bytes to leave free on a file system of so many bytes."""
        return min(self.mb << 20, total * self.percent // 100)


NO_RESERVE = DiskReserve(0)
