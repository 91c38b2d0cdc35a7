"""Common to our servers: the socket, the signals, and uvicorn with its protocol of connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.operating_system import SYSTEM, ending_signals

BACKLOG = 2048
"""Connections that the kernel holds until they are accepted; uvicorn's default."""
_LAST_PORT = 65535
LOOPBACK = "127.0.0.1"
_USUAL_PORT, _PORTS_TRIED = 2718, 20

KEPT_SECONDS = 130
"""Seconds that an idle connection stays open. A proxy keeps its own for one minute (nginx) or two
(Caddy); if the server closes first, the next request fails, and proxies do not repeat a POST.
"""

HAND_OVER = "mograder.hand_over"
"""The extension's name. It is called with the head of a 101 response, which it sends, and returns
the connection, paused, with what the client has sent already; it raises ``ConnectionResetError`` if
the client has gone."""

HandOver = Callable[[bytes], tuple[asyncio.Transport, bytes]]
_OWN_PROTOCOLS = (b"mograder-node", b"mograder-session")
_EARLY_BYTES = 65_536
_HEAD = b"HTTP/1."
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 2**20
_HEAD_BYTES = 2**17
_HEAD_SECONDS = 60.0
_TOO_LARGE = "The request's headers exceed 128 KB."


class Server(uvicorn.Server):
    """uvicorn without its signal handlers.

    It would raise the signal again after serving, and the process would end before the services are
    closed. ``on_ready`` is called when the server accepts requests.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to :func:`until_signalled`."""
        yield


def configuration(app: ASGIApp, *, grace_seconds: int, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for an app; ``options`` are further arguments of its Config.

    ``web.context`` evaluates forwarded headers, so uvicorn ignores them. When the server stops,
    requests under way have ``grace_seconds`` to end.
    """
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=KEPT_SECONDS,
        **options,
    )


@contextlib.contextmanager
def until_signalled(
    server: uvicorn.Server, on_stop: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Stop gracefully at the first signal that ends a server, at once at the second.

    ``on_stop`` ends connections that the graceful stop would wait for.
    """

    def stop() -> None:
        server.force_exit = server.should_exit
        if server.force_exit:
            logging.getLogger("uvicorn.error").addFilter(_is_failure)
        server.should_exit = True
        on_stop()

    with calling(stop):
        yield


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address, port 0 for a free one; raises InvalidInput, Conflict."""
    if not 0 <= port <= _LAST_PORT:
        raise InvalidInput(f"{port} is no port.", hint=f"Ports go up to {_LAST_PORT}.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise InvalidInput(
            f"{host!r} is not an address of this machine.", hint="Correct the address (--host)."
        ) from error
    # "localhost" may resolve to ::1 first, which most clients try last.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    if sys.platform == "win32":  # where SO_REUSEADDR lets other programs take the port over
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def bind_local(port: int | None) -> socket.socket:
    """Listen on loopback: on the given port, or the first free one from 2718."""
    if port is not None:
        return bind(LOOPBACK, port)
    for each in range(_USUAL_PORT, _USUAL_PORT + _PORTS_TRIED):
        with contextlib.suppress(Conflict):
            return bind(LOOPBACK, each)
    return bind(LOOPBACK, 0)


def _is_failure(record: logging.LogRecord) -> bool:
    """Return False for a record of a cancelled task.

    uvicorn logs the exception of a request, and of the app's lifespan the text of its stack trace
    that Starlette sends.
    """
    error = record.exc_info[1] if record.exc_info else None
    told = record.getMessage().rstrip()
    return not (isinstance(error, asyncio.CancelledError) or told.endswith("CancelledError"))


@contextlib.contextmanager
def calling(stop: Callable[[], object]) -> Iterator[None]:
    """Call a function in the running event loop at each signal that ends a server."""
    loop = asyncio.get_running_loop()
    before = {}
    for number in ending_signals():
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows: the interpreter wakes the loop for its own handlers
            before[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number in ending_signals():
            if number in before:
                signal.signal(number, before[number])
            else:
                loop.remove_signal_handler(number)


def _cannot_bind(host: str, port: int, error: OSError) -> Conflict | InvalidInput:
    # Windows keeps ranges of ports for itself, and says so by the other error.
    kept = SYSTEM == "windows" and error.errno == errno.EACCES
    if error.errno == errno.EADDRINUSE or kept:
        return Conflict(f"Port {port} is in use on {host}.", hint="Choose another one with --port.")
    hint = "Ports below 1024 need root." if error.errno == errno.EACCES else ""
    return InvalidInput(f"Cannot listen on {host} port {port}: {error.strerror}.", hint=hint)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with these changes; ``uvicorn.Config(http=HttpProtocol)``.

    The head of a response is written together with the data after it. uvicorn writes each in a
    system call of its own, and the loop sends each at once. Together they are one segment: cheaper
    for both sides, and needed for a proxy that may close its connection when it has seen the head
    (``web.context``).

    A connection whose request was refused before its body had arrived is closed: uvicorn would read
    and drop all of the announced body. It stays open for 2 s, in which up to 1 MB is still read:
    closing a socket with unread data resets the connection, and a client that is still writing
    (Go's transport, so Caddy) then gives up before it reads the response.

    Neither llhttp nor uvicorn bounds the head of a request, or the time in which it comes: one
    visitor could fill the memory with headers, or keep connections open that ask for nothing. Here
    it has 128 KB (``web.context`` tells who sends more than 64 KB) and a minute. The fields that
    may follow a body have 128 KB, too.

    A request by which a node asks for one of its own protocols (``Upgrade``) has
    :data:`HAND_OVER` among its scope's extensions. What else it is answered, its connection is
    closed after that.

    Mutable state: ``_unread``, how many bytes of a refused body are still read and dropped; None
    while the connection is in use. ``_early``, what came after a request for another protocol;
    ``_parsed``, the data that is parsed now. ``_pending``, the bytes since the last whole head,
    piece of a body or end of a request, and ``_late``, the timer that runs while there are some.
    """

    _unread: int | None = None
    _early: bytearray | None = None
    _parsed = b""
    _pending = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        buffered = _HeadBuffer(transport, self.loop, self._linger)
        super().connection_made(cast(asyncio.Transport, buffered))
        self._late = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            if len(self._early) > _EARLY_BYTES:  # it was told to wait
                cast(_HeadBuffer, self.transport).bare.abort()
            return
        if self._unread is None:
            self._parsed = data
            self._pending += len(data)
            super().data_received(data)
            self._parsed = b""
            self._bound_head()
            return
        self._unread -= len(data)
        if self._unread < 0:
            self.flow.pause_reading()

    def eof_received(self) -> None:
        if self._unread is None:
            super().eof_received()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Continue with the next request, or close the connection if the body is incomplete."""
        if self.cycle.more_body and self._unread is None:
            self.transport.close()
        super().on_response_complete()

    def _linger(self) -> bool:
        """Send EOF to the client, and read on for up to 2 s.

        Returns False if the connection may be closed at once.
        """
        refused = self.cycle is not None and self.cycle.response_complete and self.cycle.more_body
        if not refused:
            return False
        self._unread = _LINGER_BYTES
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        return True

    def _bound_head(self) -> None:
        """Bound the head that has not arrived completely, in size and in time."""
        if not self._pending or self.transport.is_closing():
            self._stop_timer()
        elif self._pending <= _HEAD_BYTES:
            if self._late is None:
                self._late = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif self.cycle is None or self.cycle.response_complete:
            self.send_400_response(_TOO_LARGE)
        else:  # in the middle of an answer
            cast(_HeadBuffer, self.transport).bare.abort()

    def _stop_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """Begin the request; one for a protocol of ours may take the connection over."""
        self._pending = 0
        super().on_headers_complete()
        if self.parser.should_upgrade() and self._get_upgrade() in _OWN_PROTOCOLS:
            self.cycle.keep_alive = False
            self.scope["extensions"] = {HAND_OVER: self._hand_over}  # type: ignore[dict-item]

    def _unsupported_upgrade_warning(self) -> None:
        """Keep what came after a request for a protocol of ours, and read no further yet."""
        if self._get_upgrade() not in _OWN_PROTOCOLS:
            return
        parsed = sys.exception()
        end = len(self._parsed) if parsed is None else parsed.args[0]
        self._early = bytearray(self._parsed[end:])
        self.flow.pause_reading()

    def _hand_over(self, head: bytes) -> tuple[asyncio.Transport, bytes]:
        """Give the connection away; see :data:`HAND_OVER`."""
        if self.cycle.disconnected or self.transport.is_closing():
            raise ConnectionResetError
        self.connections.discard(self)  # the server neither waits for it nor closes it
        self.cycle.disconnected = True  # and sends no answer of its own
        transport = cast(_HeadBuffer, self.transport).bare
        transport.pause_reading()
        transport.write(head)
        return transport, bytes(self._early or b"")

    def handle_websocket_upgrade(self) -> None:
        """Pass the bare connection to the WebSocket, which writes whole messages."""
        self.transport = cast(_HeadBuffer, self.transport).bare
        super().handle_websocket_upgrade()


class _HeadBuffer:
    """A transport that holds a response's head until more is written, or the loop's turn ends."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        linger: Callable[[], bool],
    ) -> None:
        self.bare = transport
        self._loop = loop
        self._linger = linger
        self._lingers = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.bare.writelines((head, data))
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self.bare.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self._flush()
        self.bare.writelines(parts)

    def close(self) -> None:
        self._flush()
        if self._lingers or not self._linger():
            self.bare.close()
        else:
            self._lingers = True

    def is_closing(self) -> bool:
        return self._lingers or self.bare.is_closing()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.bare.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)
