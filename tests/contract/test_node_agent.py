"""A node with a real supervisor: what a hub can do there, and what happens without the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mograder.core.errors import Conflict, Forbidden, InvalidInput, NotFound, SandboxUnavailable
from mograder.notebook.pep723 import Script
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.locked_builds import order_of
from mograder.sandbox.nodes.node_config import NodeConfig
from mograder.sandbox.protocol import (
    CancelCall,
    Deadlines,
    Done,
    Execute,
    GrantLease,
    JudgeSubmission,
    ListSessions,
    Operation,
    PrepareEnvironment,
    RunCommand,
    Shutdown,
    StartSession,
    StopSession,
    Subscribe,
)
from tests.support.node_agents import (
    LeasingHub,
    RunningNode,
    next_hub,
    node_agent,
    node_config_of,
    start_request,
)
from tests.support.node_wire import WireHub, wire_hub
from tests.support.supervisors import (
    LIMITS,
    PATIENCE,
    real_config,
    real_environments,
    short_directory,
    until,
    until_gone,
)

pytestmark = pytest.mark.full

SLEEPER = "touch up; exec sleep 600"
_SHOUTS = """
import json, socket, sys
server = socket.socket(fileno=json.loads(sys.argv[1])["fd"])
open("up", "w").close()
while True:
    client, _ = server.accept()
    while data := client.recv(99):
        client.sendall(data.upper())
"""
"""A session's server that returns what it gets in capital letters."""


@pytest.fixture
async def wire() -> AsyncIterator[WireHub]:
    async with wire_hub() as hub:
        yield hub


@pytest.fixture
def node(runtime: Path, tmp_path: Path) -> NodeConfig:
    return node_config_of(runtime, tmp_path)


@pytest.fixture
async def agent(node: NodeConfig, wire: WireHub) -> AsyncIterator[RunningNode]:
    async with node_agent(node, wire, "node-1") as agent:
        yield agent


@pytest.fixture
async def hub(agent: RunningNode, wire: WireHub) -> LeasingHub:
    del agent
    return await next_hub(wire)


async def start(hub: LeasingHub, node: NodeConfig, name: str, script: str = SLEEPER) -> str:
    """Start a session and wait until it runs; return its id."""
    request = start_request(node, name, script)
    done = await hub.link.connection.call(request)
    assert [session.session_id for session in done.sessions] == [request.session_id]
    await until((request.directory / "up").exists)
    return request.session_id


def supervisor_of(runtime: Path) -> psutil.Process:
    """This test's one supervisor."""
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    (supervisor,) = [each for each in alive if str(runtime) in " ".join(each.cmdline())]
    return supervisor


def _is_sleeping(process: psutil.Process) -> bool:
    try:
        return process.name() == "sleep" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has just ended
        return False


async def sleepers(runtime: Path, count: int = 1) -> list[psutil.Process]:
    """The programs in this test's sandboxes, once they run."""

    def found() -> list[psutil.Process]:
        inside = supervisor_of(runtime).children(recursive=True)
        return [each for each in inside if _is_sleeping(each)]

    await until(lambda: len(found()) == count)
    return found()


async def test_a_hub_starts_lists_and_stops_a_session(hub: LeasingHub, node: NodeConfig) -> None:
    session_id = await start(hub, node, "one")
    assert (await hub.status()).sessions == (session_id,)
    listed = await hub.link.connection.call(ListSessions())
    assert [session.session_id for session in listed.sessions] == [session_id]
    assert (await hub.link.connection.call(StopSession(session_id=session_id))).stopped
    assert (await hub.outcome(session_id)).asked
    assert (await hub.status()).sessions == ()


async def test_a_hub_that_another_one_has_replaced_is_refused(
    hub: LeasingHub, node: NodeConfig
) -> None:
    await hub.link.connection.greet(9)
    session_id = await start(hub, node, "kept")
    number = (await hub.status()).number
    with pytest.raises(Conflict, match="Another hub is at work"):
        await hub.link.connection.call(GrantLease(number=number, seconds=8, epoch=8))
    with pytest.raises(Conflict, match="Another hub is at work"):
        await hub.link.connection.greet(8)
    await hub.link.connection.call(GrantLease(number=number, seconds=8, epoch=9))
    assert (await hub.status()).sessions == (session_id,)


async def test_bytes_flow_between_the_hub_and_a_session(hub: LeasingHub, node: NodeConfig) -> None:
    session_id = await start(hub, node, "bytes", f"exec /usr/bin/python3 -c '{_SHOUTS}' \"$2\"")
    reader, transport = await opened(hub, session_id)
    for word in (b"hello", b"again"):
        transport.write(word)
        assert await asyncio.wait_for(reader.readexactly(5), PATIENCE) == word.upper()
    await hub.link.connection.call(StopSession(session_id=session_id))
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    transport.abort()
    closed, refused = await opened(hub, session_id)
    assert await asyncio.wait_for(closed.read(), PATIENCE) == b""
    refused.abort()


async def opened(
    hub: LeasingHub, session_id: str
) -> tuple[asyncio.StreamReader, asyncio.Transport]:
    """Connect to a session's server."""
    transport = await asyncio.wait_for(hub.link.open_session(session_id), PATIENCE)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()
    return reader, transport


async def test_the_next_hub_ends_the_connections_of_the_one_before_and_keeps_its_own(
    hub: LeasingHub, node: NodeConfig, wire: WireHub
) -> None:
    """A request that waits for the node reaches a session before the first lease does."""
    session_id = await start(hub, node, "kept", f"exec /usr/bin/python3 -c '{_SHOUTS}' \"$2\"")
    before, earlier = await opened(hub, session_id)
    await hub.link.close()
    following = LeasingHub(await wire.next_link(), silent=True)
    following.watch()
    await following.link.connection.call(Subscribe())
    reader, transport = await opened(following, session_id)
    number = (await following.status()).number
    await following.link.connection.call(GrantLease(number=number, seconds=12, epoch=9))
    assert await asyncio.wait_for(before.read(), PATIENCE) == b""
    earlier.abort()
    transport.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), PATIENCE) == b"HELLO"
    transport.abort()


@pytest.mark.timeout(400)
async def test_marimo_runs_in_an_environment_that_the_hub_has_the_node_build(
    wire: WireHub, runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    order = await _order_of_a_hub(tmp_path, uv_cache, run_directory)
    supervisor = real_config(runtime, tmp_path, uv_cache)
    leased = supervisor.model_copy(update={"warm_environments": 1})
    node = node_config_of(runtime, tmp_path, supervisor=leased, build_seconds=240.0)
    async with node_agent(node, wire, "node-1"):
        hub = await next_hub(wire)
        told: list[str] = []
        built = await hub.link.connection.call(order, told.append, 300)
        assert "Downloading and installing packages" in told
        assert built.warm
        status = await hub.status()
        assert status.environments == status.zygotes == (order.key,)
        request = start_request(node, "real", "", environment=Path("/hub") / order.key)
        (request.directory / "A1.py").write_text("import marimo\n\napp = marimo.App()\n")
        await hub.link.connection.call(request)
        assert b" 200 " in await _first_line(hub, request.session_id, f"{request.base_url}/health")
        assert (await hub.status()).used > 10 << 20


async def _order_of_a_hub(place: Path, cache: Path, shared: Path) -> PrepareEnvironment:
    with short_directory() as runtime:
        client = SupervisorClient(real_config(runtime, place, cache))
        try:
            environments = real_environments(shared / "environments", client, place)
            built = await environments.prepare(Script(), lambda _: None)
            return order_of(built.directory, warm=True)
        finally:
            await client.close()


async def _first_line(hub: LeasingHub, session_id: str, path: str) -> bytes:
    """Ask a session's server until it answers; return the first line of the answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            reader, transport = await opened(hub, session_id)
            transport.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            line = await reader.readline()
            transport.abort()
            if line:
                return line


async def test_when_the_hub_is_silent_every_process_is_gone_and_the_node_comes_back(
    agent: RunningNode, node: NodeConfig, wire: WireHub, runtime: Path
) -> None:
    del agent
    hub = await next_hub(wire, seconds=5.0)
    await start(hub, node, "cut")
    running = executing(hub, start_request(node, "run", SLEEPER))
    inside = await sleepers(runtime, 2)
    await hub.status()
    hub.silent = True
    await until_gone(inside)
    await asyncio.wait({running})
    await asyncio.wait_for(hub.lost.wait(), PATIENCE)
    again = await next_hub(wire)
    assert (await again.status()).sessions == ()
    await start(again, node, "after")


async def test_without_a_lease_nothing_starts(
    agent: RunningNode, node: NodeConfig, wire: WireHub
) -> None:
    hub = LeasingHub(await wire.next_link(), silent=True)
    hub.watch()
    await hub.status()
    with pytest.raises(SandboxUnavailable, match="lost its connection"):
        await hub.link.connection.call(start_request(node, "early", SLEEPER))
    with pytest.raises(InvalidInput, match="number 999"):
        await hub.link.connection.call(GrantLease(number=999, seconds=12))


@pytest.mark.parametrize(
    "operation",
    [
        RunCommand(argv=("/usr/bin/id",), directory=Path("/tmp"), timeout=5),
        Shutdown(),
    ],
    ids=lambda operation: operation.op,
)
async def test_a_hub_cannot_command_the_machine(hub: LeasingHub, operation: Operation) -> None:
    with pytest.raises(Forbidden, match="cannot"):
        await hub.link.connection.call(operation)
    assert await hub.status()


def judging(node: NodeConfig, outside: Path, outside_of: str) -> JudgeSubmission:
    """A judging of which one part is outside of the share."""
    request = start_request(node, "judged", SLEEPER)
    (request.directory / "files").mkdir(exist_ok=True)
    fields = request.model_dump(include={"notebook", "environment", "limits"})

    def part(name: str) -> dict[str, object]:
        place = outside if name == outside_of else request.directory
        return {**fields, "session_id": f"{name}-0001", "directory": place}

    seconds = Deadlines(notebook=1, call=1, check=1, submission=1)
    worker = {**part("worker"), "uid_slot": 7, "interface": (), "skip": ()}
    judge = {**part("judge"), "uid_slot": 8, "seconds": seconds, "seed": "s"}
    return JudgeSubmission.model_validate({"worker": worker, "judge": judge, "seconds": 5})


async def test_directories_beside_the_share_are_refused(
    hub: LeasingHub, node: NodeConfig, tmp_path: Path
) -> None:
    outside = tmp_path / "private"
    outside.mkdir()
    (outside / "A1.py").write_text("")
    (node.shares[0] / "link").symlink_to(outside)
    for directory in (outside, node.shares[0] / "link", node.shares[0] / ".." / "private", Path()):
        request = start_request(node, "beside", SLEEPER, directory=directory)
        with pytest.raises(Forbidden, match="serves no directory"):
            await hub.link.connection.call(request)
    for outside_of in ("worker", "judge"):
        with pytest.raises(Forbidden, match="serves no directory"):
            await hub.link.connection.call(judging(node, outside, outside_of))
    request = start_request(node, "beside", SLEEPER, notebook="../../private/A1.py")
    with pytest.raises(InvalidInput, match="name of a notebook"):
        await hub.link.connection.call(request)
    request = start_request(node, "beside", SLEEPER, environment=Path("/etc/.."))
    with pytest.raises(InvalidInput, match="name of an environment"):
        await hub.link.connection.call(request)
    request = start_request(node, "beside", SLEEPER, environment=Path("/etc/unknown-key"))
    with pytest.raises(NotFound, match="environment"):
        await hub.link.connection.call(request)


def executing(hub: LeasingHub, request: StartSession) -> asyncio.Task[Done]:
    """Begin to run the notebook of a session."""
    fields = request.model_dump(include={"session_id", "directory", "notebook", "environment"})
    run = Execute(**fields, uid_slot=7, limits=LIMITS, seconds=60)
    return asyncio.create_task(hub.link.connection.call(run, lambda _: None))


async def test_a_run_ends_when_it_is_cancelled(
    hub: LeasingHub, node: NodeConfig, runtime: Path
) -> None:
    request = start_request(node, "run", SLEEPER)
    running = executing(hub, request)
    await until((request.directory / "up").exists)
    inside = await sleepers(runtime)
    await hub.status_with(lambda status: status.runs == 1)
    running.cancel()
    await asyncio.wait({running})
    await until_gone(inside)
    await hub.status_with(lambda status: status.runs == 0)
    assert not (await hub.link.connection.call(CancelCall(call_id=1))).stopped


async def test_starts_of_a_hub_that_is_gone_are_ended(
    hub: LeasingHub, node: NodeConfig, wire: WireHub
) -> None:
    """As on one machine: the start of a hub that breaks off is taken back."""
    request = start_request(node, "orphan", "sleep 1; " + SLEEPER)
    running = executing(hub, request)
    await until((request.directory / "up").exists)
    await hub.link.close()
    await asyncio.wait({running})
    again = await next_hub(wire)
    async with asyncio.timeout(PATIENCE):
        while (await again.status()).runs:
            pass
    await start(again, node, "orphan")


async def test_a_drained_node_takes_nothing_new_and_ends_when_it_is_empty(
    hub: LeasingHub, agent: RunningNode, node: NodeConfig
) -> None:
    session_id = await start(hub, node, "last")
    agent.leave(hurry=False)
    await hub.status_with(lambda status: status.draining)
    with pytest.raises(SandboxUnavailable, match="no new sessions"):
        await hub.link.connection.call(start_request(node, "new", SLEEPER))
    assert (await hub.status()).sessions == (session_id,)
    await hub.link.connection.call(StopSession(session_id=session_id))
    await asyncio.wait_for(hub.lost.wait(), PATIENCE)


async def test_the_end_of_the_drain_ends_the_sessions_that_are_left_and_tells_the_hub(
    hub: LeasingHub, agent: RunningNode, node: NodeConfig
) -> None:
    saves = "trap 'echo saved > A1.py; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    session_id = await start(hub, node, "saving", saves)
    agent.leave(hurry=True)
    status = await hub.status_with(lambda status: status.drain_seconds is not None)
    assert status.drain_seconds is not None
    assert 0 < status.drain_seconds <= node.drain_seconds
    gone = await hub.outcome(session_id)
    assert (gone.asked, gone.reason) == (False, "lost"), "a hub that knows of the drain says moved"
    await asyncio.wait_for(hub.lost.wait(), PATIENCE)
    assert (node.shares[0] / "workspace-saving" / "A1.py").read_text() == "saved\n"


async def test_the_last_sessions_end_one_after_the_other(
    hub: LeasingHub, agent: RunningNode, node: NodeConfig
) -> None:
    names = [await start(hub, node, name) for name in ("a", "b", "c")]
    agent.leave(hurry=True)
    for name in names:
        gone = await hub.outcome(name)
        assert not gone.asked, "the hub tells its student that the machine is serviced"
        if name == names[0]:
            assert gone.reason == "moved"
            assert names[2] not in hub.ended
    await asyncio.wait_for(hub.lost.wait(), PATIENCE)


async def test_an_administrator_drains_and_undrains_it(hub: LeasingHub, node: NodeConfig) -> None:
    hub.draining = True
    await hub.status()
    assert (await hub.status()).draining
    with pytest.raises(SandboxUnavailable, match="no new sessions"):
        await hub.link.connection.call(start_request(node, "new", SLEEPER))
    hub.draining = False
    await hub.status()
    assert not (await hub.status()).draining
    await start(hub, node, "newer")


async def test_it_takes_no_session_of_a_hub_if_only_one_of_the_two_is_root(
    hub: LeasingHub, node: NodeConfig, agent: RunningNode
) -> None:
    own = os.geteuid()
    hub.uid = 0 if own else 1000
    await hub.status()
    assert (await hub.status()).draining
    with pytest.raises(SandboxUnavailable, match="no new sessions"):
        await hub.link.connection.call(start_request(node, "other", SLEEPER))
    assert agent.log.read_text().count(f"runs as uid {own}, but its hub as uid {hub.uid}") == 1
    hub.uid = own
    await hub.status()
    assert not (await hub.status()).draining
    await start(hub, node, "same")


async def test_a_hub_that_is_silent_is_left_before_the_lease_ends(
    hub: LeasingHub, node: NodeConfig, wire: WireHub
) -> None:
    """It hangs, or its machine is gone: another hub may be at work at the same address."""
    hub.seconds = 12.0
    await hub.status()
    session_id = await start(hub, node, "kept")
    hub.silent = True
    await asyncio.wait_for(hub.lost.wait(), PATIENCE)
    again = await next_hub(wire)
    assert (await again.status()).sessions == (session_id,)
