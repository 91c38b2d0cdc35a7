"""The hub's side of one connected node: calls to it, and connections to its sessions.

Each connection to a session is a TLS connection of its own, whose handshake takes the hub more
processor time than the request that it carries. So connections to nodes are used again also where
those to a Unix socket are not: for ``POST``, which must never be sent twice. It would fail on a
connection that the server is about to close, as marimo does after a 500. So a connection is not
used again after a status of 500 or above, and is closed long before marimo closes an idle one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import SupportsIndex

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from pydantic import ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.tasks import BackgroundTasks
from mograder.sandbox.client.supervisor_client import Connection
from mograder.sandbox.nodes.transports import OpenSession, prepare, streams_of
from mograder.sandbox.protocol import LINE_LIMIT, Endpoint, encode
from mograder.sessions.connections import LocalConnections, SessionResponses

_log = get_logger(__name__)

MOST_PARKED = 64
"""The largest number of connections of one node that may wait."""


class NodeLink:
    """A connected node; ``secret_hash`` is that of the secret by which the hub knows it.

    ``key_hash`` is that of the key that only this connection was given, for those beside it;
    ``address`` the IP address from which it connects, and ``attempt`` what its node calls the
    attempt, "" if nothing.
    ``connection`` is for calls to it, as to a supervisor: use its ``watch`` for its news and its
    loss, then its ``greet``. It is over when the connection is lost or :meth:`close` is called; a
    node that connects again gets another link.
    """

    def __init__(
        self,
        name: str,
        secret_hash: str,
        *,
        key_hash: str,
        address: str,
        attempt: str,
        transport: asyncio.Transport,
        received: bytes = b"",
    ) -> None:
        """``transport`` is the paused control connection, ``received`` its first bytes."""
        self.name = name
        self.secret_hash = secret_hash
        self.key_hash = key_hash
        self.address = address
        self.attempt = attempt
        self._reader = _HeardReader()
        prepare(transport)
        writer = streams_of(transport, received, self._reader)
        self.connection = Connection(self._reader, writer)
        self._parked: deque[_Waiting] = deque()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        """Set when a connection was parked, or the link is closed."""
        self._closed = False

    @property
    def heard(self) -> float:
        """The time of the loop when the node has sent something for the last time."""
        return self._reader.heard

    @property
    def alive(self) -> bool:
        return self.connection.alive

    @property
    def parked(self) -> int:
        return len(self._parked)

    def park(self, transport: asyncio.Transport, received: bytes = b"") -> None:
        """Add a paused connection that waits for a session; it is closed if there are enough.

        A node that has sent something already, ``received``, loses the connection.
        """
        if self._closed or received or len(self._parked) >= MOST_PARKED:
            transport.abort()
            return
        prepare(transport)
        waiting = _Waiting(self._parked, transport)
        transport.set_protocol(waiting)
        self._parked.append(waiting)
        transport.resume_reading()
        self._news.set()

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
        transport = await self._take()
        transport.write(line)
        return transport

    async def close(self) -> None:
        """Close the control connection and those that wait; sessions' connections go on."""
        self._closed = True
        for waiting in tuple(self._parked):
            waiting.transport.abort()
        self._parked.clear()
        self._news.set()
        await self.connection.close()

    async def _take(self) -> asyncio.Transport:
        """Return a paused connection, or wait for one; ConnectionResetError if the node is gone."""
        async with self._turn:  # each connection wakes one that waits, of perhaps thousands
            while not self._closed:
                if not self._parked:
                    self._news.clear()
                    await self._news.wait()
                    continue
                transport = self._parked.popleft().transport
                if not transport.is_closing():
                    transport.pause_reading()
                    return transport
        raise ConnectionResetError("the node is gone")


class NodeLinks:
    """The links of the nodes that are connected. Mutable state: :attr:`by_name`.

    ``came(link)`` is called on the event loop when a node has connected, before any of its messages
    is read: call ``link.connection.watch`` there, and start a task that calls
    ``link.connection.greet``. ``went(link)`` is called when the link is over. A node that connects
    again after its connection broke gets another link: ``went(earlier)``, then ``came(later)``.
    """

    def __init__(self, came: Callable[[NodeLink], None], went: Callable[[NodeLink], None]) -> None:
        self._came = came
        self._went = went
        self.by_name: dict[str, NodeLink] = {}
        self._tasks = BackgroundTasks()

    def begin(self, link: NodeLink) -> None:
        """Keep the link of a node that has no other one, until its connection is over."""
        self.by_name[link.name] = link
        _log.info("the node %s has connected from %s", link.name, link.address)
        self._came(link)
        self._tasks.start(self._watch(link))

    async def _watch(self, link: NodeLink) -> None:
        await link.connection.wait_closed()
        await self.end(link)

    async def end(self, link: NodeLink) -> None:
        if self.by_name.get(link.name) is not link:
            return
        del self.by_name[link.name]
        _log.info("the node %s is not connected any more", link.name)
        self._went(link)  # at once: another connection of this node may be accepted meanwhile
        await link.close()

    async def close(self) -> None:
        """Close the links of all nodes; connections to sessions go on."""
        for link in tuple(self.by_name.values()):
            await link.close()
        await self._tasks.close()


class _HeardReader(asyncio.StreamReader):
    """The reader of a control connection; ``heard`` is the time of the loop of the last bytes."""

    def __init__(self) -> None:
        super().__init__(limit=LINE_LIMIT)
        self.heard = asyncio.get_running_loop().time()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.heard = asyncio.get_running_loop().time()
        super().feed_data(data)


class _Waiting(asyncio.Protocol):
    """A connection that waits. A node that sends something before it is asked loses it."""

    def __init__(self, parked: deque[_Waiting], transport: asyncio.Transport) -> None:
        self._parked = parked
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._parked:
            self._parked.remove(self)


_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_KEPT_SECONDS = 20.0
_FAILED = 500


class NodeConnections:
    """Connections to sessions on nodes, and to those on the hub's own machine.

    ``link_of`` returns the connected node of a name, None if it is not connected: then a request
    waits for it, at most ten seconds, since after a restart of the hub the nodes connect again
    within a few. The socket of an endpoint on a node is not a path of this machine: its stem is
    the id of the session.
    """

    def __init__(self, link_of: Callable[[str], NodeLink | None]) -> None:
        self._link_of = link_of
        self._local = LocalConnections()

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """On a node an unused connection is kept for 20 seconds if ``keepalive`` is None."""
        if not endpoint.node:
            return self._local.connector(endpoint, limit=limit, keepalive=keepalive)
        session_id = endpoint.socket.stem

        async def open_session() -> asyncio.Transport:
            while (link := self._link_of(endpoint.node)) is None:  # noqa: ASYNC110 - seldom
                await asyncio.sleep(_LOOK_SECONDS)
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


class _Responses(SessionResponses):
    """A connection that is used for no other request after a response with a failure."""

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code >= _FAILED:
            self.force_close()
        super().feed_data(data, size)
