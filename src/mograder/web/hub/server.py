"""Running the hub: the socket, the event loop, the signals, the words on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvicorn
import uvloop

from mograder.auth.links import LINK_LIFE, make_code
from mograder.auth.roles import Role
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.log import configure_logging, get_logger, register_secret
from mograder.core.settings import LoadedSettings, read_environ
from mograder.web.hub.app import create_app
from mograder.web.hub.bell import Bell
from mograder.web.hub.meter import Meter
from mograder.web.hub.metrics_socket import metrics_app, metrics_listener
from mograder.web.hub.services import Services, open_services

_log = get_logger(__name__)

_BACKLOG = 2048
_GRACE_SECONDS = 3
_SCRAPES_AT_ONCE = 16
_SWITCH_SECONDS = 0.001
"""How long a thread that reads the disk or the database keeps the loop waiting: Python's own 5 ms
are felt when a hundred arrive at once."""
_PING_SECONDS = 20
_PONG_SECONDS = 120
"""One large output on a slow link delays the answer to a ping; that is no reason to hang up."""
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How ``mograder hub`` was called; the settings already hold its options."""

    loaded: LoadedSettings
    dev: bool
    headless: bool


def serve_hub(options: HubOptions) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises: :class:`InvalidInput` for a missing secret or a bad address, :class:`Conflict` for a
    port in use, and what :func:`~mograder.web.hub.services.open_services` raises.
    """
    configure_logging()
    for warning in options.loaded.warnings:
        _log.warning("%s", warning)
    environ = read_environ()
    if environ.hub_secret is not None:
        secret = environ.hub_secret.get_secret_value()
    elif options.dev:
        secret = secrets.token_hex(32)
    else:
        raise InvalidInput("MOGRADER_HUB_SECRET must be set (or use --dev for ephemeral secret)")
    register_secret(secret)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, secret))


async def _serve(options: HubOptions, secret: str) -> None:
    loaded = options.loaded
    hub = loaded.settings.hub
    async with AsyncExitStack() as stack:
        # The port first: a hub that cannot be reached must not touch a running one's sessions.
        listener = stack.enter_context(contextlib.closing(_bind(hub.host, hub.port)))
        opening = open_services(loaded, read_environ(), secret=secret, dev=options.dev)
        services = await stack.enter_async_context(opening)
        if options.dev and not services.sandboxed:
            listener = stack.enter_context(contextlib.closing(_on_loopback(listener)))
        meter, bell = Meter(services.pool), Bell()
        server = _Server(_configuration(services, meter, bell))
        url = _url(loaded, listener)
        first = await _first_page(services, url)
        _greet(services, url, first)
        stack.enter_context(_until_signalled(server, bell))
        await stack.enter_async_context(_telling_numbers(loaded, meter))
        if not options.headless:
            await asyncio.to_thread(webbrowser.open, first)
        # What is there by now stays, and to look through it for garbage takes 0.1 s each time, for
        # which nobody is answered.
        gc.collect()
        gc.freeze()
        await server.serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _telling_numbers(loaded: LoadedSettings, meter: Meter) -> AsyncIterator[None]:
    """Serve the metrics on their own socket, if the settings name one."""
    if not loaded.settings.hub.metrics_socket:
        yield
        return
    with metrics_listener(loaded.path(loaded.settings.hub.metrics_socket)) as listener:
        config = uvicorn.Config(
            metrics_app(meter),
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            limit_concurrency=_SCRAPES_AT_ONCE,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _configuration(services: Services, meter: Meter, bell: Bell) -> uvicorn.Config:
    """Forwarded headers are ours to judge (``web.context``), so uvicorn leaves them alone.

    ``websockets-sansio`` passes binary frames, close codes and messages of any size; marimo
    sends whole outputs as one message, so there is no limit but the request's own.
    """
    return uvicorn.Config(
        create_app(services, meter, bell),
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=services.loaded.settings.limits.request_mb << 20,
        ws_per_message_deflate=False,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PONG_SECONDS,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again when it has served,

    and the process would die before the sessions are put away.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _until_signalled(server: uvicorn.Server, bell: Bell) -> Iterator[None]:
    """Stop gracefully at the first SIGTERM or Ctrl-C, at once at the second."""

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        bell.close()  # pages that listen for news would else be waited for

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _bind(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise InvalidInput(
            f"{host!r} is not an address of this machine.", hint="Correct [hub] host or --host."
        ) from error
    # "localhost" may come as ::1 first, where most clients look last.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _cannot_bind(host: str, port: int, error: OSError) -> Conflict | InvalidInput:
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"Port {port} is in use on {host}.", hint="Choose another one with --port.")
    hint = "Ports below 1024 need root." if error.errno == errno.EACCES else ""
    return InvalidInput(f"Cannot listen on {host} port {port}: {error.strerror}.", hint=hint)


def _on_loopback(listener: socket.socket) -> socket.socket:
    """Without a sandbox and without sign-in nobody else may come in, whatever --host says."""
    host, port = listener.getsockname()[:2]
    if host in (_LOOPBACK, "::1"):
        return listener
    listener.close()
    return _bind(_LOOPBACK, port)


def _url(loaded: LoadedSettings, listener: socket.socket) -> str:
    """Where a browser on this machine finds the hub."""
    hub = loaded.settings.hub
    host, port = listener.getsockname()[:2]
    shown = _LOOPBACK if host == "0.0.0.0" else "[::1]" if ":" in host else host  # noqa: S104
    return f"{hub.public_url or f'http://{shown}:{port}'}{hub.base_url}/"


def _greet(services: Services, url: str, first: str) -> None:
    title = services.loaded.settings.title or services.loaded.course_dir.name
    confined = "in a sandbox" if services.sandboxed else "WITHOUT A SANDBOX"
    sys.stdout.write(
        f"Hub for {title}: {url}\nStudent code runs {confined}. Press Ctrl+C to stop.\n"
    )
    sys.stdout.flush()  # into a journal or a file it would else be told at the end only


async def _first_page(services: Services, url: str) -> str:
    """Return what to open: in development, a link that signs in as an instructor, once."""
    if not services.dev:
        return url
    code = make_code()
    expires = services.clock.now() + LINK_LIFE
    add = services.state.add_link
    await asyncio.to_thread(add, code.hash, "instructor", Role.INSTRUCTOR, expires)
    return f"{url}login/link?code={code.text}"
