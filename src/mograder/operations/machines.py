"""The machines that run a hub's sessions, as its database tells of them.

The hub that is connected to a node stores the node's status now and then. Its numbers are for
people and decide nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from mograder.sandbox.protocol import NodeStatus
from mograder.store.hub.nodes import NodeRow, Nodes


class MachineState(StrEnum):
    READY = "ready"
    DRAINING = "draining"
    """It takes no new sessions."""
    AWAY = "away"
    """Its lease is over: it is not connected, and has ended its sessions."""
    NEW = "new"
    """It has a token and was never connected."""
    REMOVED = "removed"
    """It is refused from now on, and its last lease is not over yet."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node; memory is in bytes.

    ``memory`` is what its sessions and runs may use together, ``used`` what they use. ``sessions``
    and ``runs`` are counts, ``environments`` and ``warm`` the numbers of environments that are
    built, and of those that start warm. ``seen`` is the time of its last lease, ``asked`` whether
    an administrator wants it drained. ``ends`` is when it begins to end the sessions that are left,
    None if it waits for them or is not draining.
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
        return self.state in (MachineState.READY, MachineState.DRAINING)


class NodesView:
    """Reads the machines from the rows of nodes; a status that is unchanged is parsed once.

    Mutable state: ``_read``, by node the stored text, what it says, and when it was first read.
    """

    def __init__(self, nodes: Nodes, lease_seconds: float) -> None:
        self._nodes = nodes
        self._lease = timedelta(seconds=lease_seconds)
        self._read: dict[str, tuple[str, NodeStatus | None, datetime]] = {}

    def read(self, now: datetime) -> list[Machine]:
        """Return all machines, by name; forget those that were removed and hold no lease."""
        holding, rows = self._nodes.holding(), self._nodes.all()
        if any(not row.secret_hash and row.name not in holding for row in rows):
            self._nodes.forget_removed()
            rows = self._nodes.all()
        for name in self._read.keys() - {row.name for row in rows}:
            del self._read[name]
        return [self._machine(row, now, lapsed=row.name not in holding) for row in rows]

    def _machine(self, row: NodeRow, now: datetime, *, lapsed: bool) -> Machine:
        text, status, at = self._read.get(row.name, ("", None, now))
        if text != row.status:
            status, at = _status(row.status), now
            self._read[row.name] = row.status, status, at
        machine = Machine(
            name=row.name,
            state=_state(row, status, lapsed=lapsed),
            version=row.version,
            asked=row.draining,
            seen=row.lease_until - self._lease if row.lease_until else None,
        )
        return machine if status is None else _with_status(machine, status, at)


def total(machines: Iterable[Machine]) -> Counter[str]:
    """Return the sums of machines that are connected.

    ``machines`` and ``sessions`` are of all of them; ``ready``, ``memory`` and ``used`` of those
    that take new sessions.
    """
    sums: Counter[str] = Counter()
    for each in machines:
        if each.at_work:
            sums.update(machines=1, sessions=each.sessions)
        if each.state is MachineState.READY:
            sums.update(ready=1, memory=each.memory, used=each.used)
    return sums


def _state(row: NodeRow, status: NodeStatus | None, *, lapsed: bool) -> MachineState:
    if not row.secret_hash:
        return MachineState.REMOVED
    if row.lease_until is None:
        return MachineState.NEW
    if lapsed:
        return MachineState.AWAY
    draining = row.draining or (status is not None and status.draining)
    return MachineState.DRAINING if draining else MachineState.READY


def _with_status(machine: Machine, status: NodeStatus, at: datetime) -> Machine:
    ends = None
    if machine.state is MachineState.DRAINING and status.drain_seconds is not None:
        ends = at + timedelta(seconds=status.drain_seconds)
    return replace(
        machine,
        memory=status.memory,
        used=status.used,
        processors=status.processors,
        load=status.load,
        sessions=len(status.sessions),
        runs=status.runs,
        environments=len(status.environments),
        warm=len(status.zygotes),
        ends=ends,
    )


def _status(text: str) -> NodeStatus | None:
    try:
        return NodeStatus.model_validate_json(text) if text else None
    except ValidationError:
        return None
