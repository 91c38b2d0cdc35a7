"""The nodes that are connected to this hub, by name, and the choice of one for a session or a run.

Of each the last status, its lease and what is reserved on it are known; all usable ones together
make the limits on sessions. A node that starts the environment's sessions warm is chosen first,
since a cold start costs fifty times the processor time; then the least loaded one. Own starts that
a node has not reported yet count as reserved, so that the starts of one moment are spread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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
from mograder.sandbox.client.supervisor_client import Connection
from mograder.sandbox.protocol import Measured, NodeStatus
from mograder.sessions.capacity import MEGABYTE, UNKNOWN, YOUNG_SECONDS, CapacityLimits
from mograder.sessions.nodes.node_link import NodeLink

_FAILING_SECONDS = 30.0
"""How long a node on which a start failed is chosen only if no other one is usable."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A hub's knowledge of one node: its last status, and what that does not say; memory in bytes.

    ``usable`` is whether this hub is connected to it, its lease is granted and it is not being
    drained. ``runs`` is what runs use. ``reserved`` and ``reserved_memory`` are of this hub's
    starts that the node has not reported. ``failing`` is whether a start on it failed just before.
    """

    name: str
    usable: bool
    status: NodeStatus
    runs: int = 0
    reserved: int = 0
    reserved_memory: int = 0
    failing: bool = False

    @property
    def free(self) -> int:
        """The memory that is left, in bytes; negative if more is used than should be."""
        return self.status.memory - self.status.used - self.reserved_memory

    @property
    def occupied(self) -> bool:
        """Whether as many starts are in progress as it carries out at the same time."""
        return self.status.starting + self.reserved >= self.status.starts

    @property
    def share(self) -> float:
        """How loaded it is: the shares of its memory, processors and starts in use, added up."""
        status = self.status
        memory = (status.used + self.reserved_memory) / max(1, status.memory)
        starts = (status.starting + self.reserved) / max(1, status.starts)
        return memory + status.load / max(1, status.processors) + starts


def fits(node: NodeLoad, expected: int) -> bool:
    """Return whether a node has ``expected`` bytes to spare; an empty node takes anything."""
    empty = not (node.status.used or node.reserved_memory)
    return node.usable and (expected <= node.free or empty)


def dependable(nodes: Iterable[NodeLoad]) -> list[NodeLoad]:
    """Return the usable nodes, without those that are failing if there are others.

    The free memory of a failing node is of no use, so no start may be admitted for it.
    """
    usable = [node for node in nodes if node.usable]
    return [node for node in usable if not node.failing] or usable


def choose_node(
    nodes: Iterable[NodeLoad], environment: str, expected: int, *, must_fit: bool = False
) -> str | None:
    """Return the name of the node for a start, or None if no node is usable.

    ``environment`` is the name of its environment, ``expected`` the memory that it will probably
    use, in bytes. If no node has that memory to spare, the one with the most of it is chosen,
    unless it ``must_fit``: the start was admitted by the memory of all nodes together.
    """
    usable = [node for node in nodes if node.usable]
    if not usable:
        return None
    roomy = [node for node in usable if fits(node, expected)]
    if not roomy and must_fit:
        return None
    if not roomy:
        return max(usable, key=lambda node: (node.free, node.name)).name
    return min(roomy, key=lambda node: _rank(node, environment)).name


def choose_for_run(nodes: Iterable[NodeLoad], environment: str, expected: int) -> str | None:
    """Return the name of the node for a run that no student waits for, or None if none is usable.

    It takes the memory that sessions leave free, so the node with the most of that is chosen; of
    several with the same, one that has the environment warm.
    """
    usable = [node for node in nodes if node.usable]
    if not usable:
        return None
    return max(
        usable,
        key=lambda node: (
            not node.failing,
            fits(node, expected),
            node.free,
            environment in node.status.zygotes,
            node.name,
        ),
    ).name


def _rank(node: NodeLoad, environment: str) -> tuple[bool, bool, bool, bool, float, str]:
    """Return the order of a node among those with memory to spare, the best one first."""
    cold = environment not in node.status.zygotes
    missing = environment not in node.status.environments
    return node.failing, cold, missing, node.occupied, node.share, node.name


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

    def __init__(self, link: NodeLink, clock: Clock, lease_seconds: float) -> None:
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
        return self.link.name

    @property
    def version(self) -> str:
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
        return self.link.connection.alive and self.granted and not self.draining

    @property
    def connection(self) -> Connection:
        return self.link.connection

    def note_status(self, status: NodeStatus) -> None:
        self.status = status
        self.session_ids = frozenset(status.sessions)
        for session_id, reservation in self._reserved.items():
            reservation.reported = reservation.reported or session_id in self.session_ids

    def note_grant(self, *, draining: bool) -> None:
        """Store that the node has confirmed its lease, and the administrator's wish."""
        self._granted = self._clock.steady()
        self.wanted_draining = draining

    def note_failure(self) -> None:
        self._failed = self._clock.steady()

    def note_use(self, news: Measured) -> None:
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
        now = self._clock.steady()
        for session_id, each in tuple(self._reserved.items()):
            if each.begun and now - each.at > YOUNG_SECONDS:
                del self._reserved[session_id]
        left = self._reserved.values()
        return NodeLoad(
            name=self.name,
            usable=self.usable,
            status=self.status,
            runs=self._runs,
            reserved=sum(not each.reported for each in left),
            reserved_memory=sum(max(0, each.expected - each.measured) for each in left),
            failing=now - self._failed < _FAILING_SECONDS,
        )


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

    def add(self, link: NodeLink) -> tuple[ConnectedNode, ConnectedNode | None]:
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
        return tuple(self._nodes.values())

    def find(self, name: str) -> ConnectedNode | None:
        return self._nodes.get(name)

    def loads(self) -> list[NodeLoad]:
        """Return what placement needs to know of all connected nodes that have sent a status."""
        loads = (node.load() for node in self._nodes.values())
        return [load for load in loads if load is not None]

    def counted(self) -> list[NodeLoad]:
        """Return the nodes whose memory counts for all starts."""
        return dependable(self.loads())

    def draining(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.draining

    def fits(self, expected: int) -> bool:
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
