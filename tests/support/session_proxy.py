"""A hub that is only its session proxy, with real servers and real sockets around it.

Real: uvicorn, the context, authentication, settings, capabilities, the upstream server on its
Unix socket. Fakes: the pool (a dictionary that counts) and the table of capabilities (a list).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.auth.cookies import COOKIE, Login, make_cookie
from mograder.auth.identity import Authenticator, AuthPolicy, is_trusted, parse_networks
from mograder.auth.roles import Role
from mograder.auth.tokens import make_token
from mograder.core.clock import SystemClock
from mograder.core.settings import LoadedSettings, load_settings
from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.connections import Connections, LocalConnections
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.end_reasons import Ending, EndReason
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.copies.workspaces import Workspaces
from mograder.store.database.database import open_engine, upgrade
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import CapabilityRow
from mograder.store.releases.releases import Releases
from mograder.store.versions.versions import Versions
from mograder.web.context import ContextMiddleware
from mograder.web.hub.app import Dispatcher
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.capabilities import Capabilities
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.core.services import Services
from mograder.web.hub.proxy.frame_page import FramePages
from mograder.web.hub.proxy.rate_limit import Allowances
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.serving import KEPT_SECONDS
from mograder.web.templating import load_pages
from mograder.web.uvicorn_protocol import HttpProtocol

SECRET = "a secret of the tests, long enough"
DOCUMENT = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
"""The Sec-Fetch headers of a browser's tab."""
FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
"""The Sec-Fetch headers of the frame in it."""
FRAMES = FramePages(load_pages(), "Numerical Experiments")
"""Renders the hub's page around a session's page."""
_ALLOWANCES = Allowances()
_LOCAL = LocalConnections()


@dataclass
class FakePool:
    """Sessions in a dictionary; counts the proxy's calls about them."""

    live: dict[SessionKey, LiveSession] = field(default_factory=dict)
    ended: dict[str, Ending] = field(default_factory=dict)
    touches: int = 0

    def find(self, key: SessionKey) -> LiveSession | None:
        return self.live.get(key)

    def by_id(self, session_id: str) -> LiveSession | None:
        return next((each for each in self.live.values() if each.id == session_id), None)

    def touch(self, session: LiveSession) -> None:
        self.touches += 1

    @contextmanager
    def connected(self, session: LiveSession) -> Iterator[None]:
        session.connections += 1
        try:
            yield
        finally:
            session.connections -= 1

    async def pages_first(self, live: LiveSession, /) -> None:
        """Here is no crowd."""

    def add(self, user: str, item: str, mode: Mode, path: Path) -> LiveSession:
        now = datetime(2026, 9, 1, tzinfo=UTC)
        session = LiveSession(
            id=secrets.token_hex(4),
            key=SessionKey(user, item, mode),
            endpoint=Endpoint(path),
            base_url=f"/{mode}/user/{user}/{item}",
            version="1",
            started_at=now,
            last_seen=now,
        )
        self.live[session.key] = session
        return session

    def stop(
        self, session: LiveSession, reason: EndReason = EndReason.STOPPED, detail: str = ""
    ) -> None:
        del self.live[session.key]
        at = datetime(2026, 9, 1, tzinfo=UTC)
        self.ended[session.id] = Ending(session.key, session.id, reason, at, detail)
        for callback in session.on_stop:
            callback()


class FakeCapabilityTable(HubState):
    """The database's table of capabilities, as a list."""

    def __init__(self) -> None:
        self.rows: list[CapabilityRow] = []

    def add_capability(self, row: CapabilityRow) -> None:
        self.rows.append(row)

    def remove_capabilities(
        self,
        *,
        login_id: str | None = None,
        username: str | None = None,
    ) -> int:
        before = len(self.rows)
        self.rows = [row for row in self.rows if login_id != row.login_id]
        return before - len(self.rows)

    def capabilities(self) -> tuple[CapabilityRow, ...]:
        return tuple(self.rows)

    def capability(self, cap_hash: str) -> CapabilityRow | None:
        return next((row for row in self.rows if row.cap_hash == cap_hash), None)


@dataclass
class FakeRoster:
    """All students are enrolled except those listed."""

    kept_out: set[str] = field(default_factory=set)

    def allows(self, username: str, role: Role) -> bool:
        return username not in self.kept_out


@dataclass
class FakeRevocations:
    """Logins that signed out; no tokens are revoked."""

    logins: set[str] = field(default_factory=set)

    def epoch(self, username: str) -> int:
        return 0

    def login_revoked(self, login_id: str) -> bool:
        return login_id in self.logins


@dataclass
class FakeLeave:
    """The features that instructors allow, the same for every item."""

    features: set[str] = field(default_factory=set)

    async def allows(self, item: str, feature: str) -> bool:
        return feature in self.features


@dataclass
class RigServices:
    """The part of the hub's services that the proxy sees."""

    loaded: LoadedSettings
    policy: AuthPolicy
    authenticator: Authenticator
    roster: FakeRoster
    revocations: FakeRevocations
    pool: FakePool
    capabilities: Capabilities
    allowances: FakeLeave = field(default_factory=FakeLeave)
    secret: str = SECRET
    connections: Connections = field(default_factory=LocalConnections)

    @cached_property
    def recorder(self) -> CopyRecorder:
        """A real one, made when something is saved: it needs a database."""
        place = self.loaded.course_dir
        (place / "versions.db").write_bytes(new_database())
        engine = open_engine(f"sqlite:///{place / 'versions.db'}")
        workspaces, releases = Workspaces(place / "copies"), Releases(place / "releases")
        return CopyRecorder(Versions(engine), workspaces, releases, SystemClock())

    @property
    def as_services(self) -> Services:
        """The same object, with the type that the proxy takes."""
        return cast(Services, self)


@cache
def new_database() -> bytes:
    """Return an SQLite file with the hub's tables, which take as long to make as most tests."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "versions.db"
        engine = open_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        return path.read_bytes()


@dataclass
class Rig:
    """A running proxy at ``url``, its sessions and their servers."""

    url: str
    services: RigServices
    table: FakeCapabilityTable
    directory: Path
    traffic: ProxyCounters
    visits: list[Event] = field(default_factory=list)
    upstreams: list[asyncio.Server] = field(default_factory=list)

    @property
    def pool(self) -> FakePool:
        return self.services.pool

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def session(
        self, path: Path, *, user: str = "alice", item: str = "A1", mode: Mode = Mode.EDIT
    ) -> LiveSession:
        return self.pool.add(user, item, mode, path)

    async def raw(self, answer: Callable[[bytes], bytes]) -> LiveSession:
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

        path = self.directory / f"{secrets.token_hex(4)}.sock"
        self.upstreams.append(await asyncio.start_unix_server(serve, path))
        return self.session(path)


def cookie(username: str, *, role: Role = Role.STUDENT, login_id: str = "") -> dict[str, str]:
    """Return the header of a signed-in person."""
    login = Login(username, role, login_id or f"login-of-{username}-{'x' * 12}", _now(), 0)
    return {"Cookie": f"theme=dark; {COOKIE}={make_cookie(SECRET, login)}"}


def bearer(username: str, role: Role = Role.STUDENT) -> dict[str, str]:
    """The header of an API client."""
    return {"Authorization": f"Bearer {make_token(SECRET, username, role)}"}


def services(
    directory: Path,
    overrides: dict[str, object] | None = None,
    connections: Connections = _LOCAL,
) -> RigServices:
    """Build the services around a pool without sessions."""
    peers = parse_networks(["127.0.0.0/8"])
    policy = AuthPolicy(SECRET, "X-Remote-User", peers.networks, False, False, frozenset({"prof"}))
    revocations = FakeRevocations()
    clock = SystemClock()
    return RigServices(
        loaded=load_settings(directory, overrides=overrides or {}, environ={}),
        policy=policy,
        authenticator=Authenticator(policy, revocations, clock),
        roster=FakeRoster(),
        revocations=revocations,
        pool=FakePool(),
        capabilities=Capabilities(FakeCapabilityTable(), clock),
        connections=connections,
    )


@asynccontextmanager
async def running_rig(
    *,
    overrides: dict[str, object] | None = None,
    answer_seconds: float = 20,
    base_url: str = "",
    allowances: Allowances = _ALLOWANCES,
    port: int = 0,
    connections: Connections = _LOCAL,
) -> AsyncIterator[Rig]:
    """Serve a proxy on a free loopback port until the end of the block, or on this one.

    It also answers a front's authorisation requests. Connections of its sessions, whose servers
    are in this process, are closed as the supervisor closes those of its sandboxes.
    """
    with tempfile.TemporaryDirectory(prefix="rig-") as name:
        directory = Path(name)
        made = services(directory, overrides, connections)
        table = FakeCapabilityTable()
        made.capabilities = Capabilities(table, SystemClock())
        traffic = ProxyCounters()
        visits: list[Event] = []

        async def on_visit(event: Event) -> None:
            visits.append(event)

        proxy = SessionProxy(
            made.as_services,
            traffic,
            FRAMES,
            answer_seconds=answer_seconds,
            allowances=allowances,
            on_visit=on_visit,
        )
        peers = parse_networks(["127.0.0.0/8"])
        policy = AuthPolicy(SECRET, "X-Remote-User", peers.networks, False, False, frozenset())
        trusts = partial(is_trusted, policy)
        app = ContextMiddleware(
            Dispatcher(proxy, proxy, _own),
            base_url=base_url,
            public_url="",
            trusts=trusts,
        )
        listening = socket.create_server(("127.0.0.1", port))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        rig = Rig(url, made, table, directory, traffic, visits)
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
        ws="websockets-sansio",
        ws_max_size=2**28,
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
