"""A hub in one process for tests: real stores in a temporary course, a pool without processes."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message

from mograder.auth.credentials import Role, make_token
from mograder.auth.identity import Authenticator, AuthPolicy, parse_networks
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.settings import load_settings
from mograder.grading.submissions.grading_jobs import Counts, GradingRequest
from mograder.grading.validate import Validations
from mograder.hub.capabilities import Capabilities
from mograder.hub.grading import make_grading
from mograder.hub.services import Services
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import Environment, Environments
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.admission import AdmissionQueue
from mograder.sessions.capacity import MemoryLedger
from mograder.sessions.check_reports import CheckReports
from mograder.sessions.connections import LocalConnections
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.counters import Counters
from mograder.sessions.end_reasons import Ending, EndReason
from mograder.sessions.launch_spec import Allowances
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey, Usage
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.course.sources import open_sources
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.hub.hub_state import CachedRevocations, HubState
from mograder.store.hub.hub_tables import SessionRow, SessionState
from mograder.store.releases.releases import ItemKind, Releases
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.versions import Versions
from mograder.web.hub.app import create_app
from mograder.web.hub.core.hub_app import HubApp
from tests.support.clock import ManualClock
from tests.support.notebooks import notebook
from tests.support.releases import publish
from tests.support.session_pools import terms

SECRET = "s" * 32
ORIGIN = "http://hub.test"
App = Callable[[Services], ASGIApp]
NOTEBOOK = notebook(
    "1 + 1",
)


@dataclass
class FakeSession:
    """The attributes of a live session that the hub reads; ``number`` counts sessions of a key."""

    key: SessionKey
    last_seen: datetime
    number: int = 1
    endpoint: Endpoint = Endpoint(Path("/nowhere"))  # noqa: RUF009 - frozen
    version: str = "1"
    connections: int = 0
    on_stop: list[Callable[[], None]] = field(default_factory=list)
    base_url: str = ""
    usage: Usage = field(default_factory=lambda: Usage(expected=0, born=0.0))

    @property
    def started_at(self) -> datetime:
        return self.last_seen

    @property
    def id(self) -> str:
        again = f"-{self.number}" if self.number > 1 else ""
        return f"{self.key.user}-{self.key.item}{again}"

    def __post_init__(self) -> None:
        path = f"{quote(self.key.user, safe='')}/{quote(self.key.item, safe='')}"
        self.base_url = f"/{self.key.mode.value}/user/{path}"


@dataclass
class FakePool:
    """The pool's port towards the routes, in memory; ``hold`` makes starts wait."""

    clock: Clock
    running: dict[SessionKey, FakeSession] = field(default_factory=dict)
    ended: dict[SessionKey, Ending] = field(default_factory=dict)
    tally: Counters = field(default_factory=Counters)
    started: list[SessionKey] = field(default_factory=list)
    failure: MograderError | None = None
    touches: int = 0
    hold: asyncio.Event | None = None
    starting: Counter[SessionKey] = field(default_factory=Counter)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    held_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a change of a copy waits for the start of its session."""
    say: Callable[[str], None] = lambda _: None
    """Sends progress to waiting requests while a start is held back."""
    checks: CheckReports = field(init=False)
    on_change: Callable[[SessionKey], None] = lambda _: None

    def __post_init__(self) -> None:
        self.checks = CheckReports(self.by_id, self.clock)  # type: ignore[arg-type]
        self.admission = AdmissionQueue(terms(), MemoryLedger(self.clock), self.tally, self.clock)

    async def get_or_start(self, key: SessionKey, progress: Callable[[str], None]) -> FakeSession:
        progress("Starting the notebook")
        self.say = progress
        self.reached.set()
        self.starting[key] += 1
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.starting[key] -= 1
        if self.failure is not None:
            raise self.failure
        if key not in self.running:
            self.started.append(key)
            self.running[key] = FakeSession(key, self.clock.now())
            self.ended.pop(key, None)
            self.on_change(key)
        return self.running[key]

    @asynccontextmanager
    async def without_session(self, key: SessionKey) -> AsyncIterator[None]:
        async with self._changing:
            while self.starting[key]:
                self.held_up.set()
                await asyncio.sleep(0.005)
            await self.stop(key)
            yield

    async def stop(self, key: SessionKey, reason: EndReason = EndReason.STOPPED) -> bool:
        session = self.running.pop(key, None)
        if session is not None:
            self.ended[key] = Ending(key, session.id, reason, self.clock.now())
            for callback in session.on_stop:
                callback()
            self.on_change(key)
        return session is not None

    def by_id(self, session_id: str) -> FakeSession | None:
        return next((each for each in self.running.values() if each.id == session_id), None)

    @property
    def history(self) -> FakePool:
        """It also has the endings."""
        return self

    def of_session(self, session_id: str) -> Ending | None:
        found = (each for each in self.ended.values() if each.session_id == session_id)
        return next(found, None)

    async def forget(self, key: SessionKey) -> None:
        self.ended.pop(key, None)

    def touch(self, session: FakeSession) -> None:
        self.touches += 1

    def heard(self, session: FakeSession) -> None:
        self.touches += 1

    @contextmanager
    def connected(self, session: FakeSession) -> Iterator[None]:
        session.connections += 1
        try:
            yield
        finally:
            session.connections -= 1

    async def pages_first(self, live: FakeSession, /) -> None:
        """Here is no crowd."""

    async def fetch(self, key: SessionKey) -> FakeSession | None:
        return self.find(key)

    def find(self, key: SessionKey) -> FakeSession | None:
        return self.running.get(key)

    def is_wanted(self, key: SessionKey) -> bool:
        return key in self.running or self.starting[key] > 0

    def all(self) -> list[FakeSession]:
        return list(self.running.values())

    def of_key(self, key: SessionKey) -> Ending | None:
        return self.ended.get(key)

    def of_user(self, user: str) -> list[Ending]:
        return [ending for ending in self.ended.values() if ending.key.user == user]

    def states(self) -> Counter[str]:
        return Counter(running=len(self.running))


class FakeEnvironments:
    """Builds nothing; a requirement called ``no-such-package`` fails like the installer does."""

    def __init__(self) -> None:
        self.problems: dict[Script, str] = {}
        self.known: dict[Script, Environment] = {}
        self.announced: list[Environment] = []

    def announce(self, environment: Environment) -> None:
        self.announced.append(environment)

    async def prepare(self, script: Script, progress: Callable[[str], None]) -> Environment:
        progress("Resolving")
        if any("no-such-package" in each for each in script.dependencies):
            self.problems[script] = "No solution found: no-such-package was not found."
            raise InvalidInput(self.problems[script])
        self.known[script] = Environment(Path("/environment"))
        return self.known[script]

    def ready(self, script: Script) -> Environment | None:
        return self.known.get(script)

    def building(self, script: Script) -> bool:
        return False

    def trouble(self, script: Script) -> str:
        return self.problems.get(script, "")


@dataclass
class FakeRuns:
    """Runs no notebook, but answers as arranged; ``hold`` makes it wait."""

    result: ExecutionResult = ExecutionResult(Outcome.FINISHED)  # noqa: RUF009  # frozen
    asked: list[ExecutionRequest] = field(default_factory=list)
    hold: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        self.asked.append(request)
        self.reached.set()
        request.begun()
        if self.hold is not None:
            await self.hold.wait()
        return self.result


@dataclass
class FakeBatch:
    """Grades nothing, but counts as arranged; ``hold`` makes it wait after each submission."""

    counts: tuple[Counts, ...] = (Counts(2, 1, 0), Counts(2, 2, 1))
    failure: Exception | None = None
    hold: asyncio.Event | None = None
    asked: list[tuple[str, GradingRequest]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None]
    ) -> Counts:
        self.asked.append((item, request))
        for counts in self.counts:
            progress(counts)
            self.reached.set()
            if self.hold is not None:
                await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return self.counts[-1]


@dataclass
class Hub:
    """The app, and the parts that a test arranges or looks at."""

    app: ASGIApp
    services: Services
    pool: FakePool
    clock: ManualClock
    course: Path
    engine: Engine
    runs: FakeRuns
    batch: FakeBatch = field(default_factory=FakeBatch)
    grades: list[StudentGrade] = field(default_factory=list)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @asynccontextmanager
    async def client(
        self, user: str = "", *, role: Role = Role.STUDENT, browser: bool = False
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A person who sends requests: signed in by a bearer token, or not at all."""
        headers = {"Authorization": f"Bearer {make_token(SECRET, user, role)}"} if user else {}
        if browser:
            headers["Accept"] = "text/html,application/xhtml+xml"
        transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 5000))
        url = self.services.loaded.settings.hub.public_url or ORIGIN
        async with httpx.AsyncClient(transport=transport, base_url=url, headers=headers) as client:
            yield client

    def publish(
        self, name: str, kind: ItemKind = ItemKind.ASSIGNMENT, files: dict[str, bytes] | None = None
    ) -> None:
        """Put a release in place without asking the hub."""
        own = {f"{name}.py": NOTEBOOK.encode(), **(files or {})}
        publish(self.services.releases, own, name, kind)

    def start(
        self,
        user: str,
        item: str,
        mode: Mode = Mode.EDIT,
        *,
        server: Path | None = None,
        number: int = 1,
    ) -> FakeSession:
        """Have a session running; with the socket of its server its page can be opened."""
        key, now = SessionKey(user, item, mode), self.clock.now()
        session = self.pool.running[key] = FakeSession(key, now, number)
        if server is not None:
            session.endpoint = Endpoint(server)
            place, running = str(server), SessionState.RUNNING
            row = SessionRow(session.id, user, item, mode, running, place, "1", "", now)
            self.services.state.add_session(row)
        self.pool.on_change(key)
        return session

    def end(
        self, user: str, item: str, reason: EndReason, mode: Mode = Mode.EDIT, detail: str = ""
    ) -> None:
        key = SessionKey(user, item, mode)
        session = self.pool.running.pop(key, None)
        known = session.id if session else f"{user}-{item}"
        self.pool.ended[key] = Ending(key, known, reason, self.clock.now(), detail)
        if session is not None:
            self.services.state.remove_session(session.id)
        for callback in session.on_stop if session else ():
            callback()
        self.pool.on_change(key)

    def audit(self) -> list[tuple[str, str, str, str]]:
        """Return the audit log, oldest first: user, action, subject, outcome."""
        rows = self.services.state.recent_audit(1000)
        return [(row.who, row.action, row.what, row.outcome) for row in reversed(rows)]


@cache
def new_database() -> bytes:
    """Return an SQLite file with the hub's tables, which take as long to make as most tests."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "hub.db"
        engine = open_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        return path.read_bytes()


def _database(path: Path) -> Engine:
    if not path.exists():
        path.write_bytes(new_database())
    return open_engine(f"sqlite:///{path}")


def make_hub(course: Path, toml: str = "", *, dev: bool = False, app: App = create_app) -> Hub:
    """Build a hub on an empty course directory."""
    course.mkdir(parents=True, exist_ok=True)
    (course / "mograder.toml").write_text(toml or 'title = "Numerics"\n')
    loaded = load_settings(course, environ={})
    clock = ManualClock()
    engine = _database(course / "hub.db")
    state = HubState(engine)
    revocations = CachedRevocations(state, clock)
    policy = AuthPolicy(
        secret=SECRET,
        trusted_header=loaded.settings.hub.trusted_header,
        trusted=parse_networks(["127.0.0.1"]),
        dev=dev,
        instructors=frozenset(loaded.settings.hub.instructors),
        markers=frozenset(loaded.settings.marking.markers),
    )
    pool, runs, batch = FakePool(clock), FakeRuns(), FakeBatch()
    grades: list[StudentGrade] = []
    grading = replace(
        make_grading(loaded, state, clock, batch, open_sources(loaded, clock)),
        grades=lambda item: [each for each in grades if each.assignment == item],
    )
    releases = Releases(course / "hub-release")
    workspaces = Workspaces(course / "hub-notebooks")
    services = Services(
        loaded=loaded,
        clock=clock,
        secret=SECRET,
        authenticator=Authenticator(policy, revocations, clock),
        policy=policy,
        roster=Allowlist(course / "allowed_users.txt"),
        releases=releases,
        workspaces=workspaces,
        recorder=CopyRecorder(Versions(engine), KeptReleases(engine), workspaces, releases, clock),
        state=state,
        revocations=revocations,
        environments=cast(Environments, FakeEnvironments()),
        pool=cast(SessionManager, pool),
        capabilities=Capabilities(state, clock),
        allowances=Allowances(Releases(course / "hub-release")),
        validations=Validations(runs.execute),
        grading=grading,
        sandboxed=True,
        dev=dev,
        attended=_attended,
        connections=LocalConnections(),
    )
    return Hub(app(services), services, pool, clock, course, engine, runs, batch, grades)


async def _attended() -> bool:
    return True


def opened(app: object) -> HubApp:
    """Return the object of an app, which a request would get."""
    context: Any = app
    found: HubApp = context._app._own._app
    return found


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """Start and stop an app as a server does; it closes its connections at the stop."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    yield
    await inbox.put({"type": "lifespan.shutdown"})
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
    await serving


@contextmanager
def built_hub(course: Path, toml: str = "", *items: str) -> Iterator[Hub]:
    """A hub that answers and does nothing by itself, with these assignments."""
    made = make_hub(course, toml)
    try:
        for item in items:
            made.publish(item)
        yield made
    finally:
        made.close()


class HubOf(Protocol):
    """Builds the hub of a test, which is closed at the test's end."""

    def __call__(self, toml: str = "", *items: str) -> Hub: ...


@pytest.fixture
def hub_of(tmp_path: Path) -> Iterator[HubOf]:
    """Builds the hub of the test from its settings and the names of its assignments."""
    with ExitStack() as stack:
        yield lambda toml="", *items: stack.enter_context(
            built_hub(tmp_path / "course", toml, *items)
        )


@asynccontextmanager
async def running_hub(course: Path, toml: str = "", *items: str) -> AsyncIterator[Hub]:
    """A hub that serves, with these assignments."""
    with built_hub(course, toml, *items) as made:
        async with running(made.app):
            yield made


@asynccontextmanager
async def open_hub(course: Path, more: str = "") -> AsyncIterator[Hub]:
    """A hub with two assignments, a lecture and a demo; ``prof`` instructs, ``marta`` marks.

    ``more`` are further sections of its settings.
    """
    toml = 'title = "Numerics"\n[hub]\ninstructors = ["prof"]\n[marking]\nmarkers = ["marta"]\n'
    with built_hub(course, toml + more) as made:
        made.publish("A1", files={"data.csv": b"x,y\n1,2\n"})
        made.publish("A2")
        made.publish("L01", ItemKind.LECTURE)
        made.publish("D1", ItemKind.DEMO)
        async with running(made.app):
            yield made


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """The hub of :func:`open_hub`, in a directory of its test."""
    async with open_hub(tmp_path / "course") as hub:
        yield hub


def events(response: httpx.Response) -> list[dict[str, object]]:
    """The JSON lines of a progress stream."""
    return [json.loads(line) for line in response.text.splitlines()]
