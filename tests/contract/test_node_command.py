"""``mograder node``: the whole process runs sessions, and is killed, stopped or drained."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mograder.auth.node_tokens import NodeToken
from mograder.cli.main import run
from mograder.core.errors import MograderError
from mograder.core.settings import read_environ
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.protocol import StopSession
from tests.support.node_agents import LeasingHub, next_hub, start_request
from tests.support.node_wire import WireHub, wire_hub
from tests.support.processes import processes_now
from tests.support.supervisors import (
    PATIENCE,
    client_of,
    short_directory,
    until,
    until_gone,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(180)]

SLEEPER = "test -f A1.py && touch up && exec sleep 600; exec sleep 700"
"""The zygote of its environment, which has no workspace, sleeps longer."""


@pytest.fixture
async def wire() -> AsyncIterator[WireHub]:
    async with wire_hub() as hub:
        yield hub


@dataclass
class NodeProcess:
    """A node as its engine runs it; ``variables`` are its settings."""

    variables: dict[str, str]
    process: subprocess.Popen[bytes]
    config: NodeConfig

    def sleepers(self) -> list[psutil.Process]:
        """What runs in its sandboxes, also after the node was killed."""
        found = []
        for process in processes_now():
            with contextlib.suppress(psutil.Error):
                above = " ".join(part for p in process.parents() for part in p.cmdline())
                if (
                    process.cmdline() == ["sleep", "600"]
                    and str(self.config.supervisor.runtime) in above
                ):
                    found.append(process)
        return found


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "share").mkdir()
    with short_directory() as runtime:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        yield {
            **kept,
            "RUNTIME_DIRECTORY": str(runtime),
            "MOGRADER_NODE_STATE": str(tmp_path / "state"),
            "MOGRADER_NODE_SHARE": str(tmp_path / "share"),
            "MOGRADER_NODE_NAME": "node-7",
            "MOGRADER_NODE_UV_CACHE": str(tmp_path / "uv-cache"),
            "MOGRADER_NODE_DRAIN_SECONDS": "3",
        }


@pytest.fixture
async def node(wire: WireHub, variables: dict[str, str]) -> AsyncIterator[NodeProcess]:
    variables |= {"MOGRADER_NODE_HUB": wire.url, "MOGRADER_NODE_TOKEN": wire.token("node-7").text}
    environ = variables
    command = [sys.executable, "-m", "mograder", "node", "run"]
    process = await asyncio.to_thread(subprocess.Popen, command, env=environ)
    node = NodeProcess(variables, process, node_config(read_environ(variables)))
    try:
        yield node
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        with contextlib.suppress(MograderError):
            client = client_of(node.config.supervisor)
            await client.open()
            await client.shutdown()
            await client.close()


@pytest.fixture
async def hub(node: NodeProcess, wire: WireHub) -> LeasingHub:
    del node
    return await next_hub(wire)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set the variables of a node in this process, for a command that runs in it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


async def start(hub: LeasingHub, node: NodeProcess, name: str) -> str:
    request = start_request(node.config, name, SLEEPER)
    await hub.link.connection.call(request)
    await until((request.directory / "up").exists)
    return request.session_id


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_sessions_of_a_node_that_is_killed_or_stopped_end_with_the_lease(
    hub: LeasingHub, node: NodeProcess, end: signal.Signals
) -> None:
    await start(hub, node, "fenced")
    await until(lambda: len(node.sleepers()) == 1)
    inside = node.sleepers()
    hub.seconds = 5.0
    await hub.status()
    node.process.send_signal(end)
    await until_gone(inside)


async def test_a_node_that_starts_again_in_time_keeps_its_sessions(
    hub: LeasingHub, node: NodeProcess, wire: WireHub
) -> None:
    hub.seconds = 60.0
    await hub.status()
    session_id = await start(hub, node, "kept")
    node.process.kill()
    await asyncio.to_thread(node.process.wait)
    command = [sys.executable, "-m", "mograder", "node", "run"]
    node.process = await asyncio.to_thread(subprocess.Popen, command, env=node.variables)
    again = await next_hub(wire)
    assert (await again.status()).sessions == (session_id,)
    assert (await again.link.connection.call(StopSession(session_id=session_id))).stopped
    node.process.terminate()
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == 0


async def test_sigterm_drains_it_tells_the_hub_and_leaves_no_process(
    hub: LeasingHub, node: NodeProcess
) -> None:
    session_id = await start(hub, node, "drained")
    family = psutil.Process(node.process.pid).children(recursive=True)
    node.process.terminate()
    assert (await hub.status()).draining
    assert not (await hub.outcome(session_id)).asked
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == 0
    await until_gone(family)


async def test_the_drain_command_waits_for_the_last_session(
    hub: LeasingHub,
    node: NodeProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session_id = await start(hub, node, "last")
    monkeypatch.setenv("MOGRADER_NODE_STATE", node.variables["MOGRADER_NODE_STATE"])
    assert await asyncio.to_thread(run, ["node", "drain"]) == 0
    assert "takes no new sessions" in capsys.readouterr().out
    assert (await hub.status()).draining
    assert await asyncio.to_thread(run, ["node", "drain", "--cancel"]) == 0
    while (await hub.status()).draining:
        pass
    assert await asyncio.to_thread(run, ["node", "drain"]) == 0
    while not (await hub.status()).draining:
        pass
    await hub.link.connection.call(StopSession(session_id=session_id))
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == 0
    assert await asyncio.to_thread(run, ["node", "drain"]) == 3
    assert "No node is at work" in capsys.readouterr().err


def test_joining_is_gone_and_says_what_takes_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["node", "join", "--token-file", "x"]) == 2
    assert "mograder hub node-token NAME" in capsys.readouterr().err


def test_a_node_without_share_hub_or_token_does_not_start(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    set_all(monkeypatch, variables)
    assert run(["node", "run"]) == 2
    assert "--hub" in capsys.readouterr().err
    assert run(["node", "run", "--hub", "http://192.0.2.1"]) == 2
    assert "without TLS" in capsys.readouterr().err
    monkeypatch.setenv("MOGRADER_NODE_HUB", "https://hub.example.edu")
    assert run(["node", "run"]) == 3
    assert "mograder hub node-token" in capsys.readouterr().err
    token = tmp_path / "token"
    token.write_text("node-7:secret")
    token.chmod(0o644)
    assert run(["node", "run", "--token-file", str(token)]) == 2
    assert "chmod 600" in capsys.readouterr().err
    token.chmod(0o600)
    assert run(["node", "run", "--token-file", str(token)]) == 2
    assert "not the token of a node" in capsys.readouterr().err
    monkeypatch.delenv("MOGRADER_NODE_SHARE")
    assert run(["node", "run"]) == 2
    assert "--share" in capsys.readouterr().err
    assert run(["node", "run", "--share", "/"]) == 2


def test_the_check_passes_here(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_all(monkeypatch, variables)
    assert run(["node", "check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    levels = {each["check"]: each["level"] for each in report["checks"]}
    wanted = ("sandbox", "warm", "uv", "namespaces", "share-write", "share-flock", "capacity")
    assert {name: levels[name] for name in wanted} == dict.fromkeys(wanted, "ok")
    assert levels["hub"] == "warning"


async def test_the_check_tells_whether_the_hub_accepts_the_node(
    wire: WireHub,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    set_all(monkeypatch, variables)
    token = wire.token("node-7")
    monkeypatch.setenv("MOGRADER_NODE_TOKEN", token.text)
    # Without a sandbox the rest is told all the same.
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    check = ["node", "check", "--hub", wire.url]
    assert await asyncio.to_thread(run, check) == 1
    said = capsys.readouterr().out
    assert f"[ok] hub {wire.url}: answers, and accepts this machine as node-7" in said
    assert "[!!] sandbox: bubblewrap (bwrap) is not installed" in said
    assert await asyncio.to_thread(run, ["node", "check", "--hub", "http://127.0.0.1:9"]) == 1
    assert "[!!] hub http://127.0.0.1:9: " in capsys.readouterr().out
    del wire.rows.secret_hashes["node-7"]
    assert await asyncio.to_thread(run, check) == 1
    said = capsys.readouterr().out
    assert f"[!!] hub {wire.url}: it does not accept this node" in said
    assert "mograder hub node-token" in said


def test_a_node_whose_directory_cannot_be_written_does_not_start(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    set_all(monkeypatch, variables)
    monkeypatch.setenv("MOGRADER_NODE_HUB", "https://hub.example.edu")
    monkeypatch.setenv("MOGRADER_NODE_TOKEN", NodeToken.new("node-7").text)
    (tmp_path / "state/agent.lock").mkdir(parents=True)
    assert run(["node", "run"]) == 2
    assert f"{tmp_path}/state cannot be written: Is a directory" in capsys.readouterr().err
