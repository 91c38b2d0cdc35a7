"""Resource use of sessions from ``/proc``, where they have no cgroups.

A process belongs to a session by its pid namespace: each session has its own and can
make no other, so double forks, ``setsid`` and adoption hide nothing. The memory of a process is
its proportional share (PSS), since forks of one zygote share most of their pages. The kernel needs
up to a millisecond to compute it, so it is read again only after the process changed its memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from mograder.sandbox.isolation.bwrap_process import children_of
from mograder.sandbox.isolation.policy import HOME
from mograder.sandbox.limits.cgroup2 import Reading
from mograder.sandbox.limits.procfs import (
    PAGE,
    TICKS,
    Share,
    Stat,
    machine_load,
    namespace_of,
    share_of,
    stat_of,
)

_MOVED = 1 << 20
"""Change in bytes, resident or faulted in, after which a share is read again."""

_MOST_PROCESSES = 10_000
_MEMORY_MOUNTS = ("tmp", "dev/shm", str(HOME).lstrip("/"))
_NAME_BYTES = 1024
"""The kernel's memory for each file of a tmpfs, beside its content; 1.1 KB were measured."""


@dataclass(slots=True, eq=False)
class MeteredSession:
    """A session that a :class:`ProcessMeter` measures, as a ``SessionGroup`` measures itself."""

    first_pid: int
    namespace: str
    """Pid namespace of its processes; "" where it is not confined."""
    tmp_bytes: int
    found: list[int]
    """Its pids as of the last :meth:`ProcessMeter.find`."""
    shares: dict[int, tuple[Stat, Share]] = field(default_factory=dict)
    """By pid: its share of memory, and its stat when that was read."""
    ticks: int = 0
    ended_ticks: int = 0
    """CPU ticks of ended processes that were not waited for; keeps the total monotonic."""

    def pids(self) -> list[int]:
        return list(self.found)

    def use(self) -> Reading:
        """Return the current use. Call it in the thread that calls :meth:`ProcessMeter.find`."""
        stats = {pid: stat for pid in self.found if (stat := stat_of(pid)) is not None}
        ticks = sum(stat.ticks for stat in stats.values())
        self.ended_ticks += max(0, self.ticks - ticks)
        self.ticks = ticks
        return Reading(
            memory=_memory(self, stats),
            cpu=(ticks + self.ended_ticks) / TICKS,
            tasks=sum(stat.threads for stat in stats.values()),
        )


class ProcessMeter:
    """Measures sessions by their processes in ``/proc``.

    Call ``find`` in one thread, the rest in any thread.
    """

    def __init__(self, *, confined: bool = True) -> None:
        """Unless ``confined``, a session is its first process and the descendants of that."""
        self._confined = confined
        self._sessions: set[MeteredSession] = set()
        self._last_pid = 0

    def add(self, first_pid: int, tmp_bytes: int) -> MeteredSession:
        """Measure a session from now on; ``first_pid`` is the first process of its sandbox.

        ``tmp_bytes`` is the size limit of each tmpfs in it.
        """
        namespace = namespace_of(first_pid) if self._confined else ""
        size = tmp_bytes if self._confined else 0
        session = MeteredSession(first_pid, namespace, size, [first_pid])
        self._sessions.add(session)
        self._last_pid = 0
        return session

    def remove(self, session: MeteredSession) -> None:
        self._sessions.discard(session)

    def find(self) -> None:
        if not self._sessions:
            return
        before, self._last_pid = self._last_pid, machine_load()[1]
        if before == self._last_pid:  # no process has started
            return
        sessions = tuple(self._sessions)
        if not self._confined:
            for session in sessions:
                session.found = descendants(session.first_pid)
            return
        found: dict[str, list[int]] = {each.namespace: [] for each in sessions if each.namespace}
        for name in os.listdir("/proc"):  # noqa: PTH208 - a Path costs more
            if name.isdecimal() and (pids := found.get(namespace_of(int(name)))) is not None:
                pids.append(int(name))
        for session in sessions:
            session.found = found.get(session.namespace, [])

    def pids(self) -> set[int]:
        """Return the pids of all sessions as of the last :meth:`find`."""
        return {pid for session in tuple(self._sessions) for pid in session.found}


def helpers_memory(sessions: Collection[int]) -> int:
    """Return the bytes of this process and its descendants, without ``sessions`` (pids)."""
    total = 0
    for pid in descendants(os.getpid(), without=sessions):
        with contextlib.suppress(OSError, ValueError):
            total += share_of(pid).total
    return total


def descendants(first: int, without: Collection[int] = ()) -> list[int]:
    """Return a process and its descendants, except those in ``without`` and below them."""
    found = [first]
    for pid in found:  # the list grows during the loop
        if len(found) < _MOST_PROCESSES:
            found += [child for child in children_of(pid) if child not in without]
    return found


def _memory(session: MeteredSession, stats: dict[int, Stat]) -> int:
    """Add up the bytes; mapped shared memory that is also a file in a tmpfs counts once."""
    shares: dict[int, tuple[Stat, Share]] = {}
    for pid, stat in stats.items():
        known = session.shares.get(pid)
        if known is None or _moved(known[0], stat):
            with contextlib.suppress(OSError, ValueError):
                known = stat, share_of(pid)
        if known is not None:
            shares[pid] = known
    session.shares = shares
    private = sum(share.private for _, share in shares.values())
    shared = sum(share.shared for _, share in shares.values())
    return private + max(shared, _in_memory_mounts(session))


def _moved(before: Stat, now: Stat) -> bool:
    """Return whether a process has taken, freed or copied memory; a copied page is a page fault."""
    grown = abs(now.resident - before.resident)
    return grown + abs(now.faults - before.faults) * PAGE > _MOVED


def _in_memory_mounts(session: MeteredSession) -> int:
    """Return the bytes of the files in the sandbox's tmpfs mounts, read through its processes.

    A process that has not pivoted yet still sees the host's mounts: larger file systems than
    ``tmp_bytes`` are ignored.
    """
    for pid in session.found:
        try:
            found = [os.statvfs(f"/proc/{pid}/root/{name}") for name in _MEMORY_MOUNTS]
        except OSError:
            continue
        own = [each for each in found if each.f_blocks * each.f_frsize <= session.tmp_bytes]
        contents = sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in own)
        return contents + sum(each.f_files - each.f_ffree for each in own) * _NAME_BYTES
    return 0
