"""What a hub's listener remembers of its nodes, also while they are not connected.

A node that connects again is known by its address, and may not send more than before.
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass

from mograder.auth.node_certificates import CertificateFacts
from mograder.core.rate_limit import Rate, RateLimit, TokenBucket

_MOST = 1000
_CONNECTIONS = Rate(burst=20, per_second=2)
"""Control connections. An honest node makes one when a hub starts; few where the network fails."""
_BYTES = Rate(burst=16 * 2**20, per_second=8 * 2**20)
_MESSAGES = Rate(burst=5000, per_second=1000)
"""What a node may send on its control connections: reports of notebooks are the most of it."""


def control_traffic() -> RateLimit:
    """Return a new limit of the traffic of one node's control connections."""
    return RateLimit(_BYTES, _MESSAGES)


@dataclass(slots=True)
class _Known:
    fingerprint: str
    address: str
    traffic: RateLimit
    connections: TokenBucket


class KnownNodes:
    """The nodes that are or were connected; contains their last addresses.

    Mutable state: ``_nodes``, by name, the one that has connected last at the end; ``_addresses``.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Known] = {}
        self._addresses: frozenset[str] = frozenset()

    def __contains__(self, address: object) -> bool:
        return address in self._addresses

    def note(
        self, peer: CertificateFacts, address: str, connected: Container[str]
    ) -> RateLimit | None:
        """Note one more control connection of a node that has joined.

        Return the limit of all its traffic, or None if it connects too often. Of too many nodes one
        is forgotten whose name is not in ``connected``.
        """
        now = time.monotonic()
        known = self._nodes.pop(peer.name, None)
        if known is None:
            connections = TokenBucket(_CONNECTIONS, now)
            known = _Known(peer.fingerprint, address, control_traffic(), connections)
        self._nodes[peer.name] = known
        if known.connections.take(1, now) > 0:
            known.connections.take(-1, now)
            return None
        known.fingerprint, known.address = peer.fingerprint, address
        if len(self._nodes) > _MOST:
            away = (each for each in self._nodes if each not in connected and each != peer.name)
            self._nodes.pop(next(away, ""), None)
        self._note_addresses()
        return known.traffic

    def forget(self, peer: CertificateFacts) -> None:
        """Forget a node that was removed, unless another key is known by its name."""
        known = self._nodes.get(peer.name)
        if known is not None and known.fingerprint == peer.fingerprint:
            del self._nodes[peer.name]
            self._note_addresses()

    def _note_addresses(self) -> None:
        self._addresses = frozenset(each.address for each in self._nodes.values())
