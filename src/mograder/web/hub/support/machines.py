"""The machines that run sessions, as people see them: pages, metrics, and messages to students.

All is read from the database, where the hub that is connected to a node stores the node's status
now and then: so every hub of a course shows the same. One small query every two seconds answers
all pages. A node's numbers are shown and decide nothing here; they are cut to what can be shown,
since a hostile node may send any.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from mograder.core.clock import Clock
from mograder.core.log import get_logger
from mograder.sandbox.node_messages import NodeStatus
from mograder.store.node_tables import NodeRow
from mograder.store.nodes import Nodes
from mograder.web.hub.support.notifier import Notifier, Part

_LOOK_SECONDS = 2.0
_MOST, _LONGEST = 2**60, 1e8
"""The largest count, and the largest load and number of seconds, that are shown."""
_SAME = timedelta(seconds=30)
"""Two ends of a machine that differ by less are taken to be one, so that pages need no news."""
_log = get_logger(__name__)


class MachineState(StrEnum):
    """The state of a machine."""

    READY = "ready"
    DRAINING = "draining"
    """It takes no new sessions."""
    AWAY = "away"
    """Its lease is over: it is not connected, and has ended its sessions."""
    NEW = "new"
    """It has joined and was never connected."""
    REMOVED = "removed"
    """It is refused from now on, and its last lease is not over yet."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node; memory is in bytes.

    ``memory`` is what its sessions and runs may use together, ``used`` what they use. ``sessions``
    and ``runs`` are counts, ``environments`` and ``warm`` the numbers of environments that are
    built, and of those that start warm. ``seen`` is the time of its last lease, ``asked`` whether
    an administrator wants it drained. ``ends`` is when it ends the sessions that are left, None if
    it waits for them or is not draining.
    """

    name: str
    state: MachineState
    version: str = ""
    memory: int = 0
    used: int = 0
    processors: int = 0
    load: float = 0.0
    sessions: int = 0
    runs: int = 0
    environments: int = 0
    warm: int = 0
    asked: bool = False
    seen: datetime | None = None
    ends: datetime | None = None

    @property
    def at_work(self) -> bool:
        """Whether it is connected."""
        return self.state in (MachineState.READY, MachineState.DRAINING)


@dataclass(frozen=True, slots=True)
class Leaving:
    """A machine that will be shut down, as a student is told; ``ends`` is None if not known."""

    ends: datetime | None

    def seconds(self, now: datetime) -> int | None:
        """Return the seconds that are left, at least 0, or None."""
        return None if self.ends is None else max(0, int((self.ends - now).total_seconds()))

    def minutes(self, now: datetime) -> int | None:
        """Return the minutes that are left, at least 1, or None."""
        seconds = self.seconds(now)
        return None if seconds is None else max(1, seconds // 60)


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored status as text, what it says, and when it was first seen here."""

    text: str
    status: NodeStatus | None
    at: datetime


class Machines:
    """The nodes of the course, as they were at the last look.

    Mutable state, written with ``_looking``: ``_seen``, the machines by name, ``_read``, the last
    status of each, which is parsed only when it has changed, and ``_changed``, the names of those
    that pages have not been notified of.
    """

    def __init__(self, nodes: Nodes, clock: Clock, lease_seconds: float) -> None:
        self._nodes = nodes
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)
        self._seen: Mapping[str, Machine] = {}
        self._read: dict[str, _Read] = {}
        self._changed: set[str] = set()
        self._looking = threading.Lock()

    def all(self) -> list[Machine]:
        """Return all machines, by name; memory only."""
        return list(self._seen.values())

    def leaving(self, name: str) -> Leaving | None:
        """Return when a machine will be shut down, None if it will not; memory only."""
        machine = self._seen.get(name)
        if machine is None or machine.state is not MachineState.DRAINING:
            return None
        return Leaving(machine.ends)

    def look(self) -> list[Machine]:
        """Read the database and return all machines, by name; blocks."""
        with self._looking:
            lapsed, rows = self._nodes.lapsed(), self._nodes.all()
            if any(not row.fingerprint and row.name in lapsed for row in rows):
                self._nodes.forget_removed()
                rows = self._nodes.all()
            now, before = self._clock.now(), self._seen
            found = {row.name: self._machine(row, now, lapsed=row.name in lapsed) for row in rows}
            for name in self._read.keys() - found.keys():
                del self._read[name]
            names = before.keys() | found.keys()
            self._changed |= {each for each in names if _gist(before, each) != _gist(found, each)}
            self._seen = found
            return list(found.values())

    def changed(self) -> frozenset[str]:
        """Look, and return the machines that changed since the last call of this; blocks."""
        self.look()
        with self._looking:
            changed, self._changed = frozenset(self._changed), set()
            return changed

    async def keep_looking(
        self,
        notifier: Notifier,
        users_on: Callable[[str], Iterable[str]],
        stop: asyncio.Event,
        seconds: float = _LOOK_SECONDS,
    ) -> None:
        """Look until ``stop`` is set, and notify the pages of changes.

        ``users_on`` returns the users who have a session on a machine. This is not cancelled: a
        query in a thread would outlive the cancellation.
        """
        while not stop.is_set():
            try:
                changed = await asyncio.to_thread(self.changed)
                for user in {each for name in changed for each in users_on(name)}:
                    notifier.notify(user, Part.SESSIONS)
                if changed:
                    notifier.notify_instructors(Part.MACHINES)
            except Exception:  # noqa: BLE001 - the loop must go on after an error
                _log.exception("the machines could not be looked at")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)

    def _machine(self, row: NodeRow, now: datetime, *, lapsed: bool) -> Machine:
        read = self._read.get(row.name)
        if read is None or read.text != row.status:
            read = self._read[row.name] = _Read(row.status, _status(row.status), now)
        state = _state(row, read.status, lapsed=lapsed)
        machine = Machine(
            name=row.name,
            state=state,
            version=row.version,
            asked=row.draining,
            seen=row.lease_until - self._lease if row.lease_until else None,
        )
        if read.status is None:
            return machine
        machine = _with_numbers(machine, read.status)
        if state is not MachineState.DRAINING or read.status.drain_seconds is None:
            return machine
        ends = read.at + timedelta(seconds=_number(read.status.drain_seconds, _LONGEST))
        before = self._seen.get(row.name)
        if before and before.ends and abs(before.ends - ends) < _SAME:
            ends = before.ends
        return replace(machine, ends=ends)


def total(machines: Iterable[Machine]) -> Counter[str]:
    """Return the sums of machines that are connected: ``machines``, ``memory``, ``used`` …"""
    sums: Counter[str] = Counter()
    for each in machines:
        if each.at_work:
            numbers = {"memory": each.memory, "used": each.used, "sessions": each.sessions}
            sums.update(machines=1, processors=each.processors, **numbers)
    return sums


def _state(row: NodeRow, status: NodeStatus | None, *, lapsed: bool) -> MachineState:
    if not row.fingerprint:
        return MachineState.REMOVED
    if row.lease_until is None:
        return MachineState.NEW
    if lapsed:
        return MachineState.AWAY
    draining = row.draining or (status is not None and status.draining)
    return MachineState.DRAINING if draining else MachineState.READY


def _gist(machines: Mapping[str, Machine], name: str) -> object:
    """Return what students are told of a machine, and instructors at once."""
    found = machines.get(name)
    return found and (found.state, found.ends)


def _with_numbers(machine: Machine, status: NodeStatus) -> Machine:
    return replace(
        machine,
        memory=_count(status.memory),
        used=_count(status.used),
        processors=_count(status.processors),
        load=_number(status.load, _LONGEST),
        sessions=len(status.sessions),
        runs=_count(status.runs),
        environments=len(status.environments),
        warm=len(status.zygotes),
    )


def _status(text: str) -> NodeStatus | None:
    try:
        return NodeStatus.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _count(number: int) -> int:
    return min(max(0, number), _MOST)


def _number(number: float, most: float) -> float:
    return min(max(0.0, number), most)
