"""The nodes that are connected to this hub, by name: the last status of each, its lease, what is
reserved on it, and the limits on sessions that all usable ones make together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mograder.core.clock import Clock
from mograder.core.errors import (
    Busy,
    Forbidden,
    MograderError,
    NotFound,
    RemoteFailed,
    SandboxUnavailable,
    TimedOut,
)
from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.client.supervisor_client import ANSWER_SECONDS, Connection
from mograder.sandbox.protocol import Done, Measured, NodeStatus, Operation
from mograder.sessions.capacity import MEGABYTE, UNKNOWN, YOUNG_SECONDS, CapacityLimits
from mograder.sessions.nodes.placement import NodeLoad, dependable, fits

_FAILING_SECONDS = 30.0
"""How long a node on which a start failed is chosen only if no other one is usable."""


class Link(Protocol):
    """The hub's end of the control connection to a node that has proved its name."""

    @property
    def name(self) -> str: ...
    @property
    def secret_hash(self) -> str:
        """The SHA-256, in hex, of the secret by which the node is known."""
        ...

    @property
    def connection(self) -> Connection: ...

    async def close(self) -> None:
        """Close the connection, and all those to the node's sessions."""
        ...


@dataclass(slots=True, eq=False)
class _Reservation:
    """A start or a run of this hub. It counts with ``expected`` bytes while it is young.

    ``reported`` is whether the node's status contains it; a run is never contained.
    """

    expected: int
    at: float
    measured: int = 0
    begun: bool = False
    reported: bool = False


class ConnectedNode:
    """A node that is connected; for use on the event loop only.

    Mutable state: ``status``, the last one, ``wanted_draining``, the administrator's wish,
    ``_runs`` as last measured, and the reservations.
    """

    def __init__(self, link: Link, clock: Clock, lease_seconds: float) -> None:
        self.link = link
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._granted = float("-inf")
        self._failed = float("-inf")
        self._reserved: dict[str, _Reservation] = {}
        self.session_ids: frozenset[str] = frozenset()
        """The sessions of its last status."""
        self.status: NodeStatus | None = None
        self.wanted_draining = False
        self._runs = 0

    @property
    def name(self) -> str:
        """The node's name."""
        return self.link.name

    @property
    def version(self) -> str:
        """The node's release."""
        return self.link.connection.hello.version

    @property
    def draining(self) -> bool:
        """Whether no new sessions may start on it, by its own word or the administrator's."""
        return self.wanted_draining or (self.status is not None and self.status.draining)

    @property
    def granted(self) -> bool:
        """Whether its lease was granted not longer ago than half of the lease's time."""
        return self._clock.steady() - self._granted < self._lease_seconds / 2

    @property
    def usable(self) -> bool:
        """Whether sessions may start on it."""
        return self.link.connection.alive and self.granted and not self.draining

    async def call(self, operation: Operation, seconds: float = ANSWER_SECONDS) -> Done:
        """Return the node's answer. Raises: as
        :meth:`~mograder.sandbox.client.supervisor_client.Connection.call`."""
        return await self.link.connection.call(operation, seconds=seconds)

    def note_status(self, status: NodeStatus) -> None:
        """Store a status."""
        self.status = status
        self.session_ids = frozenset(status.sessions)
        for session_id, reservation in self._reserved.items():
            reservation.reported = reservation.reported or session_id in self.session_ids

    def note_grant(self, *, draining: bool) -> None:
        """Store that the node has confirmed its lease, and the administrator's wish."""
        self._granted = self._clock.steady()
        self.wanted_draining = draining

    def note_failure(self) -> None:
        """Store that a start on it has failed."""
        self._failed = self._clock.steady()

    def note_use(self, news: Measured) -> None:
        """Store the use of its sessions and runs."""
        self._runs = news.runs
        for use in news.sessions:
            if (reservation := self._reserved.get(use.session_id)) is not None:
                reservation.measured = use.memory

    def reserve(self, session_id: str, expected: int) -> None:
        """Count a start or a run of ``expected`` bytes until the node reports it."""
        self._reserved[session_id] = _Reservation(expected, self._clock.steady())

    def begin(self, session_id: str) -> None:
        """Store that a reserved start is carried out; its memory counts while it is young."""
        if (reservation := self._reserved.get(session_id)) is not None:
            reservation.begun, reservation.at = True, self._clock.steady()

    def release(self, session_id: str) -> None:
        """Remove a reservation, of a start that failed or of anything that has ended."""
        self._reserved.pop(session_id, None)

    def load(self) -> NodeLoad | None:
        """Return what placement needs to know, None before its first status."""
        if self.status is None:
            return None
        waiting, memory = self._outstanding()
        return NodeLoad(
            name=self.name,
            usable=self.usable,
            status=self.status,
            runs=self._runs,
            reserved=waiting,
            reserved_memory=memory,
            failing=self._clock.steady() - self._failed < _FAILING_SECONDS,
        )

    def _outstanding(self) -> tuple[int, int]:
        """Return the number of unreported starts and the memory still expected; forget old ones."""
        now = self._clock.steady()
        for session_id, each in tuple(self._reserved.items()):
            if each.begun and now - each.at > YOUNG_SECONDS:
                del self._reserved[session_id]
        waiting = sum(not each.reported for each in self._reserved.values())
        memory = sum(max(0, each.expected - each.measured) for each in self._reserved.values())
        return waiting, memory


class NodeRegistry:
    """The connected nodes; for use on the event loop only. Mutable state: ``_nodes``.

    ``on_change`` is called when the capacity of all nodes may have changed. ``expected`` returns
    the bytes with which a session was admitted, by its id.
    """

    def __init__(self, clock: Clock, lease_seconds: float) -> None:
        self.clock = clock
        self._lease_seconds = lease_seconds
        self._nodes: dict[str, ConnectedNode] = {}
        self._change = asyncio.Event()
        self.on_change: Callable[[Sequence[NodeLoad]], None] = lambda loads: None
        self.expected: Callable[[str], int] = lambda _: UNKNOWN

    def changed(self) -> Sequence[NodeLoad]:
        """Note that a node came, went, or reported; return the loads of those that count."""
        loads = self.counted()
        self.on_change(loads)
        self._change.set()
        return loads

    async def reserve(
        self,
        choose: Callable[[Sequence[NodeLoad]], str | None],
        reservation: str,
        expected: int,
        seconds: float,
    ) -> ConnectedNode:
        """Return the node that ``choose`` names, with ``expected`` bytes reserved on it.

        ``reservation`` is the id of a session or a run.
        Raises: :class:`Busy` if ``choose`` names none for ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds):
                while (name := choose(self.loads())) is None:
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            raise Busy(
                "No machine is ready to run notebooks at the moment.",
                hint="Try again in a minute; if it happens again, tell your instructor.",
                retry_after=30,
            ) from None
        node = self._nodes[name]
        node.reserve(reservation, expected)
        return node

    def add(self, link: Link) -> tuple[ConnectedNode, ConnectedNode | None]:
        """Add a connection; return the node, and the one of the same name that it replaces.

        A node connects again before this hub has noticed that its old connection is broken.
        """
        node = ConnectedNode(link, self.clock, self._lease_seconds)
        former = self._nodes.get(link.name)
        self._nodes[link.name] = node
        return node, former

    def remove(self, node: ConnectedNode) -> bool:
        """Remove a node, unless it has been replaced; return whether it was there."""
        if self._nodes.get(node.name) is not node:
            return False
        del self._nodes[node.name]
        return True

    def all(self) -> tuple[ConnectedNode, ...]:
        """Return the connected nodes."""
        return tuple(self._nodes.values())

    def find(self, name: str) -> ConnectedNode | None:
        """Return a connected node, or None."""
        return self._nodes.get(name)

    def loads(self) -> list[NodeLoad]:
        """Return what placement needs to know of all connected nodes that have sent a status."""
        loads = (node.load() for node in self._nodes.values())
        return [load for load in loads if load is not None]

    def counted(self) -> list[NodeLoad]:
        """Return the nodes whose memory counts for all starts."""
        return dependable(self.loads())

    def draining(self, name: str) -> bool:
        """Return whether a node is connected and is being drained."""
        node = self._nodes.get(name)
        return node is not None and node.draining

    def fits(self, expected: int) -> bool:
        """Return whether any node that counts has ``expected`` bytes to spare."""
        return any(fits(load, expected) for load in self.counted())


def failure_on(name: str, error: MograderError) -> MograderError:
    """Return what a start or run that failed on a node raises, whichever family it has named.

    A node that does not find or accept a directory, which the hub has just made, lacks the share.
    """
    if isinstance(error, SandboxUnavailable | RemoteFailed | TimedOut | Busy):
        return error
    if isinstance(error, NotFound | Forbidden):
        return RemoteFailed(
            f"The machine {name} cannot reach the notebook's files.",
            hint="Try again; if it happens again, tell your instructor: the hub's log says more.",
        )
    return RemoteFailed(error.message, hint=error.hint)


def node_capacity(ttl: float, limits: LimitsSettings, registry: NodeRegistry) -> CapacityLimits:
    """Return limits that follow the nodes of a registry; ``ttl`` in seconds.

    ``[limits] total_memory_mb`` and ``starts_at_once`` still bound them if they are set.
    """
    capacity = CapacityLimits(
        ttl=ttl,
        start_timeout=limits.start_timeout,
        memory=0,
        starts=0,
        line=limits.line_length,
        fits=registry.fits,
    )

    def follow(loads: Sequence[NodeLoad]) -> None:
        memory = sum(each.status.memory for each in loads)
        starts = sum(each.status.starts for each in loads)
        capacity.memory = min(memory, limits.total_memory_mb * MEGABYTE or memory)
        capacity.starts = min(starts, limits.starts_at_once or starts)
        capacity.largest = max((each.status.memory for each in loads), default=0)

    registry.on_change = follow
    return capacity
