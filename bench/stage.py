"""The hub's side of every comparison: a course with one small notebook, as it runs in earnest.

The supervisor is a service of its own, as the shipped units have it, so that a row may kill the
hub and find its sessions alive. ``bench.plain_marimo`` is the other side.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Target
from bench.report import say
from bench.tab import Tab
from bench.wire import Line
from mograder.sandbox.protocol import ANSWER, Call, Done, Hello, encode
from tests.support.hub import MOGRADER, HubConfig, HubProcess, run_mograder, write_settings
from tests.support.identity import SECRET, instructor_token, student
from tests.support.marimo import Address
from tests.support.process import ServerProcess

ITEM = "bench"
WARM_ENVIRONMENTS = 8
CACHE = Path(__file__).parent.parent / ".tools" / "test-uv-cache"
_CELLS = 10
_START_SECONDS = 180.0
_WARM_SECONDS = 60.0


@dataclass(slots=True)
class Stage:
    """A hub that has the benchmark's notebook published, its supervisor, and its students."""

    hub: HubProcess
    supervisor: ServerProcess
    directory: Path
    runtime: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _here: set[str] = field(default_factory=set)

    @property
    def python(self) -> Path:
        """The python of the notebook's environment."""
        (python,) = (self.hub.course / ".mograder" / "environments").glob("*/env/bin/python")
        return python

    def newcomer(self) -> str:
        """Return a student name that was not used before."""
        return f"student{next(self._numbers)}"

    async def arrive(self, user: str) -> Tab:
        """Follow the deep link's request as a student's program does; returns the unopened tab.

        Raises: :class:`~bench.wire.Refused` when the hub does.
        """
        self._here.add(user)
        return await arrive(self.hub.port, user)

    async def open_tab(self, user: str) -> Tab:
        """Arrive, and have the page, the kernel and every cell's output."""
        tab = await self.arrive(user)
        return await tab.open()

    async def start_session(self, user: str) -> Address:
        """Start a session without opening it; where its editor is then."""
        (await self.arrive(user)).close()
        url = f"{self.hub.url}/edit/user/{user}/{ITEM}"
        return Address(base_url=url, headers=student(user), timeout=_START_SECONDS)

    async def stop_session(self, user: str) -> None:
        """End a session, so that the next measurement starts with an idle machine."""
        line = Line(Target(path="", port=self.hub.port))
        path = f"/stop-edit/{user}/{ITEM}"
        (await line.ask(path, body=b"{}", headers=student(user))).expect()
        line.close()
        self._here.discard(user)

    async def clear(self) -> None:
        """End the sessions that a broken measurement left behind, if the hub still runs."""
        there = await asyncio.to_thread(self.hub.healthy)
        if there and self._here:
            await self.stop_sessions(list(self._here))

    async def stop_sessions(self, users: list[str]) -> None:
        """End many sessions, a few at a time."""
        few = asyncio.Semaphore(8)

        async def stop(user: str) -> None:
            async with few:
                await self.stop_session(user)

        await asyncio.gather(*(stop(user) for user in users))

    async def starts(self) -> Counter[str]:
        """How many sessions started warm and how many cold so far, as the supervisor counts."""
        reader, writer = await asyncio.open_unix_connection(str(self.runtime / "supervisor.sock"))
        writer.write(encode(Call(id=1, operation=Hello())))
        answer = ANSWER.validate_json(await reader.readline())
        writer.close()
        await writer.wait_closed()
        assert isinstance(answer, Done), answer
        return Counter(answer.starts)

    def direct(self, address: Address, before: frozenset[Path]) -> Address:
        """The same editor without the hub: by the socket that appeared since ``before``."""
        (socket,) = self.known_sockets() - before
        path = address.base_url.removeprefix(self.hub.url)
        return Address(base_url=f"http://localhost{path}", socket=socket, timeout=_START_SECONDS)

    def known_sockets(self) -> frozenset[Path]:
        """The sockets of all sessions that live now."""
        return frozenset((self.runtime / "s").rglob("*.sock"))


async def arrive(port: int, user: str) -> Tab:
    """Follow the deep link's request on a hub at this port; as :meth:`Stage.arrive`."""
    asked = time.perf_counter()
    headers = student(user)
    line = Line(Target(path="", port=port))
    answer = await line.ask(f"/start-edit-deep/{ITEM}", body=b"{}", headers=headers)
    path = "/" + str(json.loads(answer.expect())["url"]).strip("/")
    return Tab(Target(path=path, port=port, headers=headers), asked, line)


async def warm_up(stage: Stage) -> bool:
    """Start sessions until one of them was warm; whether one was, within a minute."""
    deadline = time.monotonic() + _WARM_SECONDS
    while time.monotonic() < deadline:
        user = stage.newcomer()
        tab = await stage.open_tab(user)
        tab.close()
        await stage.stop_session(user)
        if (await stage.starts())["warm"]:
            return True
    return False


@contextmanager
def set_up() -> Iterator[Stage]:
    """Make a course with one small notebook, start a hub on it, publish, and clean up after."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="mograder-bench-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        runtime = Path(tempfile.mkdtemp(prefix="mgb-", dir="/tmp"))
        stack.callback(shutil.rmtree, runtime, ignore_errors=True)
        course = directory / "course"
        release = course / "release" / ITEM
        release.mkdir(parents=True)
        (release / f"{ITEM}.py").write_text(notebook_text())
        settings: dict[str, object] = {
            "hub.uv_cache_dir": str(CACHE),
            "hub.runtime_dir": str(runtime),
            "hub.supervisor_socket": str(runtime / "supervisor.sock"),
            "limits.warm_environments": WARM_ENVIRONMENTS,
        }
        hub = HubProcess(course, directory / "hub.log", HubConfig(settings=settings))
        write_settings(course, settings)
        supervisor = ServerProcess("mograder hub supervisor", directory / "supervisor.log")
        stack.callback(supervisor.stop, 60)
        command = [str(MOGRADER), "hub", "supervisor", "-C", str(course)]
        supervisor.launch(command, hub.environment(), course)
        supervisor.wait_until((runtime / "supervisor.sock").is_socket, _START_SECONDS)
        stack.enter_context(hub)
        _publish(hub, course)
        yield Stage(hub, supervisor, directory, runtime)
        say("cleaning up …")


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
