"""What every launcher does: one suite for the one in memory and the real one.

The real one is the supervisor with bubblewrap. Its sessions are shell scripts where the contract
does not depend on what runs, and a real marimo below that. All of it lies below pytest's own
directories, which nobody else may enter (0700), as a private home or course does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from mograder.core.errors import Conflict
from mograder.core.settings_model import LimitsSettings
from mograder.notebook.pep723 import Script
from mograder.sandbox.link import SupervisorLink
from mograder.sessions.fake import InMemoryLauncher
from mograder.sessions.launcher import Endpoint, Exit, Launcher, LaunchSpec, Mode
from mograder.sessions.local import LocalLauncher
from mograder.sessions.probe import answers
from tests.contract.sandbox_rig import (
    PATIENCE,
    UID_BASE,
    real_config,
    real_environments,
    shell_environment,
    short_directory,
    supervisor_process,
)
from tests.e2e.support.marimo import Address, MarimoClient, open_editor

ENVIRONMENT = os.environ.get("MOGRADER_TEST_ENVIRONMENT", "")
"""A finished environment to use in place of one built here (``test_launcher_unprivileged``)."""

OBEDIENT = """while [ ! -e crash ]; do sleep 0.02; done; cat crash >&2; exit 3"""
"""A session that dies with the words that its workspace's file ``crash`` holds."""


@dataclass
class Ear:
    """Hears what a launcher tells."""

    exits: list[Exit] = field(default_factory=list)
    lost: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, news: Exit) -> None:
        self.exits.append(news)
        self._news.set()

    def lose(self) -> None:
        self.lost = True
        self._news.set()

    async def hear(self, holds: Callable[[], bool]) -> None:
        """Wait for news until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                await self._news.wait()


class Bench(Protocol):
    """A launcher, and the hands of the world around it."""

    @property
    def launcher(self) -> Launcher: ...

    @property
    def ear(self) -> Ear: ...

    def spec(self, name: str) -> LaunchSpec: ...

    async def crash(self, spec: LaunchSpec, words: str) -> None:
        """Let a session die by itself, with these last words and status 3."""
        ...

    async def lose(self) -> None:
        """Take the launcher itself away."""
        ...


@dataclass
class InMemory:
    """Bench of the fake."""

    place: Path
    launcher: InMemoryLauncher = field(default_factory=InMemoryLauncher)
    ear: Ear = field(default_factory=Ear)

    def spec(self, name: str) -> LaunchSpec:
        return make_spec(name, self.place, self.place / "environment")

    async def crash(self, spec: LaunchSpec, words: str) -> None:
        self.launcher.die(spec.session_id, status=3, log_tail=words)

    async def lose(self) -> None:
        self.launcher.specs.clear()
        self.launcher.lose()


@dataclass
class Local:
    """Bench of the real one."""

    place: Path
    link: SupervisorLink
    launcher: LocalLauncher
    ear: Ear = field(default_factory=Ear)

    def spec(self, name: str) -> LaunchSpec:
        environment = shell_environment(self.place / f"environment-{name}", OBEDIENT)
        return make_spec(name, self.place, environment)

    async def crash(self, spec: LaunchSpec, words: str) -> None:
        (spec.directory / "said").write_text(words)
        (spec.directory / "said").rename(spec.directory / "crash")

    async def lose(self) -> None:
        supervisor_process(await self.link.open()).kill()


def make_spec(
    name: str, place: Path, environment: Path, *, mode: Mode = Mode.EDIT, notebook: str = ""
) -> LaunchSpec:
    """A session of a workspace with one notebook."""
    workspace = place / f"workspace-{name}"
    workspace.mkdir()
    (workspace / "A1.py").write_text(notebook or "# a notebook\n")
    return LaunchSpec(
        session_id=f"session-{name}",
        owner=name,
        item="A1",
        mode=mode,
        directory=workspace,
        notebook="A1.py",
        environment=environment,
        base_url=f"/{mode.value}/user/{name}/A1",
        uid_slot=7,
    )


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
async def local(runtime: Path, tmp_path: Path, uv_cache: Path) -> AsyncIterator[Local]:
    assert _nobody_else_may_enter(tmp_path)
    link = SupervisorLink(real_config(runtime, tmp_path, uv_cache))
    yield Local(tmp_path, link, LocalLauncher(link, LimitsSettings()))
    await link.close()


@pytest.fixture(params=["in memory", "local"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    bench: Bench = InMemory(tmp_path)
    if request.param == "local":
        bench = request.getfixturevalue("local")
    bench.launcher.watch(bench.ear.ended, bench.ear.lose)
    return bench


async def ids(launcher: Launcher) -> list[str]:
    """The sessions that it says it has."""
    return sorted(launched.session_id for launched in await launcher.running())


async def test_a_session_runs_from_start_to_stop(bench: Bench) -> None:
    one, two = bench.spec("one"), bench.spec("two")
    first, second = await bench.launcher.start(one), await bench.launcher.start(two)
    assert first.session_id == one.session_id
    assert first.endpoint != second.endpoint
    assert await ids(bench.launcher) == ["session-one", "session-two"]
    assert first in await bench.launcher.running()
    assert await bench.launcher.stop(one.session_id)
    assert await ids(bench.launcher) == ["session-two"]
    await bench.ear.hear(lambda: [e.session_id for e in bench.ear.exits] == ["session-one"])
    assert await bench.launcher.stop(two.session_id)


async def test_an_id_is_in_use_until_its_session_has_ended(bench: Bench) -> None:
    spec = bench.spec("one")
    await bench.launcher.start(spec)
    with pytest.raises(Conflict):
        await bench.launcher.start(spec)
    assert await ids(bench.launcher) == ["session-one"]
    await bench.launcher.stop(spec.session_id)
    await bench.launcher.start(spec)
    assert await bench.launcher.stop(spec.session_id)


async def test_stopping_what_does_not_run_is_no_error(bench: Bench) -> None:
    assert await bench.launcher.stop("session-unknown") is False
    spec = bench.spec("one")
    await bench.launcher.start(spec)
    assert await bench.launcher.stop(spec.session_id)
    assert await bench.launcher.stop(spec.session_id) is False


async def test_an_end_is_told_once_with_the_last_words(bench: Bench) -> None:
    spec = bench.spec("one")
    await bench.launcher.start(spec)
    await bench.crash(spec, "out of patience\n")
    await bench.ear.hear(lambda: bool(bench.ear.exits))
    assert bench.ear.exits == [Exit("session-one", 3, "out of patience\n")]
    assert await ids(bench.launcher) == []
    assert await bench.launcher.stop(spec.session_id) is False
    assert len(bench.ear.exits) == 1


async def test_its_own_end_is_told_and_takes_all_along(bench: Bench) -> None:
    await bench.launcher.start(bench.spec("one"))
    await bench.lose()
    await bench.ear.hear(lambda: bench.ear.lost)
    assert await ids(bench.launcher) == []


# --- the real one, with a real marimo -------------------------------------------------------


@pytest.fixture
async def environment(local: Local, run_directory: Path) -> Path:
    """marimo and nothing else, built once in a run."""
    if ENVIRONMENT:
        return Path(ENVIRONMENT)
    source = real_environments(run_directory / "environments", local.link, local.place)
    return (await source.prepare(Script(), lambda _: None)).directory


NOTEBOOK = """import marimo

app = marimo.App()


@app.cell
def _():
    from pathlib import Path

    try:
        Path("made.txt").write_text("made by the notebook")
        tried = "written"
    except OSError as error:
        tried = f"refused: {error.strerror}"
    tried
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.mark.timeout(300)
async def test_an_edit_session_serves_marimo_and_writes_its_workspace(
    local: Local, environment: Path
) -> None:
    """B24"""
    spec = make_spec("alice", local.place, environment, notebook=NOTEBOOK)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(_address(endpoint, spec)) as editor:
        assert (await _shown(editor)).count("written") == 1
        shown = await editor.edit(0, "import os; 6 * 7, os.getuid(), os.getcwd()")
        assert "42" in shown.data
        assert "1000" in shown.data
        assert "/home/student/work" in shown.data
        await editor.save()
    made = spec.directory / "made.txt"
    assert made.read_text() == "made by the notebook"
    assert made.stat().st_uid == (UID_BASE + 7 if os.geteuid() == 0 else os.geteuid())
    assert "6 * 7" in (spec.directory / "A1.py").read_text()
    await local.launcher.stop(spec.session_id)


@pytest.mark.timeout(300)
async def test_a_lecture_is_served_and_its_files_stay_as_they_are(
    local: Local, environment: Path
) -> None:
    spec = make_spec("bob", local.place, environment, mode=Mode.RUN, notebook=NOTEBOOK)
    before = _contents(spec.directory)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(_address(endpoint, spec), run=False) as editor:
        assert "Read-only file system" in await _shown(editor)
    await local.launcher.stop(spec.session_id)
    assert _contents(spec.directory) == before


async def soon_healthy(endpoint: Endpoint, spec: LaunchSpec) -> None:
    """The socket queues until the server is there; nobody has to ask twice."""
    async with asyncio.timeout(120):
        assert await answers(endpoint, spec.base_url)


async def _shown(editor: MarimoClient) -> str:
    cell = editor.cells.ids[0]
    await editor.until(lambda: cell in editor.progress.outputs)
    return editor.progress.outputs[cell].data


def _address(endpoint: Endpoint, spec: LaunchSpec) -> Address:
    url = f"http://session{spec.base_url}"
    return Address(base_url=url, socket=endpoint.socket, timeout=100)


def _contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def _nobody_else_may_enter(path: Path) -> bool:
    return any(not parent.stat().st_mode & 0o077 for parent in (path, *path.parents))
