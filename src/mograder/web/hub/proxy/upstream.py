"""Connections to the servers of sessions: a few clients per session, over connections of
:mod:`mograder.sessions.connections`.

Student code controls the server at the other end. So responses are limited in headers and in time,
one session cannot use up what another one needs, and when a session ends, or the viewer's
capability does, all its open exchanges are cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from mograder.core.rate_limit import Rate, RateLimit
from mograder.core.tasks import BackgroundTasks
from mograder.hub.save_recording import SaveTurns
from mograder.sessions.connections import Connections
from mograder.sessions.session import LiveSession
from mograder.web.hub.proxy.headers import UPSTREAM_HOST

READ_BYTES = 256 * 1024
"""Bytes of a body that are read at once; with 64 KB a 10 MB response takes a third more time."""

_CONNECTIONS = 100  # per session and client; each may hold a megabyte that its reader leaves
_IDLE_SECONDS = 60.0  # marimo itself keeps idle connections for 300 s
_FIELD_BYTES = 32 * 1024
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_POOLED = frozenset({"GET", "HEAD"})
_SOCKET_BYTES = Rate(64 * 2**20, 8 * 2**20)
_SOCKET_MESSAGES = Rate(10_000, 500)
_STREAM_BYTES = Rate(2**30, 64 * 2**20)

Body = bytes | AsyncIterator[bytes] | None
Upgraded = aiohttp.ClientWebSocketResponse[Literal[True]]


@dataclass(frozen=True, slots=True)
class Allowances:
    """The rates of one session's traffic, for each direction separately; sizes are in bytes.

    A kernel that prints without end fills a WebSocket as fast as the hub relays. Beyond its
    allowance the hub reads more slowly, and the socket's backpressure slows the session's server
    (security.md, "The session's server is theirs too").
    """

    socket_bytes: Rate = _SOCKET_BYTES
    socket_messages: Rate = _SOCKET_MESSAGES
    stream_bytes: Rate = _STREAM_BYTES
    """Responses over HTTP: large downloads are legitimate, so this only slows endless ones."""


class Upstream:
    """The HTTP clients of one session's server, and the callbacks that cut its exchanges.

    The limits of rates and ``saves`` are shared by all exchanges, so that more connections do not
    raise the rate. Mutable state: ``_cuts``, the callbacks of everything open, and ``_sockets``,
    the number of WebSockets of each person, shared by all sessions. ``GET`` and ``HEAD`` reuse
    connections (aiohttp repeats them once on a stale one); all other methods open their own, since
    marimo closes a connection after a 500 and a ``POST`` must not be sent twice. On a node they
    reuse connections, too: :mod:`mograder.sessions.nodes.node_link` tells why they can.
    """

    def __init__(
        self,
        session: LiveSession,
        allowances: Allowances,
        connections: Connections,
        sockets: Counter[str],
    ) -> None:
        endpoint = session.endpoint
        self.to_client, self.to_session = (
            RateLimit(allowances.socket_bytes, allowances.socket_messages) for _ in range(2)
        )
        self.streamed = RateLimit(allowances.stream_bytes)
        self.saves = SaveTurns()
        self._user = session.key.user
        self._sockets = sockets
        reused = connections.connector(endpoint, limit=_CONNECTIONS, keepalive=_IDLE_SECONDS)
        self._pooled = _client(reused)
        self._single = self._pooled
        if not endpoint.node:
            self._single = _client(connections.connector(endpoint, limit=_CONNECTIONS))
        self._cuts: set[Callable[[], None]] = set()

    async def request(
        self, method: str, target: str, headers: CIMultiDict[str], body: Body
    ) -> aiohttp.ClientResponse:
        """Send a request and return when the headers of its response have arrived.

        Raises: :class:`aiohttp.ClientError`, :class:`OSError` or :class:`ValueError`.
        """
        reusable = method in _POOLED and body is None
        client = self._pooled if reusable else self._single
        return await client.request(
            method,
            _url(target),
            headers=headers,
            data=body,
            allow_redirects=False,
        )

    async def websocket(
        self, target: str, headers: CIMultiDict[str], protocols: tuple[str, ...], limit: int
    ) -> Upgraded:
        """Open a WebSocket for messages of ``limit`` bytes. Raises: as :meth:`request`."""
        return await self._single.ws_connect(
            _url(target),
            headers=headers,
            protocols=protocols,
            compress=0,
            autoping=False,  # aiohttp would answer a flood of pings without giving up its turn
            max_msg_size=limit,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
        )

    @contextmanager
    def counting(self) -> Iterator[int]:
        """Count a WebSocket that is being opened, to its end; yield how many its person has."""
        self._sockets[self._user] += 1
        try:
            yield self._sockets[self._user]
        finally:
            self._sockets[self._user] -= 1

    def on_close(self, cut: Callable[[], None]) -> Callable[[], None]:
        self._cuts.add(cut)
        return lambda: self._cuts.discard(cut)

    def cut(self) -> None:
        """End all open exchanges; on the event loop only."""
        for cut in tuple(self._cuts):
            cut()

    async def aclose(self) -> None:
        await self._pooled.close()
        await self._single.close()


class Upstreams:
    """Makes the clients of a session at its first request, and drops them at its end.

    ``ended`` is called with the id of a session that ended. Mutable state: ``_by_session``,
    ``_sockets``, the WebSockets of each person, and ``_closing``, the tasks that close dropped
    clients.
    """

    def __init__(
        self,
        ended: Callable[[str], None],
        allowances: Allowances,
        connections: Connections,
    ) -> None:
        self._ended = ended
        self._connections = connections
        self._allowances = allowances
        self._by_session: dict[str, Upstream] = {}
        self._sockets: Counter[str] = Counter()
        self._closing = BackgroundTasks()

    def of(self, session: LiveSession) -> Upstream:
        """Return the clients of a session that has not ended; on the event loop only."""
        found = self._by_session.get(session.id)
        if found is not None:
            return found
        upstream = Upstream(session, self._allowances, self._connections, self._sockets)
        self._by_session[session.id] = upstream

        def stopped() -> None:
            self._ended(session.id)
            self._drop(session.id)

        session.on_stop.append(stopped)
        return upstream

    async def aclose(self) -> None:
        for session_id in tuple(self._by_session):
            self._drop(session_id)
        await self._closing.wait()

    def _drop(self, session_id: str) -> None:
        upstream = self._by_session.pop(session_id, None)
        if upstream is None:
            return
        upstream.cut()
        self._closing.start(upstream.aclose())


def _client(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_SECONDS),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=READ_BYTES,
        max_line_size=_FIELD_BYTES,
        max_field_size=_FIELD_BYTES,
    )


def _url(target: str) -> URL:
    # Already encoded, and kept so: marimo gets the bytes that the browser sent.
    return URL(f"http://{UPSTREAM_HOST}{target}", encoded=True)
