"""The space that students' files must leave free on each disk: ``[limits] disk_reserve_mb``."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.disk import Space
from mograder.core.errors import Busy


@dataclass(frozen=True, slots=True)
class DiskReserve:
    """A reserve in MiB, but at most ``percent`` of the file system, so that small ones work too."""

    mb: int
    percent: int = 5

    def of(self, total: int) -> int:
        """Return the bytes to leave free on a file system of ``total`` bytes."""
        return min(self.mb << 20, total * self.percent // 100)

    def demand_room(self, space: Space) -> None:
        """Refuse a change of students' files. Raises: Busy if less than the reserve is free."""
        if space.free < self.of(space.total):
            raise Busy(
                "The hub's disk is nearly full, so nothing was changed.",
                hint="Tell your instructor, who has to make room.",
                retry_after=60,
            )


NO_RESERVE = DiskReserve(0)
