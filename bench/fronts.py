"""Fronts: the fast path through nginx and Caddy, each as it is shipped, against the session itself.

The front asks the hub to authorise each request and carries it itself. Programs, hub and session
are real; only the WebSocket echo server is ours, since marimo's own socket does not echo.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect, unix_connect

from bench.load import Target, requests_per_second, seconds_of_one
from bench.options import Options
from bench.proxy import capability_path, make_large_file
from bench.report import Budget, Row
from bench.stage import Stage
from bench.support.fronts import Place, shipped, two_ports
from bench.support.marimo import open_editor
from bench.support.process import free_port
from bench.support.session_proxy import DOCUMENT, cookie, running_rig, served_on_unix

_CONNECTIONS = 8
_SECONDS = 0.5
_MESSAGES = 200
_TEXT = "x" * 200
_HEALTH = {"nginx": 0.6, "caddy": 0.5}
_LARGE, _ECHO_MS = 4.0, 0.2
_BASE = re.compile(r' src="([^"]*/s/[^"/]+)/"')


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Measure one front after the other, each alternating with direct requests to the session."""
    user, before = stage.newcomer(), stage.known_sockets()
    address = await stage.start_session(user)
    direct = stage.direct(address, before)
    path = address.base_url.removeprefix(stage.hub.url)
    rows: list[Row] = []
    async with open_editor(address) as editor:
        large = await make_large_file(editor)
        root = await capability_path(stage, user, path)
        for program in _HEALTH:
            with _front(stage, program) as port:
                near = Target(path=path, socket=direct.socket)
                far = Target(path=root, port=port)
                rows.append(await _health(program, near, far, options.rounds))
                rows.append(await _one_large(program, near, far, large, options.rounds))
    await stage.stop_session(user)
    return rows + [await _echoes(stage, program, options.rounds) for program in _HEALTH]


@contextmanager
def _front(stage: Stage, program: str) -> Iterator[int]:
    place = Place(port=free_port(), hub_port=stage.hub.port, fast=True, request_mb=256)
    with shipped(program, place, stage.directory / f"{program}-{place.port}"):
        yield place.port


async def _health(program: str, near: Target, far: Target, rounds: int) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds * 4):
        for samples, target in ((theirs, near), (ours, far)):
            there = _below(target, "/health")
            samples.append(
                await requests_per_second(there, connections=_CONNECTIONS, seconds=_SECONDS)
            )
    budget = Budget(_HEALTH[program], at_most=False)
    name = f"{program}: /health on the fast path"
    return Row(name, "requests/s", "direct", tuple(ours), tuple(theirs), budget)


async def _one_large(program: str, near: Target, far: Target, path: str, rounds: int) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds * 4):
        for samples, target in ((theirs, near), (ours, far)):
            seconds, _ = await seconds_of_one(_below(target, path))
            samples.append(seconds * 1000)
    name = f"{program}: 10 MB on the fast path"
    return Row(name, "ms", "direct", tuple(ours), tuple(theirs), Budget(_LARGE))


async def _echoes(stage: Stage, program: str, rounds: int) -> Row:
    ours, theirs = [], []
    port, hub_port = two_ports()
    place = Place(port=port, hub_port=hub_port, fast=True)
    directory = stage.directory / f"{program}-echo-{port}"
    with shipped(program, place, directory):
        async with _two_lines(place) as (far, near):
            for _ in range(rounds * _MESSAGES):
                ours.append(await _round_trip(far))
                theirs.append(await _round_trip(near))
    return Row(
        f"{program}: a WebSocket message and its echo",
        "ms",
        "direct",
        tuple(ours),
        tuple(theirs),
        Budget(_ECHO_MS, unit="ms"),
        note="client and echo share one process and its event loop",
    )


@asynccontextmanager
async def _two_lines(place: Place) -> AsyncIterator[tuple[ClientConnection, ClientConnection]]:
    """A WebSocket to an echo through the front, and one without."""
    async with served_on_unix(_echo) as socket, running_rig(port=place.hub_port) as rig:
        session = rig.session(socket)
        async with httpx.AsyncClient(base_url=place.url, trust_env=False) as client:
            page = await client.get(session.base_url + "/", headers={**cookie("alice"), **DOCUMENT})
        found = _BASE.search(page.text)
        assert found, f"no capability: {page.status_code} {page.text[:300]}"
        url = f"{place.url.replace('http', 'ws', 1)}{found.group(1)}/ws"
        async with (
            connect(url, proxy=None) as far,
            unix_connect(str(socket), f"ws://localhost{session.base_url}/ws") as near,
        ):
            yield far, near


async def _round_trip(connection: ClientConnection) -> float:
    started = time.perf_counter()
    await connection.send(_TEXT)
    await connection.recv()
    return (time.perf_counter() - started) * 1000


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        page = b"<html><head></head></html>"
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(page)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def _below(way: Target, path: str) -> Target:
    return Target(path=way.path + path, port=way.port, socket=way.socket, headers=way.headers)
