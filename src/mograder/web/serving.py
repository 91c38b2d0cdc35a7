"""Common to our servers: the socket, the uvicorn configuration, the signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.system import SYSTEM
from mograder.web.uvicorn_protocol import HttpProtocol

_BACKLOG = 2048
_LAST_PORT = 65535
LOOPBACK = "127.0.0.1"
_USUAL_PORT, _PORTS_TRIED = 2718, 20
KEPT_SECONDS = 130
"""Seconds that an idle connection stays open. A proxy keeps its own for one minute (nginx) or two
(Caddy); if the server closes first, the next request fails, and proxies do not repeat a POST.
"""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers.

    It would raise the signal again after serving, and the process would end before the services are
    closed. ``on_ready`` is called when the server accepts requests.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept requests, then call ``on_ready``."""
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
    server: uvicorn.Server,
    on_stop: Callable[[], None] = lambda: None,
    *,
    signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[None]:
    """Stop gracefully at the first of the signals, at once at the second.

    ``on_stop`` ends connections that the graceful stop would wait for.
    """

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        on_stop()

    with contextlib.ExitStack() as stack:
        for number in signals:
            stack.enter_context(_calling(stop, number))
        yield


@contextlib.contextmanager
def _calling(stop: Callable[[], None], number: signal.Signals) -> Iterator[None]:
    """Call a function in the running event loop at each signal of this number."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, stop)
    except NotImplementedError:  # Windows: the interpreter wakes the loop for its own handlers
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        try:
            yield
        finally:
            signal.signal(number, before)
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    Raises: :class:`InvalidInput` for a bad address, :class:`Conflict` for a port in use.
    """
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
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def bind_local(port: int | None) -> socket.socket:
    """Listen on loopback only: on the given port, or on the first free one from 2718.

    Raises: as :func:`bind`.
    """
    if port is not None:
        return bind(LOOPBACK, port)
    for each in range(_USUAL_PORT, _USUAL_PORT + _PORTS_TRIED):
        with contextlib.suppress(Conflict):
            return bind(LOOPBACK, each)
    return bind(LOOPBACK, 0)


def _cannot_bind(host: str, port: int, error: OSError) -> Conflict | InvalidInput:
    # Windows keeps ranges of ports for itself, and says so by the other error.
    kept = SYSTEM == "windows" and error.errno == errno.EACCES
    if error.errno == errno.EADDRINUSE or kept:
        return Conflict(f"Port {port} is in use on {host}.", hint="Choose another one with --port.")
    hint = "Ports below 1024 need root." if error.errno == errno.EACCES else ""
    return InvalidInput(f"Cannot listen on {host} port {port}: {error.strerror}.", hint=hint)
