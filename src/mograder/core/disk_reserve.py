"""The space that students' files must leave free on each disk: ``[limits] disk_reserve_mb``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DiskReserve:
    """A reserve in MiB, but at most ``percent`` of the file system, so that small ones work too."""

    mb: int
    percent: int = 5

    def of(self, total: int) -> int:
        """Return the bytes to leave free on a file system of ``total`` bytes."""
        return min(self.mb << 20, total * self.percent // 100)


NO_RESERVE = DiskReserve(0)
