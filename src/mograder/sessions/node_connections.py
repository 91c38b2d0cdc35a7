"""How a hub with nodes connects to the servers of sessions: by the nodes' waiting connections.

Each is a TLS connection of its own, whose handshake takes the hub more processor time than the
request that it carries. So connections to nodes are used again also where those to a Unix socket
are not: for ``POST``, which must never be sent twice. It would fail on a connection that the server
is about to close, as marimo does after a 500. So a connection is not used again after a status of
500 or above, and is closed long before marimo closes an idle one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import LocalConnections

_CONNECT_SECONDS = 10.0
_KEPT_SECONDS = 20.0
_FAILED = 500


class NodeConnections:
    """Connections to sessions on nodes, and to those on the hub's own machine.

    ``link_of`` returns the connected node of a name, None if it is not connected. The socket of an
    endpoint on a node is not a path of this machine: its stem is the id of the session.
    """

    def __init__(self, link_of: Callable[[str], NodeLink | None]) -> None:
        self._link_of = link_of
        self._local = LocalConnections()

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector to one session's server.

        On a node an unused connection is kept for 20 seconds if ``keepalive`` is None.
        """
        if not endpoint.node:
            return self._local.connector(endpoint, limit=limit, keepalive=keepalive)
        session_id = endpoint.socket.stem

        async def open_session() -> asyncio.Transport:
            link = self._link_of(endpoint.node)
            if link is None:
                raise ConnectionResetError(f"the node {endpoint.node} is not connected")
            return await link.open_session(session_id)

        kept = _KEPT_SECONDS if keepalive is None else keepalive
        return _NodeConnector(open_session, limit, kept)

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Return whether a server on this machine is dead; for others the node tells."""
        return not endpoint.node and self._local.is_dead(endpoint)


class _NodeConnector(aiohttp.BaseConnector):
    """Makes the connections of one client of one session."""

    def __init__(
        self,
        open_session: Callable[[], Awaitable[asyncio.Transport]],
        limit: int,
        keepalive: float,
    ) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive)
        self._open_session = open_session

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> ResponseHandler:
        async with asyncio.timeout(timeout.sock_connect or _CONNECT_SECONDS):
            transport = await self._open_session()
        if transport.is_closing():
            raise ConnectionResetError("the node has closed the connection")
        protocol = _Responses(loop=self._loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        return protocol


class _Responses(ResponseHandler):
    """A connection that is used for no other request after a response with a failure."""

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code >= _FAILED:
            self.force_close()
        super().feed_data(data, size)
