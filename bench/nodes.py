"""Nodes: processor share and memory of a hub with 2,000 idle sessions on 20 nodes.

The hub is real, the nodes are not (``tests.support.fake_node_processes``): they speak the real wire
and protocol from processes of their own, and their sessions are entries of a dictionary.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Target
from bench.options import Options
from bench.processes import MIB, own_cpu_seconds, resident
from bench.report import Budget, Row, say
from bench.stage import CACHE, ITEM, Stage, notebook_text
from bench.wire import Line, WebSocket, open_websocket
from tests.support.course import put_release
from tests.support.fake_node_processes import fake_nodes
from tests.support.hub import HubConfig, HubProcess
from tests.support.identity import instructor, student

_NODES, _SESSIONS = 20, 2000
_AT_ONCE = 16
_JOIN_SECONDS = 120.0
_ENDED, _WAITING = 500, 100
"""How many more sessions end before the hub is watched again, and how many starts then wait."""
_SETTLE_SECONDS = 20.0
_FULL_SECONDS = 5.0
"""Longer than the time between two statuses of a node."""
_MOST_SHARE = Budget(4, unit="% of a core")
_LOOKS = 4
"""The number of equal parts of the watched time; memory is read at the end of each."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A hub with its nodes' sessions; ``place`` is the directory that the nodes were given."""

    hub: HubProcess
    nodes: int
    users: tuple[str, ...]
    place: Path

    async def asked(self, path: str) -> list[dict[str, object]]:
        """Return the JSON list at a path of the hub, as an instructor sees it."""
        line = Line(Target(path="", port=self.hub.port))
        answer = await line.ask(path, headers=instructor())
        line.close()
        found: list[dict[str, object]] = json.loads(answer.expect())
        return found


@dataclass(frozen=True, slots=True)
class _Watched:
    """Per cent of a core that the hub used, and its memory in bytes after each part."""

    share: float
    sizes: tuple[int, ...]

    @property
    def growth(self) -> float:
        """MiB by which the memory has grown from the first part to the last."""
        return (self.sizes[-1] - self.sizes[0]) / MIB


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open the sessions and watch the hub: idle, after others ended, full, and with pages."""
    few = 10 if options.quick else 1
    users = tuple(f"idler{number}" for number in range(_SESSIONS // few))
    with _hub_with_nodes(stage, _NODES // few, users) as scene:
        hub = scene.hub
        await _until_connected(scene)
        say(f"  opening {len(users)} sessions on {scene.nodes} nodes")
        seconds, paths = await _start_all(scene)
        seconds_each = options.idle * 4 / _LOOKS
        say(f"  watching for {seconds_each * _LOOKS:.0f} s, and again after each change")
        idle = await _watch_hub(hub.pid, seconds_each)
        say(f"  ending {_ENDED // few} further sessions, then having {_WAITING // few} starts wait")
        await _start_and_end(scene, _ENDED // few)
        ended = await _watch_hub(hub.pid, seconds_each)
        async with _waiting(scene, _WAITING // few):
            full = await _watch_hub(hub.pid, seconds_each)
        say("  opening every page")
        pages = await _open_pages(scene, paths)
        busy = await _watch_hub(hub.pid, seconds_each)
        for page in pages:
            page.close()
        there = len(await scene.asked("/sessions"))
    return [
        *_rows(scene, there, seconds, idle, busy),
        _share(scene, f"after {_ENDED // few} others have ended", ended),
        _share(scene, f"while {_WAITING // few} starts wait", full),
    ]


def _share(scene: _Scene, when: str, watched: _Watched) -> Row:
    what = f"nodes: {len(scene.users)} idle sessions on {scene.nodes} nodes"
    return Row(f"{what}, {when}", "% of a core", (watched.share,), _MOST_SHARE)


def _rows(scene: _Scene, there: int, seconds: float, idle: _Watched, busy: _Watched) -> list[Row]:
    what = f"nodes: {len(scene.users)} idle sessions on {scene.nodes} nodes"
    sizes = ", ".join(f"{size / MIB:.0f}" for size in (*idle.sizes, *busy.sizes))
    return [
        Row(
            f"{what}, no page open",
            "% of a core",
            (idle.share,),
            _MOST_SHARE,
            f"the hub alone; its memory at the ends of {2 * _LOOKS} parts: {sizes} MiB; "
            f"started within {seconds:.0f} s",
        ),
        Row(f"{what}, every page open", "% of a core", (busy.share,), None),
        Row(
            f"{what}: growth of the hub's memory",
            "MiB",
            (max(idle.growth, busy.growth),),
            Budget(5, unit="MiB"),
        ),
        Row(
            f"{what}: sessions lost",
            "sessions",
            (len(scene.users) - there,),
            Budget(0, unit="sessions"),
        ),
    ]


@contextmanager
def _hub_with_nodes(stage: Stage, count: int, users: tuple[str, ...]) -> Iterator[_Scene]:
    """Run a hub with the stage's environments, and so many nodes."""
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(dir=stage.directory))
        runtime = Path(tempfile.mkdtemp(prefix="mgn-", dir="/tmp"))
        stack.callback(shutil.rmtree, runtime, ignore_errors=True)
        course = place / "course"
        course.mkdir()
        put_release(course, ITEM, notebook_text())
        settings: dict[str, object] = {
            "hub.uv_cache_dir": str(CACHE),
            "hub.runtime_dir": str(runtime),
            "hub.environments_dir": str(stage.hub.course / ".mograder" / "environments"),
            "limits.line_length": _SESSIONS,
            "nodes.enabled": True,
        }
        log = place / "hub.log"
        hub = stack.enter_context(HubProcess(course, log, HubConfig(settings=settings)))
        stack.enter_context(fake_nodes(hub, count, runtime))
        yield _Scene(hub, count, users, runtime)


async def _until_connected(scene: _Scene) -> None:
    """Wait until every node may run sessions."""
    async with asyncio.timeout(_JOIN_SECONDS):
        while True:
            ready = [each for each in await scene.asked("/nodes") if each["state"] == "ready"]
            if len(ready) == scene.nodes:
                return
            await asyncio.sleep(0.5)


async def _start_all(scene: _Scene) -> tuple[float, dict[str, str]]:
    """Start everybody's session; return the seconds that it took, and the path of each."""
    paths: dict[str, str] = {}
    few = asyncio.Semaphore(_AT_ONCE)

    async def start(user: str) -> None:
        async with few:
            line = Line(Target(path="", port=scene.hub.port))
            answer = await line.ask(f"/start-edit-deep/{ITEM}", body=b"{}", headers=student(user))
            paths[user] = "/" + str(json.loads(answer.expect())["url"]).strip("/")
            line.close()

    begun = time.monotonic()
    await asyncio.gather(*map(start, scene.users))
    return time.monotonic() - begun, paths


async def _open_pages(scene: _Scene, paths: dict[str, str]) -> list[WebSocket]:
    """Open the WebSocket that each page of marimo's has."""
    pages: list[WebSocket] = []
    few = asyncio.Semaphore(_AT_ONCE)

    async def open_page(user: str) -> None:
        async with few:
            target = Target(path=paths[user], port=scene.hub.port, headers=student(user))
            pages.append(await open_websocket(target, "/ws?session_id=s_1", lambda _: None))

    await asyncio.gather(*map(open_page, scene.users))
    return pages


async def _start_and_end(scene: _Scene, count: int) -> None:
    """Start and end the sessions of so many others."""
    others = tuple(f"goner{number}" for number in range(count))
    await _start_all(replace(scene, users=others))
    few = asyncio.Semaphore(_AT_ONCE)

    async def end(user: str) -> None:
        async with few:
            line = Line(Target(path="", port=scene.hub.port))
            path = f"/stop-edit/{user}/{ITEM}"
            (await line.ask(path, body=b"{}", headers=student(user))).expect()
            line.close()

    await asyncio.gather(*map(end, others))


@asynccontextmanager
async def _waiting(scene: _Scene, count: int) -> AsyncIterator[None]:
    """Have so many starts wait, since the nodes say that they carry out none."""
    full = scene.place / "full"
    await asyncio.to_thread(full.write_text, "1")
    await asyncio.sleep(_FULL_SECONDS)
    others = tuple(f"waiter{number}" for number in range(count))
    lines = [Line(Target(path="", port=scene.hub.port)) for _ in others]
    path = f"/start-edit-deep/{ITEM}"
    asked = [
        asyncio.create_task(line.ask(path, body=b"{}", headers=student(user)))
        for line, user in zip(lines, others, strict=True)
    ]
    try:
        yield
        if any(each.done() for each in asked):
            raise AssertionError("a start did not wait, though all nodes were full")
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        for line in lines:
            line.close()


async def _watch_hub(pid: int, seconds: float) -> _Watched:
    """Watch the hub for several parts of so many seconds each, after it has settled."""
    await asyncio.sleep(_SETTLE_SECONDS)
    shares, sizes = [], []
    for _ in range(_LOOKS):
        begun, before = time.monotonic(), own_cpu_seconds(pid)
        await asyncio.sleep(seconds)
        shares.append(100 * (own_cpu_seconds(pid) - before) / (time.monotonic() - begun))
        sizes.append(resident(pid))
    told = ", ".join(f"{share:.1f}" for share in shares)
    say(f"  shares {told} % (load {os.getloadavg()[0]:.1f})")
    return _Watched(statistics.mean(shares), tuple(sizes))
