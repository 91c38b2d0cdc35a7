"""Running the hub: the socket, the event loop, the signals, the messages on the terminal.

A hub that waits for another one answers every request with 503, and so does a hub that may not be
the one at work any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import uvicorn
import uvloop
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from mograder.auth.credentials import (
    LINK_LIFE,
    MAKE_ONE,
    Role,
    can_be_guessed,
    demand_no_placeholder,
    make_code,
)
from mograder.core.errors import InvalidInput
from mograder.core.log import configure_logging, get_logger, register_secret
from mograder.core.operating_system import allow_open_files
from mograder.core.settings import LoadedSettings, read_environ
from mograder.core.systemd import READY, STOPPING, WAITS, WAITS_ANSWER, Service
from mograder.hub.notifier import Notifier
from mograder.hub.services import Services
from mograder.hub.startup import open_services
from mograder.web.hub.app import create_app, install_routes
from mograder.web.hub.proxy.websocket_relay import CLIENT_MESSAGE_BYTES
from mograder.web.open_browser import open_page
from mograder.web.serving import (
    BACKLOG,
    LOOPBACK,
    Server,
    bind,
    calling,
    configuration,
    until_signalled,
)

_log = get_logger(__name__)

_GRACE_SECONDS = 3
_SWITCH_SECONDS = 0.001
"""Seconds until a thread that reads the disk or the database yields to the loop; Python's default
of 5 ms is noticeable when a hundred requests arrive at once.
"""
_PING_SECONDS = 45
"""Below the 60 s after which common fronts and firewalls forget a silent connection."""
_PONG_SECONDS = 120
"""One large output on a slow link delays the pong; the connection must survive that."""
_THREADS = 40

RETRY_SECONDS = 2
_CLOSE_HEADER = b"x-mograder-standby: close"
"""A request with this header gets no answer: its connection is closed. The written nginx sends it,
which has no health check, and asks the other hub then (several-hubs.md).
"""
_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(WAITS_ANSWER)}\r\nRetry-After: {RETRY_SECONDS}\r\n"
    "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
)
_HEAD_SECONDS = 5.0
_REST_SECONDS = 2.0
_REST_BYTES = 1 << 20
_PIECE = 1 << 16
_FRAMES_BYTES = 8192
_MOST_PARTS, _PARTS_SECONDS = 1000, 60.0


def serve_hub(loaded: LoadedSettings, *, dev: bool, headless: bool) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises: :class:`InvalidInput` for a bad secret or address, :class:`Conflict` for a port in use,
    and as :func:`~mograder.hub.startup.open_services`.
    """
    environ = read_environ()
    configure_logging(journal=environ.service.journal)
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    if environ.hub_secret is not None:
        secret = environ.hub_secret.get_secret_value()
        demand_no_placeholder(secret)
        if can_be_guessed(secret):
            _log.warning("MOGRADER_HUB_SECRET can be guessed. %s", MAKE_ONE)
    elif dev:
        secret = secrets.token_hex(32)
    else:
        raise InvalidInput("MOGRADER_HUB_SECRET must be set (or use --dev for ephemeral secret)")
    register_secret(secret)
    sys.setswitchinterval(_SWITCH_SECONDS)
    allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # For `asyncio.to_thread`: the default of few threads would let saves wait for slow disks.
        runner.get_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "hub"))
        try:
            runner.run(_serve(loaded, secret, environ.service, dev=dev, headless=headless))
        except asyncio.CancelledError:  # by `_cancelled_by_signals`
            _log.info("stopped before the start was complete")


async def _serve(
    loaded: LoadedSettings, secret: str, service: Service, *, dev: bool, headless: bool
) -> None:
    async with AsyncExitStack() as stack:
        # The port first: a hub that cannot listen must not touch a running one's sessions.
        listener = stack.enter_context(contextlib.closing(_listener(loaded, service)))
        standby = functools.partial(_standby, listener, service)
        opening = open_services(loaded, read_environ(), secret=secret, dev=dev, wait=standby)
        with _cancelled_by_signals():
            services = await stack.enter_async_context(opening)
            host, port = listener.getsockname()[:2]
            if dev and not services.sandboxed and host not in (LOOPBACK, "::1"):
                listener.close()  # without a sandbox and sign-in --host must not count
                listener = stack.enter_context(contextlib.closing(bind(LOOPBACK, port)))
            notifier = Notifier()
            url = _url(loaded, listener)
            ready = functools.partial(service.tell, READY, f"STATUS=Serving {url}")
            server = Server(_configuration(services, notifier), ready)
            first = url
            if services.dev:  # a one-time link that signs in as an instructor
                code, expires = make_code(), services.clock.now() + LINK_LIFE
                add, who = services.state.add_link, ("instructor", Role.INSTRUCTOR)
                await asyncio.to_thread(add, code.hash, *who, expires)
                first = f"{url}login/link?code={code.text}"
        _greet(services, url, first if headless else url)
        stack.enter_context(until_signalled(server, lambda: _stop(service, notifier)))
        await stack.enter_async_context(service.kept_alive())
        if not headless:
            await asyncio.to_thread(open_page, first)
        # Objects that exist by now stay; a garbage collection over them would block the loop for
        # 0.1 s each time.
        gc.collect()
        gc.freeze()
        gc.enable()  # it was off for the start (``cli/hub/run.py``)
        await server.serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _standby(listener: socket.socket, service: Service) -> AsyncIterator[None]:
    async with standing_by(listener, service):
        install_routes()
        gc.collect()
        gc.freeze()  # the collection before the hub serves is then a short one
        yield


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    task = asyncio.current_task()
    if task is None:  # for the type checker: this is called from a task
        raise AssertionError

    def cancel() -> None:
        if not task.cancelling():  # a second one would break off the cleanup
            task.cancel()

    with calling(cancel):
        yield


@contextlib.asynccontextmanager
async def standing_by(listener: socket.socket, service: Service) -> AsyncIterator[None]:
    """Answer with 503 during the block; what connects after it waits for the hub."""
    # It listens anew on the same socket, whose queue would get asyncio's length of 100.
    server = await asyncio.start_server(_answer, sock=listener.dup(), limit=_PIECE, backlog=BACKLOG)
    with contextlib.closing(server):
        service.tell(READY, f"STATUS={WAITS}")
        async with service.kept_alive():
            yield


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    unheard = (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError)
    with contextlib.closing(writer), contextlib.suppress(*unheard):
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        if _CLOSE_HEADER in head.lower().split(b"\r\n"):
            return
        writer.write((_HEAD if head.startswith(b"HEAD ") else _HEAD + WAITS_ANSWER).encode())
        await writer.drain()
        writer.write_eof()
        # Closed with a body unread, the kernel would reset the connection.
        left = _REST_BYTES
        async with asyncio.timeout(_REST_SECONDS):
            while left > 0 and (piece := await reader.read(_PIECE)):
                left -= len(piece)


class WhileAtWork:
    """Passes requests on to the hub's app while this hub is certainly the one at work.

    A process that was stopped for a while goes on with what it had begun before it notices that
    another hub has taken its place.
    """

    def __init__(self, app: ASGIApp, at_work: Callable[[], bool]) -> None:
        self._app = app
        self._at_work = at_work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._at_work():
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1012})
        else:
            headers = {"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
            await PlainTextResponse(WAITS_ANSWER, 503, headers)(scope, receive, send)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol that supports binary frames and all close codes, with one change.

    uvicorn parses all that it has read at once, 256 KB of empty frames, and answers each ping, also
    to a client that does not read. Here data is parsed in pieces, and a connection ends after a
    thousand pings, pongs and parts of a message within a minute and without a whole message.

    Mutable state: ``_parts``, the count of these frames since the event loop's time ``_since``.
    """

    _parts = 0
    _since = 0.0

    def data_received(self, data: bytes) -> None:
        for begin in range(0, len(data), _FRAMES_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + _FRAMES_BYTES])

    def handle_cont(self, event: Frame) -> None:
        self._bound_parts()
        super().handle_cont(event)

    def handle_ping(self) -> None:
        self._bound_parts()
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        self._bound_parts()
        super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        self._parts = 0
        super().send_receive_event_to_app()

    def _bound_parts(self) -> None:
        if (now := self.loop.time()) - self._since > _PARTS_SECONDS:
            self._parts, self._since = 0, now
        self._parts += 1
        if self._parts > _MOST_PARTS:
            self.transport.abort()


def _configuration(services: Services, notifier: Notifier) -> uvicorn.Config:
    app = create_app(services, notifier)
    if services.at_work is not None:
        app = WhileAtWork(app, services.at_work)
    return configuration(
        app,
        grace_seconds=_GRACE_SECONDS,
        lifespan="on",
        ws=WebSocketProtocol,
        ws_max_size=CLIENT_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PONG_SECONDS,
    )


def _stop(service: Service, notifier: Notifier) -> None:
    _log.info("told to stop")
    service.tell(STOPPING)
    notifier.close()  # otherwise the shutdown would wait for pages with an event stream


def _listener(loaded: LoadedSettings, service: Service) -> socket.socket:
    given = service.listeners()
    usable = [each for each in given if each.family in (socket.AF_INET, socket.AF_INET6)]
    for other in given:
        if other is not next(iter(usable), None):
            other.close()
    if given and not usable:
        raise InvalidInput(
            "The service manager listens on no TCP port for the hub.",
            hint="Give mograder-hub.socket one ListenStream=ADDRESS:PORT.",
        )
    return usable[0] if usable else bind(loaded.settings.hub.host, loaded.settings.hub.port)


def _url(loaded: LoadedSettings, listener: socket.socket) -> str:
    hub = loaded.settings.hub
    host, port = listener.getsockname()[:2]
    shown = LOOPBACK if host == "0.0.0.0" else "[::1]" if ":" in host else host  # noqa: S104
    return f"{hub.public_url or f'http://{shown}:{port}'}{hub.base_url}/"


def _greet(services: Services, url: str, first: str) -> None:
    """Print what is served and where; ``first`` is the page that the reader has to open."""
    title = services.loaded.settings.title or services.loaded.course_dir.name
    confined = "in a sandbox" if services.sandboxed else "WITHOUT A SANDBOX"
    sys.stdout.write(
        f"Hub for {title}: {url}\nStudent code runs {confined}. Press Ctrl+C to stop.\n"
    )
    if first != url:
        sys.stdout.write(f"Sign in as the instructor, once within 15 minutes: {first}\n")
    sys.stdout.flush()  # output to a journal or a file is buffered
