"""``mograder node``: the whole process runs sessions, and is killed, stopped or drained."""

from __future__ import annotations

import asyncio
import contextlib
import io
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
from mograder.core.clock import boot_time
from mograder.core.settings import read_environ
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.protocol import StopSession
from tests.support.command_line import Printed, cli
from tests.support.node_agents import LeasingHub, next_hub, start_request
from tests.support.node_wire import WireHub, wire_hub
from tests.support.supervisors import (
    PATIENCE,
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
        """What runs in its sandboxes."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline() == ["sleep", "600"]:
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


_DEAF = "trap '' TERM HUP INT; sleep 600 & wait; sleep 602"
_TREE = f"""test -f A1.py || exec sleep 700; trap '' TERM HUP INT
    (setsid sh -c "{_DEAF}" &) ; (setsid setsid sh -c "{_DEAF}" &)
    touch up; while :; do sleep 600; done"""
"""It leaves its process group, ignores signals, and holds its output open."""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("script", [SLEEPER, _TREE], ids=["obedient", "deaf"])
async def test_the_sessions_of_a_node_that_is_killed_or_stopped_end_with_the_lease(
    hub: LeasingHub, node: NodeProcess, end: signal.Signals, script: str
) -> None:
    """The kernel kills a process that is stopped, and its sandboxes end with it."""
    request = start_request(node.config, "fenced", script)
    await hub.link.connection.call(request)
    await until((request.directory / "up").exists)
    count = 1 if script is SLEEPER else 3
    await until(lambda: len(node.sleepers()) == count)
    inside = node.sleepers()
    await hub.status()
    node.process.send_signal(end)
    stopped_at = boot_time()
    await until_gone(inside)
    assert boot_time() - stopped_at < hub.seconds, "the hub takes the lease as over then"
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == -signal.SIGKILL


async def test_sigterm_drains_it_tells_the_hub_and_leaves_no_process(
    hub: LeasingHub, node: NodeProcess
) -> None:
    session_id = await start(hub, node, "drained")
    family = psutil.Process(node.process.pid).children(recursive=True)
    node.process.terminate()
    await hub.status_with(lambda status: status.draining)
    assert not (await hub.outcome(session_id)).asked
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == 0
    await until_gone(family)


async def ran(*words: str, status: int = 0) -> Printed:
    """Run a command of the node's in a thread, while the hub's loop goes on."""
    return await asyncio.to_thread(cli, "node", *words, status=status)


async def test_the_drain_command_waits_for_the_last_session(
    hub: LeasingHub,
    node: NodeProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session_id = await start(hub, node, "last")
    monkeypatch.setenv("MOGRADER_NODE_STATE", node.variables["MOGRADER_NODE_STATE"])
    assert "takes no new sessions" in (await ran("drain")).out
    await hub.status_with(lambda status: status.draining)
    await ran("drain", "--cancel")
    await hub.status_with(lambda status: not status.draining)
    await ran("drain")
    await hub.status_with(lambda status: status.draining)
    await hub.link.connection.call(StopSession(session_id=session_id))
    assert await asyncio.to_thread(node.process.wait, PATIENCE) == 0
    assert "No node is at work" in (await ran("drain", status=3)).err


def test_a_node_without_share_hub_or_token_does_not_start(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(monkeypatch, variables)
    assert "--hub" in cli("node run", status=2).err
    assert "without TLS" in cli("node run --hub http://192.0.2.1", status=2).err
    monkeypatch.setenv("MOGRADER_NODE_HUB", "https://hub.example.edu")
    assert "mograder hub node-token" in cli("node run", status=3).err
    token = tmp_path / "token"
    token.write_text("node-7:secret")
    token.chmod(0o644)
    assert "chmod 600" in cli("node run --token-file", str(token), status=2).err
    token.chmod(0o600)
    assert "not the token of a node" in cli("node run --token-file", str(token), status=2).err
    utf_16 = io.BytesIO("node-7:secret".encode("utf-16"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(utf_16, encoding="utf-8"))
    assert "cannot be read from -." in cli("node run --token-file -", status=2).err
    monkeypatch.delenv("MOGRADER_NODE_SHARE")
    assert "--share" in cli("node run", status=2).err
    cli("node run --share /", status=2)


def test_the_check_passes_here(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, variables)
    report = cli("node check --json").json
    levels = {each["check"]: each["level"] for each in report["checks"]}
    wanted = ("sandbox", "warm", "uv", "namespaces", "share-write", "share-flock", "capacity")
    assert {name: levels[name] for name in wanted} == dict.fromkeys(wanted, "ok")
    assert levels["hub"] == "warning"


async def test_the_check_tells_whether_the_hub_accepts_the_node(
    wire: WireHub,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    set_all(monkeypatch, variables)
    token = wire.token("node-7")
    monkeypatch.setenv("MOGRADER_NODE_TOKEN", token.text)
    # Without a sandbox the rest is told all the same.
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    said = (await ran("check", "--hub", wire.url, status=1)).out
    assert f"[ok] hub {wire.url}: answers, and accepts this machine as node-7" in said
    assert "[!!] sandbox: bubblewrap (bwrap) is not installed" in said
    assert said.count("apt install bubblewrap") == 2, "both lines have this remedy"
    assert (
        "[!!] hub http://127.0.0.1:9: "
        in (await ran("check", "--hub", "http://127.0.0.1:9", status=1)).out
    )
    del wire.rows.secret_hashes["node-7"]
    said = (await ran("check", "--hub", wire.url, status=1)).out
    assert f"[!!] hub {wire.url}: it does not accept this node" in said
    assert "mograder hub node-token" in said


def test_a_node_whose_directory_cannot_be_written_does_not_start(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(monkeypatch, variables)
    monkeypatch.setenv("MOGRADER_NODE_HUB", "https://hub.example.edu")
    monkeypatch.setenv("MOGRADER_NODE_TOKEN", NodeToken.new("node-7").text)
    (tmp_path / "state/agent.lock").mkdir(parents=True)
    assert f"{tmp_path}/state cannot be written: Is a directory" in cli("node run", status=2).err
