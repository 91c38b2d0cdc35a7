"""What each session uses, as its cgroup v2 tells it: the kernel counts by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from mograder.sandbox.cgroups import SessionGroup
from mograder.sandbox.usage import Member, Reading


class GroupMeter:
    """Measures sessions by their cgroups, which the kernel counts."""

    def __init__(self) -> None:
        self._groups: dict[str, SessionGroup] = {}
        self._readings: dict[str, Reading] = {}

    def join(self, session_id: str, group: SessionGroup) -> None:
        """Say which leaf is a session's, before :meth:`add`."""
        self._groups[session_id] = group

    def add(self, session_id: str, first_pid: int, tmp_bytes: int) -> None:
        return None

    def remove(self, session_id: str) -> None:
        self._groups.pop(session_id, None)
        self._readings.pop(session_id, None)

    def discover(self) -> Collection[str]:
        return ()

    def read(self, session_id: str, limit: int) -> Reading:
        with contextlib.suppress(OSError, ValueError, KeyError):
            use = self._groups[session_id].use()
            self._readings[session_id] = Reading(use.memory, use.cpu, use.processes)
        return self._readings.get(session_id, Reading(0, 0.0, 0))

    def cpu(self, session_id: str) -> float:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return self._groups[session_id].cpu()
        return 0.0

    def pids(self, session_id: str) -> list[int]:
        group = self._groups.get(session_id)
        return [] if group is None else group.pids()

    def members(self, session_id: str) -> Iterator[Member]:
        return iter(())
