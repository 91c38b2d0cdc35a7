"""The two sides of every comparison: a real hub with a course, and a plain ``marimo edit``."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.e2e.support.hub import HubConfig, HubProcess, outside, run_mograder
from tests.e2e.support.identity import SECRET, instructor_token, student
from tests.e2e.support.marimo import Address, MarimoClient, open_editor
from tests.e2e.support.process import ServerProcess, accepts, free_port

ITEM = "bench"
_CELLS = 10
_CACHE = Path(__file__).parent.parent / ".tools" / "test-uv-cache"
_START_SECONDS = 180.0


@dataclass(slots=True)
class Stage:
    """A hub that has the benchmark's notebook published, and how to start a marimo without it."""

    hub: HubProcess
    directory: Path
    python: Path
    sockets: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def newcomer(self) -> str:
        """The name of a student who was never here."""
        return f"student{next(self._numbers)}"

    async def start_session(self, user: str) -> Address:
        """Follow the deep link's request as a student's program does; where the editor is then."""
        async with httpx.AsyncClient(trust_env=False, timeout=_START_SECONDS) as client:
            answer = await client.post(
                f"{self.hub.url}/start-edit-deep/{ITEM}", headers=student(user)
            )
        answer.raise_for_status()
        url = f"{self.hub.url}/{answer.json()['url']}".rstrip("/")
        return Address(base_url=url, headers=student(user), timeout=_START_SECONDS)

    async def stop_session(self, user: str) -> None:
        """End a session, so that the next measurement starts with an idle machine."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(
                f"{self.hub.url}/stop-edit/{user}/{ITEM}", headers=student(user)
            )
        answer.raise_for_status()

    def direct(self, address: Address, before: frozenset[Path]) -> Address:
        """The same editor without the hub: by the socket that appeared since ``before``."""
        (socket,) = self.known_sockets() - before
        path = address.base_url.removeprefix(self.hub.url)
        return Address(base_url=f"http://localhost{path}", socket=socket, timeout=_START_SECONDS)

    def known_sockets(self) -> frozenset[Path]:
        """The sockets of all sessions that live now."""
        return frozenset(self.sockets.rglob("*.sock"))

    @contextmanager
    def plain_marimo(self) -> Iterator[tuple[ServerProcess, Address]]:
        """Start a cold ``marimo edit`` on a fresh copy, in the same environment; not waited for."""
        place = Path(tempfile.mkdtemp(dir=self.directory))
        notebook = place / f"{ITEM}.py"
        notebook.write_text(notebook_text())
        port = free_port()
        options = ["--headless", "--no-token", "--no-sandbox", "--skip-update-check"]
        where = ["--host", "127.0.0.1", "-p", str(port)]
        server = ServerProcess("marimo", place / "log")
        command = [str(self.python), "-m", "marimo", "-q", "edit", *options, *where, str(notebook)]
        try:
            server.launch(command, {**outside(), "HOME": str(place)}, place)
            yield server, Address(base_url=f"http://127.0.0.1:{port}", timeout=_START_SECONDS)
        finally:
            server.stop()


@dataclass(frozen=True, slots=True)
class Opened:
    """How long it took from asking until the page, and until the first output, in seconds."""

    page: float
    first_output: float


async def time_hub(stage: Stage) -> Opened:
    """A new student asks for the editor and opens it."""
    user = stage.newcomer()
    asked = time.perf_counter()
    address = await stage.start_session(user)
    async with _opened(address, asked) as opened:
        result = opened
    await stage.stop_session(user)
    return result


async def time_plain(stage: Stage) -> Opened:
    """Somebody types ``marimo edit`` and opens it."""
    asked = time.perf_counter()
    with stage.plain_marimo() as (server, address):
        port = httpx.URL(address.base_url).port or 0
        server.wait_until(lambda: accepts(port), _START_SECONDS)
        async with _opened(address, asked) as opened:
            return opened


@asynccontextmanager
async def _opened(address: Address, asked: float) -> AsyncIterator[Opened]:
    offset = time.perf_counter() - asked
    async with open_editor(address) as editor:
        yield Opened(offset + _at(editor, "page"), offset + _at(editor, "first-output"))


def _at(editor: MarimoClient, stage: str) -> float:
    return editor.progress.stages[stage]


@contextmanager
def set_up() -> Iterator[Stage]:
    """Make a course with one small notebook, start a hub on it, publish, and clean up after."""
    directory = Path(tempfile.mkdtemp(prefix="mograder-bench-", dir="/var/tmp"))
    runtime = Path(tempfile.mkdtemp(prefix="mgb-", dir="/tmp"))
    course = directory / "course"
    release = course / "release" / ITEM
    release.mkdir(parents=True)
    (release / f"{ITEM}.py").write_text(notebook_text())
    settings = {"hub.uv_cache_dir": str(_CACHE), "hub.runtime_dir": str(runtime)}
    try:
        with HubProcess(course, directory / "hub.log", HubConfig(settings=settings)) as hub:
            _publish(hub, course)
            (python,) = (course / ".mograder" / "environments").glob("*/env/bin/python")
            yield Stage(hub, directory, python, runtime / "s")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(runtime, ignore_errors=True)


def _publish(hub: HubProcess, course: Path) -> None:
    env = {
        "MOGRADER_HUB_URL": hub.url,
        "MOGRADER_HUB_INSTRUCTOR_TOKEN": instructor_token(SECRET),
    }
    done = run_mograder("hub", "publish", ITEM, "--force", env=env, cwd=course, seconds=900)
    if done.status != 0:
        sys.exit(f"publishing failed:\n{done.output}{done.errors}")


def notebook_text() -> str:
    """A small notebook: marimo, and cells that depend on each other."""
    cells = "".join(
        f"@app.cell\ndef _(v{n - 1}):\n    v{n} = v{n - 1} + 1\n    v{n}\n    return (v{n},)\n\n\n"
        for n in range(1, _CELLS)
    )
    return (
        '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["marimo"]\n# ///\n'
        "import marimo\n\napp = marimo.App()\n\n\n"
        "@app.cell\ndef _():\n    v0 = 0\n    v0\n    return (v0,)\n\n\n"
        f'{cells}if __name__ == "__main__":\n    app.run()\n'
    )
