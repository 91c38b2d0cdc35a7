"""The node's connections to its hub: one for control, a few that wait for sessions.

Use::

    dialer = NodeDialer(Hub.parse("https://hub.example.edu"), secret, control, socket_of)
    dialer.connect()
    ...
    await dialer.close()

``control(reader, writer)`` is awaited for each control connection that the hub has accepted: it
reads the hub's :class:`~mograder.sandbox.protocol.Call` lines from ``reader``, writes its answers
and its news to ``writer``, and returns when the reader is at its end. When it returns or raises,
the connection is closed and dialled again. For as long as it runs, connections of this node wait
at the hub for sessions.

``socket_of(session_id)`` returns the path of the Unix socket of a session of this node that is
live, or None for any other; it is called on the event loop for each connection of the hub.
``hurried()`` returns whether sessions would end if the hub is not reached for some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mograder.core.errors import Forbidden, InvalidInput, MograderError, RemoteFailed
from mograder.core.tasks import BackgroundTasks
from mograder.core.web_origin import is_loopback
from mograder.sandbox.nodes.transports import (
    CONTROL,
    DOOR,
    LINK,
    SESSION,
    HeadReader,
    OpenSession,
    Relay,
    streams_of,
)
from mograder.sandbox.protocol import LINE_LIMIT

_log = logging.getLogger(__name__)

PARKED = 8
"""The number of connections that wait at the hub; one that was taken is replaced at once."""

_CONNECT_SECONDS = 5.0
_HURRIED_SECONDS = 2.5
"""The same while sessions would end without a hub: a front may lead to one that hangs, and the next
time to another one."""
_LINK_BYTES = 16
_FLUSH_SECONDS = 600.0
"""How long the end of a session's answer may take to reach a hub that reads slowly."""
_SHORTEST_PAUSE, _HURRIED_PAUSE, _LONGEST_PAUSE = 0.2, 0.5, 5.0

Control = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hub:
    """The address of a hub; ``prefix`` is the path below which it is, "" or like ``/live``."""

    host: str
    port: int
    tls: bool
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Hub:
        """Return the address that a URL names.

        Raises: :class:`InvalidInput`, also for plain HTTP to another machine, which would show the
        node's secret and the students' work to the network.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        extra = parts.query or parts.fragment or parts.username or not url.isprintable()
        if parts.scheme not in ("http", "https") or not host or extra or " " in url:
            raise InvalidInput(
                f"This is not the address of a hub: {url[:100]!r}.",
                hint="Give the one that browsers use, for example https://hub.example.edu.",
            )
        tls = parts.scheme == "https"
        if not tls and not is_loopback(host):
            raise InvalidInput(
                f"A node does not connect to {url[:100]} without TLS.",
                hint="Use the hub's https address. Only on its own machine http is possible.",
            )
        prefix = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=")
        return cls(host, port or (443 if tls else 80), tls, prefix)

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == (443 if self.tls else 80) else f":{self.port}"
        return f"http{'s' if self.tls else ''}://{name}{port}{self.prefix}"

    def request(self, secret: str, protocol: str = "", link: str = "") -> bytes:
        """Return a request at its door: for another protocol, or only whether the secret is good.

        ``link`` is the value of :data:`LINK`, if it is to have that header.

        Raises: :class:`InvalidInput` for a secret that no header can have.
        """
        if not (secret.isascii() and secret.isprintable()):
            raise InvalidInput("This is not the token of a node.")
        head = [
            f"GET {self.prefix}{DOOR} HTTP/1.1",
            f"Host: {str(self).partition('://')[2].removesuffix(self.prefix)}",
            f"Authorization: Bearer {secret}",
        ]
        head += [f"{LINK}: {link}"] if link else []
        head += [f"Upgrade: {protocol}", "Connection: Upgrade"] if protocol else []
        return "\r\n".join([*head, "", ""]).encode("latin-1")


async def dial(
    hub: Hub,
    secret: str,
    protocol: str,
    tls: ssl.SSLContext | None,
    seconds: float = _CONNECT_SECONDS,
    link: str = "",
) -> HeadReader:
    """Connect to a hub for one of the two protocols; with "" only ask whether it accepts the node.

    ``link`` is as in :meth:`Hub.request`.

    Raises: ``OSError``, :class:`Forbidden` with a remedy if it does not, :class:`RemoteFailed` for
    any other answer, ``ValueError`` for one that is not HTTP.
    """
    loop = asyncio.get_running_loop()
    request = hub.request(secret, protocol, link)
    async with asyncio.timeout(seconds):
        transport, first = await loop.create_connection(
            HeadReader,
            hub.host,
            hub.port,
            ssl=tls,
            ssl_handshake_timeout=_CONNECT_SECONDS if tls else None,
            ssl_shutdown_timeout=_FLUSH_SECONDS if tls else None,
        )
        try:
            transport.write(request)
            wanted = HTTPStatus.SWITCHING_PROTOCOLS if protocol else HTTPStatus.NO_CONTENT
            head = await first.until(b"\r\n\r\n")
            if (status := _status(head)) != wanted:
                raise _refusal(hub, status)
            first.link = _field(head, LINK)
        except BaseException:
            first.abort()
            raise
    return first


async def probe(hub: Hub, secret: str) -> None:
    """Ask a hub whether it accepts this node; it disturbs no connection. Raises: as :func:`dial`,
    with :class:`RemoteFailed` for all that keeps it from being asked."""
    try:
        (await dial(hub, secret, "", tls_of(hub))).abort()
    except ssl.SSLCertVerificationError as error:
        raise RemoteFailed(
            f"its certificate is not accepted: {error.verify_message}",
            hint="Add the authority that has signed it to the machine's list "
            "(update-ca-certificates), and name that list in SSL_CERT_FILE: builds read it, too.",
        ) from None
    except TimeoutError:
        raise RemoteFailed("it does not answer") from None
    except (OSError, ValueError) as error:
        raise RemoteFailed(f"{getattr(error, 'strerror', None) or error}") from None


def tls_of(hub: Hub) -> ssl.SSLContext | None:
    """Return the TLS for a hub: the machine's authorities, or those in ``SSL_CERT_FILE``."""
    return ssl.create_default_context() if hub.tls else None


def _status(head: bytes) -> int:
    """Return the status of an answer. Raises: ``ValueError`` for one that is not HTTP/1.1."""
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) < 2 or words[0] != b"HTTP/1.1":
        raise ValueError("what answers there is no hub")
    return int(words[1])


def _field(head: bytes, name: str) -> str:
    """Return a header of an answer, "" without it."""
    fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    found = (value for key, _, value in fields if key.lower() == name.lower().encode())
    return next(found, b"").strip().decode("latin-1")


def _refusal(hub: Hub, status: int) -> MograderError:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.TOO_MANY_REQUESTS:
            return Forbidden(
                "it does not accept this node",
                hint="Make another token with mograder hub node-token, and give it to the node.",
            )
        case HTTPStatus.CONFLICT:
            return Forbidden(
                "a node with this token is connected already, from another address or process",
                hint="Each machine needs a token of its own; the hub's log names both addresses.",
            )
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return RemoteFailed("it waits for another hub, or is not reached by its front")
        case HTTPStatus.NOT_FOUND:
            return RemoteFailed(
                f"there is no hub with nodes at {hub}",
                hint="Set [nodes] enabled = true in its mograder.toml, and restart it.",
            )
        case HTTPStatus.NO_CONTENT:
            return RemoteFailed(
                "its front does not pass on the header Upgrade",
                hint="Write its configuration again: mograder hub proxy-config.",
            )
    return RemoteFailed(f"it answers with status {status}")


class NodeDialer:
    """Keeps the connections of one node to its hub; see the module's text.

    Mutable state: ``connected``, whether the control connection is open; ``_link``, its key; and
    ``_open``, the connections to sessions.
    """

    def __init__(
        self,
        hub: Hub,
        secret: str,
        control: Control,
        socket_of: Callable[[str], Path | None],
        *,
        parked: int = PARKED,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._hub = hub
        self._secret = secret
        self._tls = tls_of(hub)
        self._control = control
        self._socket_of = socket_of
        self._parked = parked
        self._hurried = hurried
        self._open: dict[Relay, str] = {}  # with the key of the control connection beside it
        self._link = ""
        self._tasks = BackgroundTasks()
        self.connected = False

    def connect(self) -> None:
        self._tasks.start(self._keep())

    def cut(self) -> None:
        """Close all connections at once, drop what was not sent, and connect again."""
        self._stop()
        self.connect()

    def cut_earlier(self) -> None:
        """Close the connections to sessions that stood beside earlier control connections."""
        for relay, link in tuple(self._open.items()):
            if link != self._link:
                relay.abort()

    async def close(self) -> None:
        tasks = self._stop()
        if tasks:
            await asyncio.wait(tasks)

    def _stop(self) -> tuple[asyncio.Task[Any], ...]:
        tasks = self._tasks.cancel()
        for relay in tuple(self._open):
            relay.abort()
        return tasks

    async def _keep(self) -> None:
        """Keep a control connection to the hub; while it is open, connections wait there."""
        pause, told = _Pause(), ""
        while True:
            try:
                await self._converse(pause)
                _log.info("the hub at %s has ended the connection", self._hub)
                told = ""
            except (OSError, ValueError, MograderError) as error:
                said = str(error) or type(error).__name__
                level = logging.DEBUG if said == told else logging.WARNING
                _log.log(level, "no connection to the hub at %s: %s", self._hub, said)
                told = said
            except Exception:  # noqa: BLE001 - a node that left its hub would be of no use
                _log.exception("the conversation with the hub at %s broke", self._hub)
            await pause.wait(lambda: _HURRIED_PAUSE if self._hurried() else _LONGEST_PAUSE)

    async def _converse(self, pause: _Pause) -> None:
        first = await self._reach()
        parking: list[asyncio.Task[None]] = []
        try:
            pause.reset()
            self._link = first.link
            reader = asyncio.StreamReader(limit=LINE_LIMIT)
            writer = streams_of(*first.release(), reader)
            parking = [self._tasks.start(self._park(first.link)) for _ in range(self._parked)]
            self.connected = True
            _log.info("connected to the hub at %s", self._hub)
            await self._control(reader, writer)
            writer.close()
        except BaseException:
            first.abort()
            raise
        finally:
            self.connected = False
            for task in parking:
                task.cancel()

    async def _reach(self) -> HeadReader:
        """Dial for control; twice at a time while sessions would end without a hub.

        A front without health checks, as nginx, leads one of the two to another hub than one that
        hangs. The same hub refuses the second one. Raises: as :func:`dial`.
        """
        if not self._hurried():
            return await dial(self._hub, self._secret, CONTROL, self._tls)
        chosen: HeadReader | None = None
        link = secrets.token_urlsafe(_LINK_BYTES)
        hurried = partial(dial, self._hub, self._secret, CONTROL, self._tls, _HURRIED_SECONDS, link)
        tries = [self._tasks.start(hurried()) for _ in range(2)]
        try:
            for each in asyncio.as_completed(tries):
                with contextlib.suppress(OSError, ValueError, MograderError):
                    chosen = await each
                    return chosen
            return tries[0].result()
        finally:
            for one in tries:
                if not one.done():
                    one.cancel()
                elif not one.cancelled() and one.exception() is None and one.result() is not chosen:
                    one.result().abort()

    async def _park(self, link: str) -> None:
        """Keep one connection waiting at the hub; when it is taken, relay it and open the next."""
        pause = _Pause()
        while True:
            try:
                first = await dial(self._hub, self._secret, SESSION, self._tls, link=link)
                try:
                    wanted = OpenSession.model_validate_json(await first.until(b"\n"))
                except BaseException:
                    first.abort()
                    raise
                self._tasks.start(self._relay(first, wanted, link))
                pause.reset()
            except (OSError, ValueError, MograderError) as error:
                _log.debug("a connection for sessions ended: %r", error)
                await pause.wait()

    async def _relay(self, first: HeadReader, wanted: OpenSession, link: str) -> None:
        path = self._socket_of(wanted.session_id)
        if path is None:
            first.abort()
            return
        relay = Relay()
        self._open[relay] = link
        try:
            await relay.start(*first.release(), path)
            await relay.ended
        except ConnectionResetError:
            _log.debug("the hub has closed a connection to %s", wanted.session_id)
        finally:
            relay.abort()
            del self._open[relay]


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
