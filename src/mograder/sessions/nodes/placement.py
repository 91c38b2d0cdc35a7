"""The choice of a node for a session or a run. Pure.

A node that starts the environment's sessions warm comes first, since a cold start costs fifty times
the processor time; then the least loaded one. Own starts that a node has not reported yet count as
reserved, so that the starts of one moment are spread over the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.sandbox.protocol import NodeStatus


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a hub knows of one node: its last status, and what that does not say; memory in bytes.

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

    What a node that fails has to spare is of no use, so no start may be admitted for it.
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
