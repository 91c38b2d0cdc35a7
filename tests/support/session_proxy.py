"""A hub that is only its session proxy, with real servers and real sockets around it.

Real: uvicorn, the context, the services of :func:`tests.support.hub_app.make_hub` and the
upstream server on its Unix socket. A fake: the pool.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.auth.credentials import COOKIE, Login, Role, make_cookie, make_token
from mograder.hub.services import Services
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.web.context import ContextMiddleware
from mograder.web.hub.app import Dispatcher
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.proxy.replies import FramePages
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.hub.proxy.upstream import Allowances
from mograder.web.hub.proxy.websocket_relay import CLIENT_MESSAGE_BYTES
from mograder.web.hub.server import WebSocketProtocol
from mograder.web.pages import load_pages
from mograder.web.serving import KEPT_SECONDS, HttpProtocol
from tests.support.hub_app import SECRET, FakeSession, Hub, make_hub

POLICY = (
    "sandbox allow-scripts allow-forms allow-modals allow-popups "
    "allow-popups-to-escape-sandbox allow-downloads"
)
"""What each answer of a session has, which gives its page an origin of its own."""
DOCUMENT = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
"""The Sec-Fetch headers of a browser's tab."""
FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
"""The Sec-Fetch headers of the frame in it."""
FRAMES = FramePages(load_pages(), "Numerical Experiments")
"""Renders the hub's page around a session's page."""
_ALLOWANCES = Allowances()


@dataclass
class Rig:
    """A running proxy at ``url``, the parts of its hub, and the servers of its sessions."""

    url: str
    hub: Hub
    traffic: ProxyCounters
    visits: list[Event] = field(default_factory=list)
    upstreams: list[asyncio.Server] = field(default_factory=list)

    @property
    def services(self) -> Services:
        return self.hub.services

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def session(
        self, path: Path, *, user: str = "alice", item: str = "A1", mode: Mode = Mode.EDIT
    ) -> FakeSession:
        return self.hub.start(user, item, mode, server=path)

    def stop(self, session: FakeSession) -> None:
        self.hub.end(session.key.user, session.key.item, EndReason.STOPPED, session.key.mode)

    async def raw(self, answer: Callable[[bytes], bytes]) -> FakeSession:
        """Add a session whose server writes these bytes once per connection."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(head))
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        path = self.hub.course / f"{secrets.token_hex(4)}.sock"
        self.upstreams.append(await asyncio.start_unix_server(serve, path))
        return self.session(path)


def cookie(username: str, *, role: Role = Role.STUDENT, login_id: str = "") -> dict[str, str]:
    """Return the header of a signed-in person."""
    login = Login(username, role, login_id or f"login-of-{username}-{'x' * 12}", _now(), 0)
    return {"Cookie": f"theme=dark; {COOKIE}={make_cookie(SECRET, login)}"}


def bearer(username: str, role: Role = Role.STUDENT) -> dict[str, str]:
    """The header of an API client."""
    return {"Authorization": f"Bearer {make_token(SECRET, username, role)}"}


def a_hub(directory: Path, toml: str = "") -> Hub:
    """A hub without pages whose clock shows the time of :func:`cookie` and :func:`bearer`."""
    made = make_hub(directory, '[hub]\ninstructors = ["prof"]\n' + toml, app=lambda _: _own)
    made.clock.advance((datetime.now(UTC) - made.clock.now()).total_seconds() + 1)
    return made


@asynccontextmanager
async def running_rig(
    *,
    toml: str = "",
    answer_seconds: float = 20,
    base_url: str = "",
    allowances: Allowances = _ALLOWANCES,
    port: int = 0,
) -> AsyncIterator[Rig]:
    """Serve a proxy on a free loopback port until the end of the block, or on this one.

    It also answers a front's authorisation requests. Connections of its sessions, whose servers
    are in this process, are closed as the supervisor closes those of its sandboxes.
    """
    with tempfile.TemporaryDirectory(prefix="rig-") as name:
        hub = a_hub(Path(name), toml)
        traffic = ProxyCounters()
        visits: list[Event] = []

        async def on_visit(event: Event) -> None:
            visits.append(event)

        proxy = SessionProxy(
            hub.services,
            traffic,
            FRAMES,
            answer_seconds=answer_seconds,
            allowances=allowances,
            on_visit=on_visit,
        )
        app = ContextMiddleware(
            Dispatcher(proxy, proxy, _own),
            base_url=base_url,
            public_url="",
            trusts=hub.services.policy.trusts,
        )
        listening = socket.create_server(("127.0.0.1", port))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        rig = Rig(url, hub, traffic, visits)
        # The server ends first: a page that reconnects meanwhile would open new connections.
        async with _closing(proxy, rig), served(app, listening):
            yield rig


async def _own(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the requests of the page around a session's: its files and a healthy state."""
    path = scope["path"]
    found = FRAMES.pages.static.by_name.get(path.rpartition("/")[2])
    if found is not None:
        answer = Response(found.body, media_type=found.media_type)
    elif "/standing/" in path:
        answer = Response('{"state": "running"}', media_type="application/json")
    elif path.endswith("/events"):
        answer = Response("retry: 600000\n\n", media_type="text/event-stream")
    else:
        answer = Response(status_code=404)
    await answer(scope, receive, send)


@asynccontextmanager
async def _closing(proxy: SessionProxy, rig: Rig) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await proxy.aclose()
        for upstream in rig.upstreams:
            upstream.close()
        rig.hub.close()


@asynccontextmanager
async def served_on_unix(app: ASGIApp) -> AsyncIterator[Path]:
    """Serve an app on a Unix socket, as a session's server is."""
    with tempfile.TemporaryDirectory(prefix="up-") as directory:
        path = Path(directory) / "s.sock"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(128)
        async with served(app, listening):
            yield path


@asynccontextmanager
async def served(app: ASGIApp, listening: socket.socket) -> AsyncIterator[None]:
    """Run uvicorn on a listening socket, with the options that the hub uses."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=CLIENT_MESSAGE_BYTES,
        timeout_keep_alive=KEPT_SECONDS,
        ws_per_message_deflate=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listening.close()


def _now() -> int:
    return int(datetime.now(UTC).timestamp())
