"""A node as a process with real sandboxes, and a hub's end that grants its leases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.sandbox.nodes.node_config import NodeConfig
from mograder.sandbox.protocol import (
    Ended,
    GrantLease,
    Mode,
    News,
    NodeStatus,
    StartSession,
    Subscribe,
)
from mograder.sessions.nodes.node_link import NodeLink
from tests.support.course import REPOSITORY
from tests.support.node_wire import WireHub
from tests.support.supervisors import LIMITS, PATIENCE, make_config, shell_environment


@dataclass
class LeasingHub:
    """The hub's end of one node: it answers each status by a lease until :attr:`silent`."""

    link: NodeLink
    seconds: float = 12.0
    silent: bool = False
    draining: bool = False
    uid: int | None = None
    ended: dict[str, Ended] = field(default_factory=dict)
    statuses: list[NodeStatus] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _grants: set[asyncio.Task[None]] = field(default_factory=set)

    def watch(self) -> None:
        """Hear the node's news from now on."""
        self.link.connection.watch(self._hear_end, self.lost.set, self._hear)

    async def status(self) -> NodeStatus:
        """Wait for the next status, and for the lease that answers it."""
        count = len(self.statuses)
        async with asyncio.timeout(PATIENCE):
            while len(self.statuses) == count:
                self._changed.clear()
                await self._changed.wait()
            if self._grants:
                await asyncio.wait(self._grants)
        return self.statuses[-1]

    async def status_with(self, holds: Callable[[NodeStatus], bool]) -> NodeStatus:
        """Wait for a status that says something; those before it may be on their way already."""
        async with asyncio.timeout(PATIENCE):
            while not holds(status := await self.status()):
                pass
        return status

    async def outcome(self, session_id: str) -> Ended:
        """Wait for the end of a session."""
        async with asyncio.timeout(PATIENCE):
            while session_id not in self.ended:
                self._changed.clear()
                await self._changed.wait()
        return self.ended[session_id]

    def _hear_end(self, news: Ended) -> None:
        self.ended[news.session_id] = news
        self._changed.set()

    def _hear(self, news: News) -> None:
        if not isinstance(news, NodeStatus):
            return
        self.statuses.append(news)
        if not self.silent:
            task = asyncio.create_task(self._grant(news.number))
            self._grants.add(task)
            task.add_done_callback(self._grants.discard)
        self._changed.set()

    async def _grant(self, number: int) -> None:
        grant = GrantLease(
            number=number,
            seconds=self.seconds,
            draining=self.draining,
            uid=self.uid,
        )
        with contextlib.suppress(MograderError):
            await self.link.connection.call(grant)


async def next_hub(wire: WireHub, seconds: float = 12.0) -> LeasingHub:
    """The hub's end of the next node that connects, once that holds a lease."""
    link = await wire.next_link()
    while not link.alive:  # the node has given it up, since nobody answered
        link = await wire.next_link()
    hub = LeasingHub(link, seconds=seconds)
    hub.watch()
    await hub.link.connection.call(Subscribe())
    await hub.status()
    return hub


def node_config_of(runtime: Path, place: Path, **choices: object) -> NodeConfig:
    """A node in ``place`` whose share is ``place/share``."""
    share = place / "share"
    share.mkdir(exist_ok=True)
    (place / "state").mkdir(exist_ok=True)
    known: dict[str, object] = {
        "state": place / "state",
        "shares": (share.resolve(),),
        "supervisor": make_config(runtime, place),
        "memory": 1 << 30,
        "starts": 2,
        "drain_seconds": 5.0,
        "build_seconds": 60.0,
    }
    return NodeConfig(**{**known, **choices})  # type: ignore[arg-type]


@dataclass(frozen=True)
class RunningNode:
    """A node as a process, and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    def leave(self, *, hurry: bool) -> None:
        """Ask it to end, by the signal of its engine or of ``mograder node drain``."""
        self.process.send_signal(signal.SIGTERM if hurry else signal.SIGUSR1)


@asynccontextmanager
async def node_agent(config: NodeConfig, wire: WireHub, name: str) -> AsyncIterator[RunningNode]:
    """A node at work; all of it has ended afterwards."""
    rest = {
        "hub": wire.url,
        "secret": wire.token(name).secret,
        "state": str(config.state),
        "shares": [str(each) for each in config.shares],
        "memory": config.memory,
        "starts": config.starts,
        "drain_seconds": config.drain_seconds,
        "build_seconds": config.build_seconds,
    }
    program = [sys.executable, "-m", "tests.support.node_program"]
    arguments = [config.supervisor.model_dump_json(), json.dumps(rest)]
    log = config.state / "node.log"
    with log.open("wb") as output:
        command = [*program, *arguments]
        process = await asyncio.to_thread(subprocess.Popen, command, stderr=output, cwd=REPOSITORY)
    try:
        yield RunningNode(process, log)
    finally:
        process.terminate()
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


def start_request(config: NodeConfig, name: str, script: str, **changes: object) -> StartSession:
    """A request as a hub makes it: a directory on the share, an environment by its name."""
    (share,) = config.shares
    workspace = share / f"workspace-{name}"
    workspace.mkdir(exist_ok=True)
    (workspace / "A1.py").write_text("# a notebook\n")
    config.environments.mkdir(exist_ok=True)
    key = f"environment-{name}"
    if not (config.environments / key).exists():
        shell_environment(config.environments / key, script)
    fields: dict[str, object] = {
        "session_id": f"session-{name}",
        "mode": Mode.EDIT,
        "directory": workspace,
        "notebook": "A1.py",
        "environment": Path("/course/.mograder/environments") / key,
        "base_url": "/edit/user/alice/A1",
        "uid_slot": 1,
        "limits": LIMITS,
    }
    return StartSession.model_validate({**fields, **changes})
