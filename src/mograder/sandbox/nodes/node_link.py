"""The hub's side of one connected node: calls to its agent, and connections to its sessions."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from mograder.auth.node_certificates import CertificateFacts
from mograder.core.errors import InvalidInput
from mograder.core.rate_limit import RateLimit
from mograder.sandbox.client.connection import Connection
from mograder.sandbox.nodes.parked_connections import ParkedConnections
from mograder.sandbox.nodes.wire_messages import OpenSession
from mograder.sandbox.protocol import LINE_LIMIT, encode


class PacedReader(asyncio.StreamReader):
    """The reader of a control connection, which slows down a node that sends too much.

    ``heard`` is the time of the loop when the last line came.
    """

    def __init__(self, traffic: RateLimit) -> None:
        """``traffic`` is the limit of all control connections of this node."""
        super().__init__(limit=LINE_LIMIT)
        self._traffic = traffic
        self.heard = asyncio.get_running_loop().time()

    async def readline(self) -> bytes:
        """Return the next line, later if too much was read before."""
        line = await super().readline()
        self.heard = asyncio.get_running_loop().time()
        await self._traffic.passed(len(line))
        return line


class NodeLink:
    """A connected node.

    ``name`` and ``fingerprint`` are those of its certificate, for which the hub has found a row;
    ``version``, its mograder's, is what it says. ``certificate_until`` is the end of its
    certificate in UTC. ``address`` is the IP address from which it connects.
    ``connection`` is for calls to its agent, as to a supervisor: use
    :meth:`~mograder.sandbox.client.connection.Connection.watch` for its news and its loss, then
    :meth:`~mograder.sandbox.client.connection.Connection.greet`. It is over when the connection is
    lost or :meth:`close` is called; a node that connects again gets another link.
    """

    def __init__(
        self,
        peer: CertificateFacts,
        version: str,
        address: str,
        connection: Connection,
        reader: PacedReader,
    ) -> None:
        self.name = peer.name
        self.fingerprint = peer.fingerprint
        self.certificate_until = peer.ends
        self.version = version
        self.address = address
        self.connection = connection
        self.parked = ParkedConnections()
        self._reader = reader

    @property
    def heard(self) -> float:
        """The time of the loop when the node has sent something for the last time."""
        return self._reader.heard

    @property
    def alive(self) -> bool:
        """Whether the control connection is open."""
        return self.connection.alive

    async def open_session(self, session_id: str) -> asyncio.Transport:
        """Return a new connection to the server of a session of this node.

        It is paused: give it a protocol with ``transport.set_protocol``, call the protocol's
        ``connection_made`` and then ``transport.resume_reading``. The node closes it at once if it
        has no such session. Limit the time from outside.

        Raises: :class:`ConnectionError` if the node is gone, :class:`InvalidInput` for an id that
        is none.
        """
        try:
            line = encode(OpenSession(session_id=session_id))
        except ValidationError:
            raise InvalidInput(f"This is not the id of a session: {session_id[:80]!r}.") from None
        transport = await self.parked.take()
        transport.write(line)
        return transport

    async def close(self) -> None:
        """Close the control connection and those that wait; sessions' connections go on."""
        self.parked.close()
        await self.connection.close()
