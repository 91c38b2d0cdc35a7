"""The hub's listener for nodes: it accepts their connections and tells of nodes that come and go.

Use::

    listener = HubListener(hub_context(pair, authority.certificate), authority, gate, came, went)
    await listener.open("0.0.0.0", 8442)
    ...
    link = listener.links.get("node-1")     # while that node is connected
    await listener.close()

``came(link)`` is called on the event loop when a node has connected and was recognized, before any
of its messages is read: call ``link.connection.watch`` there, and start a task that calls
``link.connection.greet``. A node takes that first call as the sign that it was accepted, and only
then opens the connections that wait for sessions. ``went(link)`` is called when the link is over.
A node that connects again, even if its earlier connection seems to be alive, gets another link:
``went(earlier)``, then ``came(later)``. To refuse a node that was removed: ``await link.close()``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from mograder.auth.node_certificates import CertificateFacts, facts
from mograder.core.errors import MograderError
from mograder.core.tasks.background_tasks import BackgroundTasks
from mograder.sandbox.client.connection import Connection
from mograder.sandbox.nodes.first_line import FirstLineReader, streams_of
from mograder.sandbox.nodes.guest_limits import Guest, GuestLimits
from mograder.sandbox.nodes.known_nodes import KnownNodes
from mograder.sandbox.nodes.node_link import NodeLink, PacedReader
from mograder.sandbox.nodes.tls_contexts import ALPN
from mograder.sandbox.nodes.wire_messages import (
    FIRST_LINE,
    FIRST_LINE_LIMIT,
    AuthorityRequest,
    ControlHello,
    JoinAnswer,
    JoinRequest,
    SessionHello,
)
from mograder.sandbox.protocol import encode

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
"""How long the hub may take to look for a node, or to let one join."""
_CLOSE_SECONDS = 5.0
_IN_USE_SECONDS = 3.0
"""A node that was heard within this time is at work: it sends its status twice as often."""
_RETRY_SECONDS = 0.5
_BACKLOG = 512


class Gate(Protocol):
    """The hub's answers about who may connect, from its database."""

    async def recognizes(self, name: str, fingerprint: str) -> bool:
        """Return whether a node of this name has joined with the key of this fingerprint."""
        ...

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Let a machine join if its token is good.

        Raises: :class:`~mograder.core.errors.MograderError`, which is sent to the machine.
        """
        ...


class HubListener:
    """Accepts the connections of nodes. Mutable state: :attr:`links`, by the nodes' names."""

    def __init__(
        self,
        context: ssl.SSLContext,
        authority: bytes,
        gate: Gate,
        came: Callable[[NodeLink], None],
        went: Callable[[NodeLink], None],
    ) -> None:
        """``context`` is the hub's TLS, ``authority`` the certificate (PEM) for those who join.

        Give the context another certificate before the first one ends.
        """
        self._context = context
        self._authority = authority
        self._gate = gate
        self._came = came
        self._went = went
        self.links: dict[str, NodeLink] = {}
        self._known = KnownNodes()
        self._guests = GuestLimits(self._known)
        self._sockets: list[socket.socket] = []
        self._tasks = BackgroundTasks()

    async def open(self, host: str, port: int) -> None:
        """Listen at an address. Raises: ``OSError`` if it cannot be used."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in found:
            listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
            listening.setblocking(False)
            self._sockets.append(listening)
            self._listen(listening)

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and close the links of all nodes; sessions' connections go on."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        tasks = self._tasks.cancel()
        for link in tuple(self.links.values()):
            await link.close()
        if tasks:
            await asyncio.wait(tasks)

    def _listen(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:  # not closed meanwhile
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, address = listening.accept()
        except BlockingIOError:  # it has ended again
            return
        except OSError as error:  # no descriptor is left
            _log.warning("a connection of a node was not accepted: %s", error)
            loop.remove_reader(listening)
            loop.call_later(_RETRY_SECONDS, self._listen, listening)
            return
        connection.setblocking(False)
        guest = self._guests.enter(address[0])
        if guest is None:
            connection.close()
            return
        receiving = self._tasks.start(self._receive(connection, guest))
        guest.end = receiving.cancel
        receiving.add_done_callback(functools.partial(_close_unused, connection))

    async def _receive(self, connection: socket.socket, guest: Guest) -> None:
        """Read the first line and pass the connection on; close one that is none of ours."""
        first = FirstLineReader(FIRST_LINE_LIMIT)
        try:
            async with asyncio.timeout(guest.seconds):
                if not await _begins(connection, guest):
                    return
                await self._begin_tls(connection, first, guest.seconds)
                line = await first.line
            async with asyncio.timeout(_LOOK_SECONDS):
                if not await self._welcome(first, line, guest.address):
                    first.abort()
        except (OSError, ValueError, MograderError) as error:
            if guest.spoken:  # a stranger who is silent is not worth a line
                reason = error or type(error)
                _log.info("a connection from %s is closed: %.200s", guest.address, reason)
            first.abort()
        except Exception:  # noqa: BLE001 - no fault of one connection may end the others
            _log.exception("a connection from %s could not be accepted", guest.address)
            first.abort()
        except asyncio.CancelledError:
            first.abort()
            raise
        finally:
            guest.leave()

    async def _begin_tls(
        self, connection: socket.socket, first: FirstLineReader, seconds: float
    ) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: first,
            connection,
            ssl=self._context,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=_CLOSE_SECONDS,
        )

    async def _welcome(self, first: FirstLineReader, line: bytes, address: str) -> bool:
        """Use a connection by its first line; return false if it is to be closed.

        Raises: ``ValueError`` for a line that is none of the protocol.
        """
        hello = FIRST_LINE.validate_json(line)
        tls = first.transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != ALPN:
            return False
        certificate = tls.getpeercert(binary_form=True)
        peer = None if certificate is None else facts(certificate)
        if isinstance(hello, AuthorityRequest):
            # A machine that is about to join has no certificate; a removed node notices here.
            if peer is not None and not await self._knows(peer):
                return False
            self._answer(first, self._authority)
            return True
        if isinstance(hello, JoinRequest):
            self._answer(first, encode(await self._join(hello)))
            return True
        if peer is None:
            return False
        if isinstance(hello, SessionHello):
            return self._park(first, peer)
        return await self._connect(first, hello, peer, address)

    async def _knows(self, peer: CertificateFacts) -> bool:
        return await self._gate.recognizes(peer.name, peer.fingerprint)

    async def _join(self, request: JoinRequest) -> JoinAnswer:
        try:
            return await self._gate.join(request)
        except MograderError as error:
            _log.info("a machine that wants to join as %s is refused: %s", request.name, error)
            return JoinAnswer(problem=error.message, hint=error.hint)

    def _answer(self, first: FirstLineReader, content: bytes) -> None:
        first.transport.write(content)
        first.transport.close()

    def _park(self, first: FirstLineReader, peer: CertificateFacts) -> bool:
        link = self.links.get(peer.name)
        if link is None or link.fingerprint != peer.fingerprint:
            return False
        link.parked.add(first)
        return True

    async def _connect(
        self, first: FirstLineReader, hello: ControlHello, peer: CertificateFacts, address: str
    ) -> bool:
        if not await self._knows(peer):
            _log.warning("the node %s at %s has not joined, or was removed", peer.name, address)
            self._known.forget(peer)
            return False
        traffic = self._known.note(peer, address, self.links)
        if traffic is None:
            _log.debug("the node %s at %s connects too often", peer.name, address)
            return False
        while (earlier := self.links.get(peer.name)) is not None:
            _warn_of_copy(earlier, address)
            await self._end(earlier)
        reader = PacedReader(traffic)
        writer = streams_of(first.transport, first.rest, reader)
        link = NodeLink(peer, hello.version, address, Connection(reader, writer), reader)
        self.links[link.name] = link
        _log.info("the node %s has connected from %s", link.name, address)
        self._came(link)
        self._tasks.start(self._watch(link))
        return True

    async def _watch(self, link: NodeLink) -> None:
        await link.connection.wait_closed()
        await self._end(link)

    async def _end(self, link: NodeLink) -> None:
        if self.links.get(link.name) is not link:
            return
        del self.links[link.name]
        _log.info("the node %s is not connected any more", link.name)
        self._went(link)  # at once: another connection of this node may be accepted meanwhile
        await link.close()


def _warn_of_copy(earlier: NodeLink, address: str) -> None:
    """Log that a node connects again although its earlier connection is in use."""
    if earlier.alive and asyncio.get_running_loop().time() - earlier.heard < _IN_USE_SECONDS:
        _log.warning(
            "the node %s connects from %s while its connection from %s is in use: has another "
            "machine a copy of its directory? Each needs its own: mograder node join --again",
            earlier.name,
            address,
            earlier.address,
        )


async def _begins(connection: socket.socket, guest: Guest) -> bool:
    """Wait for the first bytes; return whether a handshake may begin, else close the connection."""
    loop, begins = asyncio.get_running_loop(), False
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
        begins = bool(connection.recv(1, socket.MSG_PEEK)) and guest.speaks()
    finally:
        loop.remove_reader(connection)
        if not begins:
            connection.close()
    return begins


def _close_unused(connection: socket.socket, receiving: asyncio.Task[None]) -> None:
    """Close a connection whose task was cancelled, perhaps before its first step."""
    if receiving.cancelled():
        connection.close()
