"""The leases of nodes: renewed for those that report, observed for those that do not.

A node may run sessions only while it holds a lease, and ends them before the lease in the database
is over. So when that time has passed by the database's clock, its sessions have ended, wherever it
is, and may be started on another node.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.tasks import BackgroundTasks, repeat
from mograder.sandbox.protocol import GrantLease, NodeStatus
from mograder.sessions.nodes.node_link import NodeLink
from mograder.sessions.nodes.node_registry import ConnectedNode
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.nodes import NodeNote, Nodes

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""The pause between two looks at the leases of nodes that are silent."""
_RENEW_SECONDS = 0.5
"""The shortest time between two renewals, since nodes may send statuses without end."""
_NOTE_SECONDS = 5.0
_NOTED_CHARACTERS = 65_536
_VERSION_CHARACTERS = 50


class Leases:
    """Renews and observes leases; :meth:`watch` must run as a task.

    ``connected`` returns the nodes that are connected: those that were removed are disconnected.
    ``silent`` returns the names of the nodes that should have sessions but do not report, and
    ``on_over`` is called with the name of each of them once its lease is over. ``on_granted`` is
    called with each status whose lease was granted.

    Mutable state: ``_newest``, the status to answer next, by node; ``_granting``, the nodes that
    are told their lease now; ``_renewing``, the task that renews; ``_noted``, when a node's status
    was last stored, and whether it was drained; ``refused``, the names of nodes that get no lease
    from this hub.
    """

    def __init__(
        self,
        nodes: Nodes,
        clock: Clock,
        seconds: float,
        epoch: int,
    ) -> None:
        """``seconds`` is the length of a lease, ``epoch`` that of this hub."""
        self._nodes = nodes
        self._clock = clock
        self._seconds = seconds
        self._epoch = epoch
        self.connected: Callable[[], tuple[ConnectedNode, ...]] = tuple
        self.silent: Callable[[], frozenset[str]] = frozenset
        self.on_over: Callable[[str], None] = lambda _: None
        self.on_granted: Callable[[NodeStatus], None] = lambda _: None
        self._newest: dict[ConnectedNode, NodeStatus] = {}
        self._granting: set[ConnectedNode] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks()
        self._noted: dict[str, tuple[float, bool]] = {}
        self.refused: set[str] = set()

    def renew(self, node: ConnectedNode, status: NodeStatus) -> None:
        """Renew a node's lease in answer to a status; older unanswered ones are dropped."""
        self._newest[node] = status
        if self._renewing is None or self._renewing.done():
            self._renewing = self._tasks.start(self._renew_all())

    async def close(self) -> None:
        await self._tasks.close()

    async def lapsed(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of the given nodes whose lease is over.

        A removed node is among them if it is unknown: its row stays until its lease is over.
        Raises: :class:`~mograder.core.errors.Busy`.
        """
        return names - await asyncio.to_thread(self._nodes.holding)

    async def watch(self) -> None:
        """Look for removed nodes and for leases of silent nodes that are over, until cancelled."""
        await repeat("the leases of nodes", self._look, _LOOK_SECONDS, at_once=False)

    async def _refuse(self, link: NodeLink) -> None:
        _log.warning("node %s was removed; its connection is closed", link.name)
        await link.close()

    async def _look(self) -> None:
        # Before the rows are read: each of them had one when it connected.
        links = [node.link for node in self.connected() if node.link.connection.alive]
        known = await asyncio.to_thread(self._nodes.secret_hashes) if links else {}
        for link in links:  # whatever a removed node sends
            if known.get(link.name) != link.secret_hash:
                await self._refuse(link)
        names = self.silent()
        if not names:
            return
        for name in await self.lapsed(names):
            if name in self.silent():  # else it has connected again meanwhile
                _log.warning("the lease of node %s is over: its sessions have ended", name)
                self.on_over(name)

    async def _renew_all(self) -> None:
        """Renew the leases of all nodes that have sent a status, together, until none has."""
        while self._newest:
            ready = [node for node in self._newest if node not in self._granting]
            newest = {node: self._newest.pop(node) for node in ready}
            try:
                await self._renew(
                    {node: s for node, s in newest.items() if node.name not in self.refused}
                )
            except MograderError as error:
                _log.warning("the leases of nodes were not renewed: %.300s", error)
            await asyncio.sleep(_RENEW_SECONDS)

    async def _renew(self, ready: Mapping[ConnectedNode, NodeStatus]) -> None:
        """Renew leases in one transaction, then tell each node; refuse those that were removed.

        Raises: :class:`~mograder.core.errors.Busy`.
        """
        if not ready:
            return
        hashes = {node.name: node.link.secret_hash for node in ready}
        notes = tuple(self._notes(ready))
        rows = await asyncio.to_thread(self._nodes.renew_leases, hashes, self._seconds, notes)
        for node, status in ready.items():
            row = rows.get(node.name)
            if row is None or row.secret_hash != node.link.secret_hash:
                self._tasks.start(self._refuse(node.link))
            else:
                self._granting.add(node)
                self._tasks.start(self._grant(node, status, draining=row.draining))

    async def _grant(self, node: ConnectedNode, status: NodeStatus, *, draining: bool) -> None:
        granted = GrantLease(
            number=status.number,
            seconds=self._seconds,
            draining=draining,
            uid=os.geteuid(),
            epoch=self._epoch,
        )
        try:
            await node.connection.call(granted, seconds=self._seconds)
        except MograderError as error:
            _log.warning("the lease of node %s was not renewed: %.300s", node.name, error)
        else:
            node.note_grant(draining=draining)
            self.on_granted(status)
        finally:
            self._granting.discard(node)

    def _notes(self, ready: Mapping[ConnectedNode, NodeStatus]) -> Iterator[NodeNote]:
        """Yield what to store of statuses: every five seconds, and when a drain begins or ends."""
        now = self._clock.steady()
        for node, status in ready.items():
            noted, draining = self._noted.get(node.name, (-math.inf, status.draining))
            changed = draining != status.draining
            if changed:
                does = "is drained: it takes no new" if status.draining else "takes"
                _log.info("node %s %s sessions", node.name, does)
            if changed or now - noted >= _NOTE_SECONDS:
                self._noted[node.name] = now, status.draining
                text = status.model_dump_json()
                version = bounded(node.version, _VERSION_CHARACTERS)  # any text: the node says it
                yield NodeNote(node.name, version, text if len(text) <= _NOTED_CHARACTERS else "")
