"""Memory: what one more session with its kernel costs, as proportional set size (PSS)."""

from __future__ import annotations

from pathlib import Path

import psutil

from bench.report import Budget, Row
from bench.stage import Stage
from tests.e2e.support.marimo import open_editor

_MIB = 1 << 20


async def measure(stage: Stage, rounds: int) -> list[Row]:
    """Open editors one after another, each beside the ones before, and weigh what was added."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await _weigh_hub(stage))
        theirs.append(await _weigh_plain(stage))
    later = "sessions share a warm process's memory (the sessions issue)"
    return [
        Row(
            "memory of one session with its kernel",
            "MiB",
            "plain marimo",
            tuple(ours),
            tuple(theirs),
            Budget(0.45, later=later),
        )
    ]


async def _weigh_hub(stage: Stage) -> float:
    user = stage.newcomer()
    before = _descendants(stage.hub.pid)
    async with open_editor(await stage.start_session(user)):
        weight = sum(map(_pss, _descendants(stage.hub.pid) - before))
    await stage.stop_session(user)
    return weight / _MIB


async def _weigh_plain(stage: Stage) -> float:
    with stage.plain_marimo() as (server, address):
        server.wait_until(lambda: _listens(server.pid), address.timeout)
        async with open_editor(address):
            return sum(map(_pss, {server.pid, *_descendants(server.pid)})) / _MIB


def _descendants(pid: int) -> frozenset[int]:
    return frozenset(child.pid for child in psutil.Process(pid).children(recursive=True))


def _listens(pid: int) -> bool:
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return any(each.status == psutil.CONN_LISTEN for each in connections)


def _pss(pid: int) -> int:
    """Bytes of a process, shared pages divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
