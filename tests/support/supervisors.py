"""A real supervisor for tests, and environments whose "python" is a shell script.

A supervisor treats every program in a session alike, so most tests run a line of shell there: it
starts in milliseconds and can misbehave in any way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from mograder.core.clock import boot_time
from mograder.core.settings import load_settings, read_environ
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import CommandRunner, Environments
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.protocol import Ended, Limits, Mode, RunCommand, SessionInfo, StartSession
from mograder.sandbox.supervisor import lease
from mograder.sandbox.supervisor.config import SupervisorConfig

UID_BASE = 600_000
LIMITS = Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=32)
PATIENCE = 60.0 * float(os.environ.get("MOGRADER_TEST_PATIENCE", "1"))
"""Seconds until a test that waits for something gives up; nothing takes that long.

The emulated machine of ``make test-vm`` is slow, and asks for a multiple."""


@contextmanager
def short_directory() -> Iterator[Path]:
    """A private directory whose sockets' paths stay below the kernel's 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def make_config(runtime: Path, place: Path, **choices: object) -> SupervisorConfig:
    """Settings of a supervisor in ``runtime`` that keeps the rest below ``place``."""
    known: dict[str, object] = {
        "runtime": runtime,
        "socket": runtime / "supervisor.sock",
        "uv_cache": place / "uv-cache",
        "sandbox": "bubblewrap",
        "uid_base": UID_BASE,
        "owned": True,
        "log": place / "supervisor.log",
    }
    return SupervisorConfig.model_validate({**known, **choices})


def shell_environment(directory: Path, script: str) -> Path:
    """An environment in which marimo is these lines of shell."""
    program = directory / "env" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (directory / "caches").mkdir()
    record = EnvironmentRecord(key=directory.name, python="3", marimo="0", interpreter_roots=())
    (directory / RECORD).write_text(record.model_dump_json())
    return directory


@dataclass
class Sessions:
    """Sessions of shell scripts on one supervisor, and the news of their ends."""

    client: SupervisorClient
    place: Path
    ended: dict[str, Ended] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.client.watch(self._hear, self._news.set)

    def request(self, name: str, script: str, *, mode: str = "edit", slot: int = 1) -> StartSession:
        """Return a start request with a workspace that contains a notebook."""
        workspace = self.place / f"workspace-{name}"
        workspace.mkdir(exist_ok=True)
        (workspace / "A1.py").write_text("# a notebook\n")
        return StartSession.model_validate(
            {
                "session_id": f"session-{name}",
                "mode": Mode(mode),
                "directory": workspace,
                "notebook": "A1.py",
                "environment": shell_environment(self.place / f"environment-{name}", script),
                "base_url": "/edit/user/alice/A1",
                "uid_slot": slot,
                "limits": LIMITS,
            }
        )

    async def start(self, name: str, script: str, *, slot: int = 1) -> SessionInfo:
        """Start a script and wait until it has said so (it must ``touch up`` when it is up)."""
        request = self.request(name, script, slot=slot)
        info = await self.client.start(request)
        await until((request.directory / "up").exists)
        return info

    async def outcome(self, name: str) -> Ended:
        """Wait for the end of a session."""
        async with asyncio.timeout(PATIENCE):
            while f"session-{name}" not in self.ended:
                self._news.clear()
                await self._news.wait()
        return self.ended[f"session-{name}"]

    def _hear(self, news: Ended) -> None:
        assert news.session_id not in self.ended, "an end is told once"
        self.ended[news.session_id] = news
        self._news.set()


@asynccontextmanager
async def supervised(config: SupervisorConfig) -> AsyncIterator[SupervisorClient]:
    """A supervisor of the test's own, gone afterwards."""
    client = SupervisorClient(config)
    await client.open()
    try:
        yield client
    finally:
        await client.shutdown()
        await client.close()


def supervisor_process(client: SupervisorClient) -> psutil.Process:
    """The process that this client started."""
    assert client.child is not None
    return psutil.Process(client.child.pid)


async def live_supervisor(client: SupervisorClient) -> psutil.Process:
    """The process that answers this client now, started anew if need be."""
    await client.open()
    return supervisor_process(client)


async def break_off(client: SupervisorClient) -> None:
    """Close the connection, as the kernel does for a killed hub; the supervisor goes on."""
    await (await client.open()).close()


def client_of(config: SupervisorConfig) -> SupervisorClient:
    """Another client of a supervisor that runs: it neither starts nor ends one."""
    return SupervisorClient(config.model_copy(update={"owned": False}))


def lease_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have leases of this process take it for so many seconds later than it is.

    A lease of a few milliseconds could be over before it is held: it would then never end.
    """
    monkeypatch.setattr(lease, "boot_time", lambda: boot_time() + seconds)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds, by polling."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what happens in other processes sets no event
            await asyncio.sleep(0.01)


def names_below(process: psutil.Process) -> list[str]:
    """The names of all that runs below a process, in order."""
    names = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(child.name())
    return sorted(names)


async def until_gone(processes: list[psutil.Process]) -> None:
    """Return once none of them runs any more."""
    await until(lambda: not any(map(_runs, processes)))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def real_config(runtime: Path, place: Path, uv_cache: Path) -> SupervisorConfig:
    """The same for real builds: with what the machine needs to reach a package index."""
    hub = {"hub.runtime_dir": str(runtime), "hub.uv_cache_dir": str(uv_cache)}
    loaded = load_settings(place, overrides=hub, environ={})
    return supervisor_config(loaded, read_environ())


def real_environments(root: Path, runner: CommandRunner, place: Path) -> Environments:
    """Environments as a hub makes them, below a directory that all tests of a run share."""
    return Environments(
        root,
        runner,
        wheel=build_runtime_wheel(place / "wheels"),
        marimo=metadata.version("marimo"),
        timeout=240,
    )


def family_of(client: SupervisorClient) -> list[psutil.Process]:
    """Return the supervisor's process and all below it."""
    supervisor = supervisor_process(client)
    return [supervisor, *supervisor.children(recursive=True)]


def inside_of(client: SupervisorClient) -> list[psutil.Process]:
    """Return what runs below the supervisor."""
    return family_of(client)[1:]


def names_inside(client: SupervisorClient) -> list[str]:
    return names_below(supervisor_process(client))


def shell(workshop: Path, script: str, *, timeout: float = PATIENCE) -> RunCommand:
    """A build command that runs a line of shell."""
    return RunCommand(argv=("/bin/sh", "-c", script), directory=workshop, timeout=timeout)


def told_of(processes: list[psutil.Process], name: str) -> set[str]:
    """Return the content of this file of ``/proc`` for each process."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{process.pid}/{name}").read_text().split()[-1])
    return found
