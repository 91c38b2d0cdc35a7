"""The fake launcher and real ones for tests, and sessions that they can start."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from mograder.core.sections.settings_model import LimitsSettings
from mograder.notebook.pep723 import Script
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.record import RECORD
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.machines import Launcher
from mograder.sandbox.protocol import Ended, Endpoint, Mode, StartSession
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.sessions.connections import answers
from tests.support.fake_launcher import InMemoryLauncher
from tests.support.marimo import Address, MarimoClient
from tests.support.supervisors import (
    PATIENCE,
    live_supervisor,
    real_environments,
    shell_environment,
)

OBEDIENT = """case "$1" in *zygote.py) exit 1;; esac
while [ ! -e crash ]; do sleep 0.02; done; cat crash >&2; rm crash; exit 3"""
"""A session that moves its workspace's file ``crash`` to stderr and exits; no zygote."""


@dataclass
class EventRecorder:
    exits: list[Ended] = field(default_factory=list)
    lost: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, news: Ended) -> None:
        self.exits.append(news)
        self._news.set()

    def lose(self) -> None:
        self.lost = True
        self._news.set()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                await self._news.wait()


class LauncherSetup(Protocol):
    """A launcher, and ways to cause the failures that it must report."""

    @property
    def launcher(self) -> Launcher: ...

    @property
    def recorder(self) -> EventRecorder: ...

    def spec(self, name: str) -> StartSession: ...

    async def crash(self, spec: StartSession, words: str) -> None:
        """Make a session exit with status 3 and this text on stderr."""
        ...

    async def lose(self) -> None:
        """End the launcher itself, or break the connection to it."""
        ...


@dataclass
class InMemory:
    """The fake launcher's setup."""

    place: Path
    launcher: InMemoryLauncher = field(default_factory=InMemoryLauncher)
    recorder: EventRecorder = field(default_factory=EventRecorder)

    def spec(self, name: str) -> StartSession:
        return make_spec(name, self.place, self.place / "environment")

    async def crash(self, spec: StartSession, words: str) -> None:
        self.launcher.die(spec.session_id, status=3, log_tail=words)

    async def lose(self) -> None:
        self.launcher.requests.clear()
        self.launcher.lose()


@dataclass
class Local:
    """Bench of the real one."""

    place: Path
    launcher: SupervisorClient
    kept: int = 0
    """How many zygotes its supervisor keeps."""
    recorder: EventRecorder = field(default_factory=EventRecorder)

    def spec(self, name: str) -> StartSession:
        environment = shell_environment(self.place / f"environment-{name}", OBEDIENT)
        return make_spec(name, self.place, environment)

    async def crash(self, spec: StartSession, words: str) -> None:
        (spec.directory / "said").write_text(words)
        (spec.directory / "said").rename(spec.directory / "crash")

    async def lose(self) -> None:
        (await live_supervisor(self.launcher)).kill()

    async def warm(self, environment: Path) -> None:
        """Have the next session of an environment start warm."""
        assert await self.launcher.warm(environment)

    async def environment(self, run_directory: Path, *dependencies: str) -> Path:
        """Return an environment that is built once in a run; warm where zygotes are kept."""
        source = real_environments(run_directory / "environments", self.launcher, self.place)
        made = await source.prepare(Script(dependencies=dependencies), lambda _: None)
        if self.kept:
            await self.warm(made.directory)
        return made.directory

    async def starts(self) -> dict[str, int]:
        """How sessions started so far."""
        counts = await self.counts()
        return {kind: count for kind, count in counts.items() if kind != "no_warmup"}

    async def counts(self) -> dict[str, int]:
        """Return the counts, with the zygotes that made no warm-up run."""
        return (await self.launcher.hello()).starts


@asynccontextmanager
async def open_local(config: SupervisorConfig, place: Path) -> AsyncIterator[Local]:
    """A launcher with a supervisor of its own, gone afterwards."""
    client = SupervisorClient(config)
    try:
        yield Local(place, client, config.warm_environments)
    finally:
        await client.close()


def make_spec(
    name: str, place: Path, environment: Path, *, mode: Mode = Mode.EDIT, notebook: str = ""
) -> StartSession:
    """A session of a workspace with one notebook."""
    workspace = place / f"workspace-{name}"
    workspace.mkdir()
    (workspace / "A1.py").write_text(notebook or "# a notebook\n")
    return StartSession(
        session_id=f"session-{name}",
        mode=mode,
        directory=workspace,
        notebook="A1.py",
        environment=environment,
        base_url=f"/{mode.value}/user/{name}/A1",
        uid_slot=7,
        limits=limits_of(LimitsSettings()),
    )


async def soon_healthy(endpoint: Endpoint, spec: StartSession) -> None:
    """The socket queues connections until the server accepts them, so no retry is needed."""
    async with asyncio.timeout(120):
        assert await answers(endpoint, spec.base_url)


async def shown(editor: MarimoClient) -> str:
    """Return the first cell's output, once there is one."""
    cell = editor.cells.ids[0]
    await editor.until(lambda: cell in editor.progress.outputs)
    return editor.progress.outputs[cell].data


def address_of(endpoint: Endpoint, spec: StartSession) -> Address:
    url = f"http://session{spec.base_url}"
    return Address(base_url=url, socket=endpoint.socket, timeout=100)


def copy_of(environment: Path, other: Path, *, linked: bool) -> Path:
    """Another environment with the same packages; ``linked``: the files are the same ones."""
    copy = os.link if linked else shutil.copy2
    shutil.copytree(environment / "caches", other / "caches", copy_function=copy)
    shutil.copytree(environment / "env", other / "env", symlinks=True, copy_function=copy)
    shutil.copyfile(environment / RECORD, other / RECORD)
    return other


async def zygotes_of(local: Local) -> list[psutil.Process]:
    supervisor = await live_supervisor(local.launcher)
    return [
        process
        for process in supervisor.children(recursive=True)
        if any(word.endswith("zygote.py") for word in process.cmdline()[1:2])
    ]
