"""What each session uses: by its cgroup v2, or measured from ``/proc`` where there is none.

In ``/proc`` a process belongs to a session by its pid namespace: a session has one of its own and
can make no other, so forking twice, ``setsid`` and adoption hide nothing. The memory of a process
is its proportional share (PSS), since forks of one zygote share most of their pages. To read it
takes the kernel up to a millisecond, so it is read again only when the process has moved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from mograder.sandbox.isolation.bwrap_process import children_of
from mograder.sandbox.isolation.policy import HOME
from mograder.sandbox.limits.cgroup2 import SessionGroup
from mograder.sandbox.limits.procfs import PAGE, TICKS, Share, Stat, namespace_of, share_of, stat_of

_MOVED = 1 << 20
"""Bytes of resident memory, or of pages faulted in, after which a share is read again."""

_MOST_PROCESSES = 10_000
_MEMORY_MOUNTS = ("tmp", "dev/shm", str(HOME).lstrip("/"))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a session uses now: bytes, processor seconds since its start, processes and threads."""

    memory: int
    cpu: float
    tasks: int


class Meter(Protocol):
    """Measures sessions: ``find`` and ``read`` in one thread, all else from any thread."""

    def add(
        self, session_id: str, first_pid: int, tmp_bytes: int, group: SessionGroup | None
    ) -> None:
        """Measure a session from now on, by its cgroup or the first process of its sandbox.

        ``tmp_bytes`` is the size with which its file systems in memory were made.
        """
        ...

    def remove(self, session_id: str) -> None:
        """Measure it no more."""
        ...

    def find(self) -> None:
        """Find the sessions' new processes."""
        ...

    def read(self, session_id: str) -> Reading:
        """Measure one session; zeros for one that is not known."""
        ...

    def pids(self, session_id: str) -> list[int]:
        """Return its processes as they were found last."""
        ...


class GroupMeter:
    """Measures sessions by their cgroups; the kernel counts."""

    def __init__(self) -> None:
        self._groups: dict[str, SessionGroup] = {}
        self._readings: dict[str, Reading] = {}

    def add(
        self, session_id: str, first_pid: int, tmp_bytes: int, group: SessionGroup | None
    ) -> None:
        if group is not None:
            self._groups[session_id] = group

    def remove(self, session_id: str) -> None:
        self._groups.pop(session_id, None)
        self._readings.pop(session_id, None)

    def find(self) -> None:
        """Nothing: a cgroup knows its processes."""

    def read(self, session_id: str) -> Reading:
        with contextlib.suppress(OSError, ValueError, KeyError):
            use = self._groups[session_id].use()
            self._readings[session_id] = Reading(use.memory, use.cpu, use.processes)
        return self._readings.get(session_id, Reading(0, 0.0, 0))

    def pids(self, session_id: str) -> list[int]:
        group = self._groups.get(session_id)
        return [] if group is None else group.pids()


@dataclass(slots=True)
class _Session:
    first_pid: int
    namespace: str
    """Of its processes; "" where it is not confined."""
    tmp_bytes: int
    pids: list[int]
    shares: dict[int, tuple[Stat, Share]] = field(default_factory=dict)
    """Of each process: its share of memory, and what it had used when that was read."""
    ticks: int = 0
    ended_ticks: int = 0
    """Of processes that ended and whose parent did not wait for them: the total never falls."""


class ProcessMeter:
    """Measures sessions by their processes."""

    def __init__(self, *, confined: bool = True) -> None:
        """Unconfined, a session is the first process with what descends from it."""
        self._confined = confined
        self._sessions: dict[str, _Session] = {}
        self._last_pid = b""

    def add(
        self, session_id: str, first_pid: int, tmp_bytes: int, group: SessionGroup | None
    ) -> None:
        namespace = namespace_of(first_pid) if self._confined else ""
        size = tmp_bytes if self._confined else 0
        self._sessions[session_id] = _Session(first_pid, namespace, size, [first_pid])
        self._last_pid = b""

    def remove(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def find(self) -> None:
        before, self._last_pid = self._last_pid, _last_pid()
        if before == self._last_pid:  # no process has started
            return
        sessions = tuple(self._sessions.values())
        if not self._confined:
            for session in sessions:
                session.pids = descendants(session.first_pid)
            return
        found: dict[str, list[int]] = {each.namespace: [] for each in sessions if each.namespace}
        for name in os.listdir("/proc"):  # noqa: PTH208 - a Path costs more
            if name.isdecimal() and (pids := found.get(namespace_of(int(name)))) is not None:
                pids.append(int(name))
        for session in sessions:
            session.pids = found.get(session.namespace, [])

    def read(self, session_id: str) -> Reading:
        session = self._sessions.get(session_id)
        if session is None:
            return Reading(0, 0.0, 0)
        stats = {pid: stat for pid in session.pids if (stat := stat_of(pid)) is not None}
        ticks = sum(stat.ticks for stat in stats.values())
        session.ended_ticks += max(0, session.ticks - ticks)
        session.ticks = ticks
        return Reading(
            memory=_memory(session, stats),
            cpu=(ticks + session.ended_ticks) / TICKS,
            tasks=sum(stat.threads for stat in stats.values()),
        )

    def pids(self, session_id: str) -> list[int]:
        session = self._sessions.get(session_id)
        return [] if session is None else list(session.pids)


def helpers_memory(sessions: Collection[int]) -> int:
    """Return the bytes of this process and what it has started, without these processes."""
    total = 0
    for pid in descendants(os.getpid(), without=sessions):
        with contextlib.suppress(OSError, ValueError):
            total += share_of(pid).total
    return total


def descendants(first: int, without: Collection[int] = ()) -> list[int]:
    """Return a process and all that descend from it, except some with what descends from these."""
    found = [first]
    for pid in found:  # grows meanwhile
        if len(found) < _MOST_PROCESSES:
            found += [child for child in children_of(pid) if child not in without]
    return found


def _memory(session: _Session, stats: dict[int, Stat]) -> int:
    """Add up the bytes; shared memory that is mapped and lies in a file as well counts once."""
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
    """Whether a process has taken, freed or copied memory; a copied page is a page fault."""
    grown = abs(now.resident - before.resident)
    return grown + abs(now.faults - before.faults) * PAGE > _MOVED


def _in_memory_mounts(session: _Session) -> int:
    """Return what the sandbox's own file systems in memory hold, seen through a process of it.

    A process that still sees the host's file systems is known by their size: the sandbox's are
    made with theirs.
    """
    for pid in session.pids:
        try:
            found = [os.statvfs(f"/proc/{pid}/root/{name}") for name in _MEMORY_MOUNTS]
        except OSError:
            continue
        own = [each for each in found if each.f_blocks * each.f_frsize <= session.tmp_bytes]
        return sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in own)
    return 0


def _last_pid() -> bytes:
    """Return the number that was given last: while it is the same, no process is new."""
    with open("/proc/loadavg", "rb") as file:  # noqa: PTH123 - a Path costs more
        return file.read().split()[-1]
