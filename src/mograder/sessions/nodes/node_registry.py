"""The nodes that are connected to this hub, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

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
from mograder.sessions.nodes.connected_node import ConnectedNode, Link
from mograder.sessions.nodes.placement import NodeLoad, dependable, fits


class NodeAway(RemoteFailed):
    """A node is not connected to this hub."""


class NodeRegistry:
    """The connected nodes; for use on the event loop only. Mutable state: ``_nodes``.

    ``on_change`` is called when the capacity of all nodes may have changed.
    """

    def __init__(self, clock: Clock, lease_seconds: float) -> None:
        self.clock = clock
        self._lease_seconds = lease_seconds
        self._nodes: dict[str, ConnectedNode] = {}
        self._change = asyncio.Event()
        self.on_change: Callable[[Sequence[NodeLoad]], None] = lambda loads: None

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
        node = self.get(name)
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

    def get(self, name: str) -> ConnectedNode:
        """Return a connected node. Raises: :class:`NodeAway`."""
        found = self._nodes.get(name)
        if found is None:
            raise NodeAway(
                f"The machine {name} cannot be reached at the moment.",
                hint="Try again in a few seconds.",
            )
        return found

    def loads(self) -> list[NodeLoad]:
        """Return what placement needs to know of all connected nodes."""
        return [node.load() for node in self._nodes.values()]

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


def start_failure(name: str, error: MograderError) -> MograderError:
    """Return what a start that failed on a node raises, whichever family the node has named.

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
