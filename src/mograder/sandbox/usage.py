"""What each session uses, measured from ``/proc`` where no cgroup v2 tells it.

A process belongs to a session by its pid namespace: a session has one of its own and can make no
other, so forking twice, ``setsid`` and adoption hide nothing. Resident memory is read each time,
the proportional share (PSS) only where that has moved, and PSS is what is told: forks of one
zygote share most of their pages.

One pass over 200 idle sessions must cost next to nothing (performance.md, "idle hub"): descriptors
of ``/proc/PID/stat`` are kept open, and who calls leaves out sessions that do not move.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import RLock
from typing import Protocol

from mograder.sandbox.policy import HOME
from mograder.sandbox.processes import (
    TICKS,
    Process,
    Stat,
    nameless_files,
    namespace_of,
    parse_stat,
    socket_buffers,
)

_STEP = 4 << 20
"""Resident memory that comes or goes unnoticed, at least."""

_PASS_SECONDS = 0.05
"""For measuring shares in one pass; what is left is done in the next."""

_LEAST_SECONDS = 0.01
_DOUBT_SECONDS = 0.25
"""For measuring the shares of one session that seems to be over its limit."""

_FOREIGN_SECONDS = 30.0
"""How long a process is taken for somebody else's without another look."""

_WEIGHERS = 8
_MOST_FILES = 4096
_MEMORY_MOUNTS = ("tmp", "dev/shm", str(HOME).lstrip("/"))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a session uses now: bytes, processor seconds since its start, processes and threads."""

    memory: int
    cpu: float
    tasks: int


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a session, for who changes its priority."""

    pid: int
    session: int


class Meter(Protocol):
    """Measures sessions.

    One thread at a time reads, and another one may meanwhile do all else.
    """

    def add(self, session_id: str, first_pid: int, tmp_bytes: int) -> None:
        """Measure a session from now on, by the first process of its sandbox.

        ``tmp_bytes`` is how large its file systems in memory were made.
        """
        ...

    def remove(self, session_id: str) -> None:
        """Measure it no more."""
        ...

    def discover(self) -> Collection[str]:
        """Return the sessions that have new processes."""
        ...

    def read(self, session_id: str, limit: int) -> Reading:
        """Measure one session, exactly if it seems to use more than ``limit`` bytes."""
        ...

    def cpu(self, session_id: str) -> float:
        """Return the processor seconds since its start, at once: nothing else is measured."""
        ...

    def pids(self, session_id: str) -> list[int]:
        """Return its processes as they were found last; from any thread."""
        ...

    def members(self, session_id: str) -> Iterator[Member]:
        """Return its processes as they are at this moment."""
        ...


@dataclass(slots=True)
class _Session:
    namespace: str
    tmp_bytes: int
    processes: dict[int, Process] = field(default_factory=dict)
    kept_ticks: int = 0
    """Of processes that ended and whose parent did not ask: the total never falls."""
    ticks: int = 0
    faults: int = 0
    """Page faults of those that are there, as counted last."""
    mounted: int = 0
    """Bytes in the file systems in memory that its sandbox has."""
    hidden: int = 0
    """Bytes of files in memory that have no name."""
    buffers: int = 0
    """Bytes that its sockets may hold."""
    weighing: Future[None] | None = None
    """Its shares are being taken, perhaps since the last pass."""
    moved: bool = True
    """Whether it has done anything since its memory was looked at."""

    @property
    def cpu(self) -> float:
        """Processor seconds since its start."""
        return (self.ticks + self.kept_ticks) / TICKS

    def all(self) -> tuple[Process, ...]:
        """Its processes as they were found last."""
        return tuple(self.processes.values())


class ProcessMeter:
    """Measures sessions by their processes."""

    def __init__(self, *, confined: bool = True) -> None:
        """Unconfined, a session is the first process with what descends from it."""
        self._confined = confined
        self._sessions: dict[str, _Session] = {}
        self._owners: dict[str, str] = {}
        self._known: dict[int, str] = {}
        self._foreign: set[int] = set()
        self._foreign_since = 0.0
        self._last_pid = b""
        self._spent_until = 0.0
        self._shared_memory = 0
        self._hidden_due = False
        self._weighers = ThreadPoolExecutor(_WEIGHERS, "weigher")
        self._lock = RLock()
        """For whose process is whose, and their open descriptors; never while one is waited for."""

    def add(self, session_id: str, first_pid: int, tmp_bytes: int) -> None:
        with self._lock:
            self.remove(session_id)  # a warm start that failed, before the cold one
            namespace = namespace_of(first_pid) if self._confined else ""
            self._sessions[session_id] = _Session(namespace, tmp_bytes if self._confined else 0)
            if namespace:
                self._owners[namespace] = session_id
            self._foreign.discard(first_pid)
            self._follow(session_id, first_pid)

    def remove(self, session_id: str) -> None:
        with self._lock:
            session = self._sessions.pop(session_id, None)
            if session is None:
                return
            self._owners.pop(session.namespace, None)
            for pid in tuple(session.processes):
                self._unfollow(session, pid)

    def discover(self) -> Collection[str]:
        with self._lock:
            return self._discover()

    def _discover(self) -> Collection[str]:
        now = time.monotonic()
        if now - self._foreign_since > _FOREIGN_SECONDS:  # a number may be another's by now
            self._foreign.clear()
            self._foreign_since = now
            self._last_pid = b""
        before, self._last_pid = self._last_pid, _last_pid()
        if before == self._last_pid:
            return ()
        present = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208
        self._foreign &= present
        grown = set()
        # In order of age, mostly: unconfined, parents are to be known before their children.
        for pid in sorted(present - self._known.keys() - self._foreign):
            owner = self._owner_of(pid)
            if owner is None:
                self._foreign.add(pid)
            elif self._follow(owner, pid):
                grown.add(owner)
        return grown

    def begin_pass(self, total: int) -> None:
        """Sessions are read from now on, all that move.

        ``total`` is how much shared memory the machine holds: files without a name are there.
        """
        self._spent_until = time.monotonic() + _PASS_SECONDS
        if total - self._shared_memory > _STEP << 4:
            self._hidden_due = True
        if self._hidden_due or total < self._shared_memory:
            self._shared_memory = total

    def end_pass(self) -> None:
        """All sessions that move were read, and looked at for such files."""
        self._hidden_due = False

    def read(self, session_id: str, limit: int) -> Reading:
        session = self._sessions.get(session_id)
        if session is None:
            return Reading(0, 0.0, 0)
        self._count_ticks(session)
        if session.moved or self._hidden_due:
            session.moved = False
            self._weigh(session, self._spent_until)
            session.mounted = _in_memory_mounts(session)
            session.buffers = _in_sockets(session)
            if self._hidden_due or session.hidden:
                session.hidden = nameless_files(tuple(session.processes), -1, _MOST_FILES).memory
        doubt = sum(process.doubt for process in session.all())
        if limit and _memory(session) + doubt > limit:
            self._weigh(session, time.monotonic() + _DOUBT_SECONDS)
        return Reading(
            memory=_memory(session),
            cpu=session.cpu,
            tasks=sum(process.stat.threads for process in session.all()),
        )

    def cpu(self, session_id: str) -> float:
        session = self._sessions.get(session_id)
        if session is None:
            return 0.0
        self._count_ticks(session)
        return session.cpu

    def pids(self, session_id: str) -> list[int]:
        session = self._sessions.get(session_id)
        return [] if session is None else list(session.processes)

    def members(self, session_id: str) -> Iterator[Member]:
        session = self._sessions.get(session_id)
        with self._lock:
            here = [process for process in session.all() if process.read()] if session else []
        for process in here:
            yield Member(process.pid, process.stat.session)

    def _owner_of(self, pid: int) -> str | None:
        if self._confined:
            return self._owners.get(namespace_of(pid))
        found = _stat_of(pid)
        return None if found is None else self._known.get(found.parent)

    def _follow(self, session_id: str, pid: int) -> bool:
        try:
            process = Process(pid)
        except (OSError, ValueError):
            return False
        self._known[pid] = session_id
        session = self._sessions[session_id]
        session.processes[pid] = process
        session.moved = True
        return True

    def _weigh(self, session: _Session, until: float) -> None:
        """Take shares, and wait for that no longer than it may take.

        A process that forks or maps memory is locked for as long, which is long where nobody lets
        it run. Who waited for that would not see what else its session does.
        """
        if session.weighing is None or session.weighing.done():
            doubtful = _doubtful(session)
            if not doubtful:  # as nearly always: another thread costs more than all the rest
                return
            session.weighing = self._weighers.submit(_measure, doubtful, until)
        wait((session.weighing,), timeout=max(_LEAST_SECONDS, until - time.monotonic()))

    def _unfollow(self, session: _Session, pid: int) -> None:
        session.processes.pop(pid).close()
        self._known.pop(pid, None)

    def _count_ticks(self, session: _Session) -> None:
        with self._lock:
            gone = [pid for pid, process in session.processes.items() if not process.read()]
            for pid in gone:
                self._unfollow(session, pid)
            stats = [process.stat for process in session.all()]
            ticks = sum(stat.ticks for stat in stats)
            faults = sum(stat.faults for stat in stats)
            # Who works between two ticks of the clock is charged none: faults tell of memory taken.
            session.moved |= (ticks, faults) != (session.ticks, session.faults)
            session.kept_ticks += max(0, session.ticks - ticks)
            session.ticks, session.faults = ticks, faults


def _memory(session: _Session) -> int:
    """Shared memory that is mapped and lies in a mounted file as well counts once."""
    processes = session.all()
    shared = sum(process.shared for process in processes)
    private = sum(process.private for process in processes)
    return private + session.buffers + max(shared, session.mounted + session.hidden)


def _doubtful(session: _Session) -> list[Process]:
    """Whose share is to be taken, those first that are most in doubt."""
    doubtful = [process for process in session.all() if process.doubt > _STEP]
    return sorted(doubtful, key=lambda process: -process.doubt)


def _measure(processes: Iterable[Process], until: float) -> None:
    """Take shares for as long as there is time."""
    for process in processes:
        if time.monotonic() > until:
            return
        process.measure()


def _in_memory_mounts(session: _Session) -> int:
    """What the sandbox's own file systems in memory hold, seen through one of its processes.

    One that still sees the host's is told by the size: the sandbox's are made with theirs.
    """
    for pid in tuple(session.processes):
        try:
            found = [os.statvfs(f"/proc/{pid}/root/{name}") for name in _MEMORY_MOUNTS]
        except OSError:
            continue
        own = [each for each in found if each.f_blocks * each.f_frsize <= session.tmp_bytes]
        return sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in own)
    return 0


def _in_sockets(session: _Session) -> int:
    """What its sockets hold: a confined session has a network of its own, and so all of them."""
    for pid in tuple(session.processes) if session.namespace else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            return socket_buffers(pid)
    return 0


def _last_pid() -> bytes:
    """The number that was given last: as long as it is the same, no process is new."""
    with open("/proc/loadavg", "rb") as file:  # noqa: PTH123 - a Path costs more
        return file.read().split()[-1]


def _stat_of(pid: int) -> Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a Path costs more
            return parse_stat(file.read())
    except (OSError, ValueError):
        return None
