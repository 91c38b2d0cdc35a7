"""Proxy: the speed of a session through the hub's proxy, compared with its own socket.

Both sides send requests to the same live session: directly to its socket, and through the hub, by
capability path as a page does and with a token as a program does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import psutil

from bench.load import Target, requests_per_second, seconds_of_one
from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from tests.support.marimo import MarimoClient, open_editor

_CONNECTIONS = 8
_SECONDS = 0.5
_LARGE = 10 * (1 << 20)
_BASE = re.compile(r' src="([^"]*/s/[^"/]+)/"')
_NAVIGATION = {
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


@dataclass(frozen=True, slots=True)
class _Ways:
    """The ways to one session, each up to the slash before the path."""

    direct: Target
    token: Target
    capability: Target

    def to(self, path: str) -> tuple[Target, Target, Target]:
        """The same path by each way: direct, with a token, by capability."""
        return _below(self.direct, path), _below(self.token, path), _below(self.capability, path)


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Start one session and compare the ways to it, in turns."""
    user, before = stage.newcomer(), stage.known_sockets()
    address = await stage.start_session(user)
    direct = stage.direct(address, before)
    path = address.base_url.removeprefix(stage.hub.url)
    async with open_editor(address) as editor:
        ways = _Ways(
            direct=Target(path=path, socket=direct.socket),
            token=Target(path=path, port=stage.hub.port, headers=address.headers),
            capability=Target(path=await capability_path(stage, user, path), port=stage.hub.port),
        )
        rows = await _rates(ways, options.rounds)
        rows.append(await _large(stage, ways, await make_large_file(editor), options.rounds))
    await stage.stop_session(user)
    return rows


async def _rates(ways: _Ways, rounds: int) -> list[Row]:
    health, page = ways.to("/health"), ways.to("/")
    rates: dict[str, list[float]] = {}
    for _ in range(rounds * 4):
        for name, target in (
            ("direct", health[0]),
            ("token", health[1]),
            ("capability", health[2]),
            ("page direct", page[0]),
            ("page", page[1]),
        ):
            rate = await requests_per_second(target, connections=_CONNECTIONS, seconds=_SECONDS)
            rates.setdefault(name, []).append(rate)
    direct, budget = rates["direct"], Budget(0.6, at_most=False)
    return [
        _rate_row("proxy: /health by capability", rates["capability"], direct, budget),
        _rate_row("proxy: /health with a token", rates["token"], direct, budget),
        _rate_row(
            "proxy: the editor's page",
            rates["page"],
            rates["page direct"],
            Budget(0.9, at_most=False),
        ),
    ]


async def _large(stage: Stage, ways: _Ways, path: str, rounds: int) -> Row:
    """10 MB through the proxy, as a rate; the hub's memory is watched meanwhile."""
    direct, _, proxied = ways.to(path)
    hub = psutil.Process(stage.hub.pid)
    await _megabytes_per_second(proxied)
    before = hub.memory_info().rss
    ours, theirs = [], []
    for _ in range(rounds * 4):
        ours.append(await _megabytes_per_second(proxied))
        theirs.append(await _megabytes_per_second(direct))
    grown = (hub.memory_info().rss - before) / (1 << 20)
    return Row(
        "proxy: 10 MB",
        "MB/s",
        tuple(ours),
        Budget(0.7, at_most=False),
        f"the hub grew by {grown:.1f} MiB over {len(ours)} transfers",
        reference="direct",
        theirs=tuple(theirs),
    )


async def _megabytes_per_second(target: Target) -> float:
    seconds, size = await seconds_of_one(target)
    return size / seconds / 1e6


async def make_large_file(editor: MarimoClient) -> str:
    """Have the kernel offer a 10 MB file, as ``mo.download`` does; returns its path."""
    code = f"import marimo as mo\nmo.download(b'x' * {_LARGE}, filename='large.bin')"
    output = await editor.edit(0, f"v0 = 0\n{code}")
    found = re.search(r"@file/[\w.-]+", output.data)
    assert found, f"no file in {output.data[:300]}"
    return f"/{found.group()}"


async def capability_path(stage: Stage, user: str, path: str) -> str:
    """Open the document as a browser that a front signed in, and take the path from its base."""
    headers = {"X-Remote-User": user, **_NAVIGATION}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(f"{stage.hub.url}{path}/", headers=headers)
    found = _BASE.search(answer.text)
    assert found, f"no capability in the page: {answer.status_code} {answer.text[:300]}"
    return found.group(1)


def _below(way: Target, path: str) -> Target:
    return Target(path=way.path + path, port=way.port, socket=way.socket, headers=way.headers)


def _rate_row(name: str, ours: Sequence[float], direct: Sequence[float], budget: Budget) -> Row:
    return Row(name, "requests/s", tuple(ours), budget, reference="direct", theirs=tuple(direct))
