"""A session on another machine, by the wire between hub and node, against one on this machine.

Hub's proxy, node and server of the session are processes of their own on this machine, so the
network has no delay, and the processors are shared: the difference is what the wire itself costs.
First outputs and the hub's processor time are those of real sessions, which run already.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from bench.load import Target, seconds_of_one
from bench.options import Options
from bench.processes import exact_cpu_seconds
from bench.proxy import make_large_file
from bench.report import Budget, Row
from bench.stage import ITEM, Stage
from bench.tab import Tab
from bench.wire import Line
from tests.support.marimo import Address, open_editor
from tests.support.node_parts import Plan, PlannedSession
from tests.support.process import ServerProcess
from tests.support.session_proxy import bearer

_MESSAGES = 400
_REQUESTS = 100
_LARGE_FILES = 6
_CELLS = 20
_TEXT = "x" * 200
_SECONDS = 60.0
_ECHO = ("echo-here", "echo-there")


@dataclass(frozen=True, slots=True)
class _Parts:
    """The running rig: where its hub is, and its process."""

    port: int
    pid: int

    def target(self, user: str, item: str) -> Target:
        """The session of a user."""
        return Target(path=f"/edit/user/{user}/{item}", port=self.port, headers=bearer(user))


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Do the same work by both ways in turns."""
    async with _real_sessions(stage, 1 + options.rounds) as sessions:
        with _parts(stage.directory / "node", sessions) as parts:
            here, there = (parts.target(user, ITEM) for user in _ECHO)
            return [
                await _messages(here, there, options.rounds),
                await _posts(here, there, options.rounds),
                await _large_files(parts, sessions[:2], options.rounds),
                *await _tabs(parts, sessions[2:]),
            ]


@asynccontextmanager
async def _real_sessions(stage: Stage, pairs: int) -> AsyncIterator[list[PlannedSession]]:
    """Start pairs of sessions; the hub is to reach the second of each by the node."""
    sessions = []
    try:
        for number in range(2 * pairs):
            user, before = stage.newcomer(), stage.known_sockets()
            await stage.start_session(user)
            (path,) = stage.known_sockets() - before
            sessions.append(PlannedSession(user, ITEM, str(path), bool(number % 2)))
        yield sessions
    finally:
        await stage.stop_sessions([each.user for each in sessions])


@contextmanager
def _parts(directory: Path, sessions: Sequence[PlannedSession]) -> Iterator[_Parts]:
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        _launch(stack, "session", directory, directory / "session.json")
        echo = json.loads((directory / "session.json").read_text())["socket"]
        own = [PlannedSession(user, ITEM, echo, user == _ECHO[1]) for user in _ECHO]
        Plan((*sessions, *own)).write(directory)
        hub = _launch(stack, "hub", directory, directory / "identity.json")
        _launch(stack, "node", directory, directory / "hub.json")
        host = json.loads((directory / "hub.json").read_text())["host"]
        yield _Parts(int(host.rpartition(":")[2]), hub.pid)


def _launch(
    stack: contextlib.ExitStack, part: str, directory: Path, appears: Path
) -> ServerProcess:
    """Start a part and wait for the file that it, or the hub because of it, writes."""
    process = ServerProcess(part, directory / f"{part}.log")
    command = [sys.executable, "-m", "tests.support.node_parts", part, str(directory)]
    process.launch(command, {"PYTHONUNBUFFERED": "1"}, Path(__file__).parent.parent)
    stack.callback(process.stop)
    process.wait_until(appears.exists, _SECONDS)
    return process


async def _messages(here: Target, there: Target, rounds: int) -> Row:
    local: list[float] = []
    remote: list[float] = []
    async with _socket(here) as one, _socket(there) as other:
        for _ in range(rounds * _MESSAGES):
            local.append(await _round_trip(one))
            remote.append(await _round_trip(other))
    more = tuple(theirs - ours for ours, theirs in zip(local, remote, strict=True))
    return Row(
        "node: a message and its echo, beyond the local one",
        "ms",
        "",
        more,
        (),
        Budget(0.5, unit="ms"),
        f"medians: {statistics.median(remote):.3g} ms by the node, "
        f"{statistics.median(local):.3g} ms on this machine",
    )


@asynccontextmanager
async def _socket(target: Target) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{target.port}{target.path}/ws?session_id=s_bench1"
    async with connect(url, additional_headers=dict(target.headers), proxy=None) as socket:
        yield socket


async def _round_trip(connection: ClientConnection) -> float:
    started = time.perf_counter()
    await connection.send(_TEXT)
    await connection.recv()
    return (time.perf_counter() - started) * 1000


async def _posts(here: Target, there: Target, rounds: int) -> Row:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, target in enumerate((here, there)):
            times[way].extend(await _some_posts(target))
    return Row("node: a POST", "ms", "this machine", tuple(times[1]), tuple(times[0]), Budget(1.5))


async def _some_posts(target: Target) -> list[float]:
    line, taken = Line(target), []
    for _ in range(_REQUESTS):
        started = time.perf_counter()
        (await line.ask("/small", body=b"{}", headers=target.headers)).expect()
        taken.append((time.perf_counter() - started) * 1000)
    line.close()
    return taken


async def _large_files(parts: _Parts, pair: Sequence[PlannedSession], rounds: int) -> Row:
    """Get 10 MB that a real session's kernel offers."""
    rates: tuple[list[float], list[float]] = ([], [])
    targets = [parts.target(each.user, each.item) for each in pair]
    addresses = [
        Address(base_url=f"http://127.0.0.1:{each.port}{each.path}", headers=dict(each.headers))
        for each in targets
    ]
    async with open_editor(addresses[0]) as one, open_editor(addresses[1]) as other:
        paths = [await make_large_file(one), await make_large_file(other)]
        for _ in range(rounds * _LARGE_FILES):
            for way, target in enumerate(targets):
                seconds, size = await seconds_of_one(_below(target, paths[way]))
                rates[way].append(size / seconds / 1e6)
    return Row(
        "node: 10 MB",
        "MB/s",
        "this machine",
        tuple(rates[1]),
        tuple(rates[0]),
        Budget(0.6, at_most=False),
    )


def _below(target: Target, path: str) -> Target:
    return Target(path=target.path + path, port=target.port, headers=target.headers)


async def _tabs(parts: _Parts, sessions: Sequence[PlannedSession]) -> list[Row]:
    """Open each session's page once, then run cells there."""
    first: tuple[list[float], list[float]] = ([], [])
    spent: tuple[list[float], list[float]] = ([], [])
    for each in sessions:
        before = exact_cpu_seconds(parts.pid)
        tab = Tab(parts.target(each.user, each.item), time.perf_counter())
        await tab.open()
        for number in range(_CELLS):
            await tab.run(0, f"v0 = {number}\nv0", str(number))
        tab.close()
        first[each.by_node].append(tab.times.first_output)
        spent[each.by_node].append(1000 * (exact_cpu_seconds(parts.pid) - before))
    return [
        Row(
            "node: from the request of the page to the first output",
            "s",
            "this machine",
            tuple(first[1]),
            tuple(first[0]),
            Budget(1.5),
        ),
        Row(
            f"node: the hub's processor time of a session that is opened and runs {_CELLS} cells",
            "ms of CPU",
            "this machine",
            (statistics.mean(spent[1]),),
            (statistics.mean(spent[0]),),
            Budget(1.2),
        ),
    ]
