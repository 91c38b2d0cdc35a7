"""A node without sandboxes: the real wire and control protocol, one tiny server for all sessions.

``python -m tests.support.fake_node_program TOKEN NAME DIRECTORY`` joins the hub of a token and
serves until it is stopped, with the messages of a real node at work: a status every two seconds,
and each second the use of a tenth of its sessions, as that of idle ones changes. Each session
checks twice a minute while DIRECTORY has a file ``checks`` with a number: so many checks run each
time. While it has a file ``full`` with a number, the node carries out no start.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from aiohttp import WSMsgType, web

from mograder import __version__
from mograder.auth.node_tokens import NodeToken
from mograder.sandbox.message import Message
from mograder.sandbox.node_messages import GrantLease, NodeStatus, PrepareEnvironment
from mograder.sandbox.nodes.joining import join
from mograder.sandbox.nodes.node_dialer import NodeDialer
from mograder.sandbox.protocol import (
    CALL,
    Arrived,
    Call,
    Checked,
    Done,
    Ended,
    Failed,
    Hello,
    ListSessions,
    Measured,
    SessionChecks,
    SessionInfo,
    SessionUse,
    StartSession,
    StopSession,
    encode,
)

MIB = 1 << 20
_STATUS_SECONDS = 2.0
_MEASURED_SECONDS = 1.0
_CHANGING = 10
"""One of so many sessions has used a hundredth of a second more each second."""
_SESSION_MIB = 60
_CHECKED_SECONDS, _CHECK_ROUND = 0.2, 150
"""The pause between two messages about checks; after so many, each session has checked once."""
LABELS = tuple(f"Q{number}: a question" for number in range(10))
"""The checks of a notebook."""
_STATUSES = ("success", "partial", "danger", "warn")


@dataclass
class FakeNode:
    """A node's state; it may be connected to several hubs.

    ``grants`` counts the leases that were granted. With ``drain_seconds`` set it is draining. It
    carries out no start while the number in the file ``full`` is above 0.
    """

    name: str
    memory: int = 64 << 30
    processors: int = 32
    sessions: dict[str, StartSession] = field(default_factory=dict)
    environments: set[str] = field(default_factory=set)
    draining: bool = False
    drain_seconds: float | None = None
    grants: int = 0
    full: Path = Path("/nonexistent")

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._seconds = itertools.count()
        self._cpu: dict[str, float] = {}
        self._hubs: set[asyncio.StreamWriter] = set()

    async def serve(
        self, hub: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer a hub's calls until its connection ends."""
        self._hubs.add(writer)
        try:
            while line := await reader.readline():
                call = CALL.validate_json(line)
                writer.write(encode(self._answer(call)))
                if isinstance(call.operation, StartSession):
                    self.tell(Arrived(session_id=call.operation.session_id, warm=True))
        finally:
            self._hubs.discard(writer)

    async def report(self) -> None:
        """Send the status every two seconds and the uses each second, until cancelled."""
        for second in itertools.count():
            if second % _STATUS_SECONDS == 0:
                self.tell(self.status())
            self._measure()
            await asyncio.sleep(_MEASURED_SECONDS)

    async def report_checks(self, wanted: Path) -> None:
        """Report the checks of each session twice a minute while a file exists, until cancelled."""
        for turn in itertools.count():
            await asyncio.sleep(_CHECKED_SECONDS)
            count = await asyncio.to_thread(_number_in, wanted)
            due = itertools.islice(self.sessions, turn % _CHECK_ROUND, None, _CHECK_ROUND)
            found = tuple(_checks(each, turn, count) for each in due if count)
            if found:
                self.tell(Checked(sessions=found))

    def status(self) -> NodeStatus:
        """Return the present status."""
        return NodeStatus(
            number=next(self._numbers),
            memory=self.memory,
            used=len(self.sessions) * _SESSION_MIB * MIB,
            processors=self.processors,
            load=len(self.sessions) / 100,
            starts=0 if _number_in(self.full) else 2 * self.processors,
            environments=tuple(sorted(self.environments)),
            zygotes=tuple(sorted(self.environments)),
            sessions=tuple(self.sessions),
            draining=self.draining,
            drain_seconds=self.drain_seconds,
        )

    def tell(self, message: Message) -> None:
        """Send a message to every hub."""
        for writer in self._hubs:
            writer.write(encode(message))

    def end(self, session_id: str, *, asked: bool = False) -> bool:
        """End a session; return false if there was none."""
        if self.sessions.pop(session_id, None) is None:
            return False
        self._cpu.pop(session_id, None)
        self.tell(Ended(session_id=session_id, status=0, log_tail="", asked=asked))
        return True

    def _measure(self) -> None:
        turn = next(self._seconds)
        uses = []
        for number, session_id in enumerate(self.sessions):
            if (number + turn) % _CHANGING == 0:
                self._cpu[session_id] = self._cpu.get(session_id, 1.0) + 0.01
                cpu = round(self._cpu[session_id], 2)
                memory = _SESSION_MIB * MIB
                uses.append(SessionUse(session_id=session_id, memory=memory, cpu=cpu, processes=6))
        if uses:
            self.tell(Measured(sessions=tuple(uses), overhead=200 * MIB))

    def _answer(self, call: Call) -> Done | Failed:
        operation = call.operation
        match operation:
            case Hello():
                return Done(id=call.id, version=__version__, sandbox="bubblewrap")
            case GrantLease():
                self.grants += 1
                return Done(id=call.id)
            case StartSession():
                self.sessions[operation.session_id] = operation
                return Done(id=call.id, sessions=(_info(operation.session_id),))
            case StopSession():
                return Done(id=call.id, stopped=self.end(operation.session_id, asked=True))
            case ListSessions():
                return Done(id=call.id, sessions=tuple(map(_info, self.sessions)))
            case PrepareEnvironment():
                self.environments.add(operation.key)
                return Done(id=call.id, warm=operation.warm, environments=(Path(operation.key),))
            case _:
                return Done(id=call.id)


def _number_in(path: Path) -> int:
    """Return the number in a file, 0 without a file."""
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0


def _checks(session_id: str, turn: int, count: int) -> SessionChecks:
    """Return what ``count`` checks of a notebook say, as the runtime writes it."""
    lines = []
    first = turn // _CHECK_ROUND
    for number in range(first, first + count):
        label = LABELS[number % len(LABELS)]
        status = _STATUSES[(turn + number) % len(_STATUSES)]
        record = {"label": label, "status": status, "earned": 0.5, "total": 2.0}
        lines.append(json.dumps(record))
    return SessionChecks(session_id=session_id, reports=tuple(lines))


def _info(session_id: str) -> SessionInfo:
    return SessionInfo(session_id=session_id, socket=Path("/node") / f"{session_id}.sock")


def session_server() -> web.Application:
    """Return the server of all sessions: it is healthy, has no pages, and echoes on WebSockets."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
            return socket
        if request.path.endswith("/api/status/connections"):
            return web.json_response({"active": 0})
        return web.json_response({"status": "healthy"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def serve_sessions(path: Path) -> Callable[[], Awaitable[None]]:
    """Serve the sessions at a Unix socket; return the function that ends this."""
    runner = web.AppRunner(session_server(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    return runner.cleanup


async def run(token: str, name: str, directory: Path) -> None:
    """Join, and serve the hubs until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    path = directory / f"{name}.sock"
    close = await serve_sessions(path)
    identity = await join(NodeToken.parse(token), name)
    node = FakeNode(name, full=directory / "full")

    def socket_of(session_id: str) -> Path | None:
        return path if session_id in node.sessions else None

    dialer = NodeDialer(identity, node.serve, socket_of)
    dialer.connect_to(identity.hubs)
    reports = (node.report(), node.report_checks(directory / "checks"))
    reporting = [asyncio.create_task(each) for each in reports]
    await ended.wait()
    for task in reporting:
        task.cancel()
    await asyncio.gather(*reporting, return_exceptions=True)
    await dialer.close()
    await close()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
