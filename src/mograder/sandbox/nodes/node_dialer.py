"""The node's connections to its hubs: one for control, a few that wait for sessions.

Use::

    dialer = NodeDialer(identity, control, socket_of)
    dialer.connect_to(identity.hubs)         # and again whenever a hub tells of other hubs
    ...
    await dialer.close()

``control(hub, reader, writer)`` is awaited for each control connection that a hub has accepted:
the agent reads the hub's :class:`~mograder.sandbox.protocol.Call` lines from ``reader``, writes its
answers and its news to ``writer``, and returns when the reader is at its end. When it returns or
raises, the connection is closed and dialled again. Its first line is there already: the hub's
``hello``. For as long as it runs, connections of this node wait at that hub for sessions.

``socket_of(session_id)`` returns the path of the Unix socket of a session of this node that is
live, or None for any other; it is called on the event loop for each connection of a hub.
``hurried()`` returns whether sessions would end if no hub is reached for some seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from mograder import __version__
from mograder.auth.node_certificates import HUB_NAME
from mograder.auth.node_tokens import split_address
from mograder.core.errors import MograderError
from mograder.core.tasks.background_tasks import BackgroundTasks
from mograder.sandbox.message import Message
from mograder.sandbox.nodes.byte_relay import Relay
from mograder.sandbox.nodes.first_line import FirstLineReader, streams_of
from mograder.sandbox.nodes.node_identity import JOIN_AGAIN, NOT_ACCEPTED, NodeIdentity
from mograder.sandbox.nodes.tls_contexts import node_context, use_certificate
from mograder.sandbox.nodes.wire_messages import (
    FIRST_LINE_LIMIT,
    ControlHello,
    OpenSession,
    SessionHello,
)
from mograder.sandbox.protocol import LINE_LIMIT, encode

_log = logging.getLogger(__name__)

PARKED = 8
"""The number of connections that wait at each hub; one that was taken is replaced at once."""

_CONNECT_SECONDS = 10.0
_ACCEPT_SECONDS = 20.0
_FLUSH_SECONDS = 600.0
"""How long the end of a session's answer may take to reach a hub that reads slowly."""
_SHORTEST_PAUSE, _HURRIED_PAUSE, _LONGEST_PAUSE = 0.2, 0.5, 5.0

Control = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class NodeDialer:
    """Keeps the connections of one node to its hubs; see the module's text."""

    def __init__(
        self,
        identity: NodeIdentity,
        control: Control,
        socket_of: Callable[[str], Path | None],
        *,
        parked: int = PARKED,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._context = node_context(identity.authority.encode(), identity.pair)
        self._control = control
        self._socket_of = socket_of
        self._parked = parked
        self._hurried = hurried
        self._hubs: dict[str, asyncio.Task[None]] = {}
        self._open: set[Relay] = set()
        self._tasks = BackgroundTasks()
        self._connected: set[str] = set()

    @property
    def connected(self) -> frozenset[str]:
        """The addresses of the hubs to which the control connection is open."""
        return frozenset(self._connected)

    def connect_to(self, hubs: Iterable[str]) -> None:
        """Connect to these hubs and leave the others; connections to sessions go on.

        An empty list changes nothing, since a node without hubs could never be told of one again.
        """
        wanted = set(hubs)
        if not wanted:
            return
        for hub in self._hubs.keys() - wanted:
            self._hubs.pop(hub).cancel()
        for hub in sorted(wanted - self._hubs.keys()):
            self._hubs[hub] = self._tasks.start(self._keep(hub))

    def use(self, identity: NodeIdentity) -> None:
        """Use a renewed certificate for all connections from now on."""
        use_certificate(self._context, identity.pair)

    def cut(self) -> None:
        """Close all connections at once, drop what was not sent, and connect to the hubs again."""
        hubs = tuple(self._hubs)
        self._stop()
        self.connect_to(hubs)

    def cut_sessions(self) -> None:
        """Close all connections to sessions at once."""
        for relay in tuple(self._open):
            relay.abort()

    async def close(self) -> None:
        """Close all connections."""
        tasks = self._stop()
        if tasks:
            await asyncio.wait(tasks)

    def _stop(self) -> tuple[asyncio.Task[Any], ...]:
        self._hubs.clear()
        tasks = self._tasks.cancel()
        for relay in tuple(self._open):
            relay.abort()
        return tasks

    async def _keep(self, hub: str) -> None:
        """Keep a control connection to a hub; while it is open, connections wait there."""
        pause = _Pause()
        while self._hubs.get(hub) is asyncio.current_task():
            try:
                await self._converse(hub, pause)
                _log.info("the hub at %s has ended the connection", hub)
            except (OSError, ValueError, MograderError) as error:
                # A hub that waits for the end of the one at work does not listen.
                level = logging.DEBUG if self._connected else logging.WARNING
                _log.log(level, "no connection to the hub at %s: %s", hub, error or type(error))
            except Exception:  # noqa: BLE001 - a node that left its hubs would be of no use
                _log.exception("the conversation with the hub at %s broke", hub)
            await pause.wait(self._longest_pause)

    def _longest_pause(self) -> float:
        """Return the longest pause: short while sessions would end without a hub."""
        return _HURRIED_PAUSE if self._hurried() and not self._connected else _LONGEST_PAUSE

    async def _converse(self, hub: str, pause: _Pause) -> None:
        first = await self._dial(hub, ControlHello(version=__version__), LINE_LIMIT)
        parking: list[asyncio.Task[None]] = []
        try:
            try:
                async with asyncio.timeout(_ACCEPT_SECONDS):
                    line = await first.line
            except ConnectionResetError:
                raise ConnectionResetError(f"{NOT_ACCEPTED}. {JOIN_AGAIN}") from None
            pause.reset()
            reader = asyncio.StreamReader(limit=LINE_LIMIT)
            writer = streams_of(first.transport, line + b"\n" + first.rest, reader)
            parking = [self._tasks.start(self._park(hub)) for _ in range(self._parked)]
            self._connected.add(hub)
            _log.info("connected to the hub at %s", hub)
            await self._control(hub, reader, writer)
            writer.close()
        except BaseException:
            first.abort()
            raise
        finally:
            self._connected.discard(hub)
            for task in parking:
                task.cancel()

    async def _park(self, hub: str) -> None:
        """Keep one connection waiting at a hub; when it is taken, relay it and open the next."""
        pause = _Pause()
        while True:
            try:
                first = await self._dial(hub, SessionHello(), FIRST_LINE_LIMIT)
                try:
                    wanted = OpenSession.model_validate_json(await first.line)
                except BaseException:
                    first.abort()
                    raise
                self._tasks.start(self._relay(first, wanted))
                pause.reset()
            except (OSError, ValueError) as error:
                _log.debug("a connection for sessions of %s ended: %r", hub, error)
                await pause.wait()

    async def _relay(self, first: FirstLineReader, wanted: OpenSession) -> None:
        path = self._socket_of(wanted.session_id)
        if path is None:
            first.abort()
            return
        relay = Relay()
        self._open.add(relay)
        try:
            await relay.start(first.transport, first.rest, path)
            await relay.ended
        except ConnectionResetError:
            _log.debug("a hub has closed a connection to %s", wanted.session_id)
        finally:
            relay.abort()
            self._open.discard(relay)

    async def _dial(self, hub: str, hello: Message, limit: int) -> FirstLineReader:
        """Connect to a hub and send the first line. Raises: ``OSError``."""
        host, port = split_address(hub)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_SECONDS):
            transport, first = await loop.create_connection(
                lambda: FirstLineReader(limit),
                host,
                port,
                ssl=self._context,
                server_hostname=HUB_NAME,
                ssl_handshake_timeout=_CONNECT_SECONDS,
                ssl_shutdown_timeout=_FLUSH_SECONDS,
            )
        transport.write(encode(hello))
        return first


class _Pause:
    """The growing pause between two attempts, different on each node so that they spread."""

    def __init__(self) -> None:
        self._seconds = _SHORTEST_PAUSE

    def reset(self) -> None:
        self._seconds = _SHORTEST_PAUSE

    async def wait(self, longest: Callable[[], float] = lambda: _LONGEST_PAUSE) -> None:
        """Wait; ``longest`` may become shorter meanwhile."""
        waited, share = 0.0, random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        while (left := min(longest(), self._seconds) * share - waited) > 0:
            await asyncio.sleep(min(left, _SHORTEST_PAUSE))
            waited += _SHORTEST_PAUSE
        self._seconds = min(_LONGEST_PAUSE, self._seconds * 2)
