"""The board: processor time of a hub whose 300 sessions run their checks twice a minute.

The hub is real, the node that has the sessions is not (``bench.support.fake_node``), so what is
measured is the hub alone: what it hears, keeps and shows. The supervisor's own part, the reading of
the sessions' pipes, is measured in this process, the writing included.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time

from bench.nodes import NodeScene, hub_with_nodes, start_all, until_connected, watch_hub
from bench.options import Options
from bench.progress import say
from bench.report import Budget, Row
from bench.stage import Stage
from bench.support.fake_node import LABELS
from mograder.sandbox.protocol import Checked
from mograder.sandbox.supervisor.check_pipes import CheckPipes

_SESSIONS = 300
_PERIOD_SECONDS = 30.0
_PARTS = 4
_SHARE = 3
"""Per cent of one core."""


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Watch the hub while the sessions do nothing, and while they check, twice in turn."""
    users = tuple(f"checker{number}" for number in range(_SESSIONS))
    seconds = options.idle / _PARTS
    idle, busy = [], []
    with hub_with_nodes(stage, 1, users) as scene:
        await until_connected(scene)
        say(f"  opening {_SESSIONS} sessions")
        await start_all(scene)
        for _ in range(2):
            idle.append((await watch_hub(scene.hub.pid, seconds)).share)
            busy.append(await _watch_checks(scene, seconds))
    added = statistics.mean(busy) - statistics.mean(idle)
    what = f"board: {_SESSIONS} sessions run their {LABELS} checks twice a minute"
    told = ", ".join(f"{each:.1f}" for each in (*idle, *busy))
    return [
        Row(
            f"{what}: what the hub needs for it",
            "% of a core",
            "",
            (added,),
            (),
            Budget(_SHARE, unit="% of a core"),
            f"the hub idle twice, then with checks twice: {told} %",
        ),
        Row(
            f"{what}: what the supervisor needs",
            "% of a core",
            "",
            (await _read_pipes(seconds),),
            (),
            Budget(_SHARE, unit="% of a core"),
            "with the writing, which sessions do",
        ),
    ]


async def _watch_checks(scene: NodeScene, seconds: float) -> float:
    """Return the per cent of a core that the hub uses while all sessions run their checks."""
    wanted = scene.place / "checks"
    wanted.touch()
    share = (await watch_hub(scene.hub.pid, seconds)).share
    wanted.unlink()
    return share


async def _read_pipes(seconds: float) -> float:
    """Let the sessions' checks write to pipes as fast as they do; return the per cent of a core."""
    told: list[Checked] = []
    pipes = CheckPipes(told.append)
    ends = {f"session-{n}": pipes.open(f"session-{n}")[0] for n in range(_SESSIONS)}
    record = {"label": "Q1: a question", "status": "partial", "earned": 0.5, "total": 2.0}
    line = json.dumps(record).encode() + b"\n"
    begun, before, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - begun < seconds * _PARTS:
        for end in ends.values():
            for _ in range(LABELS):
                os.write(end, line)
            count += LABELS
            await asyncio.sleep(_PERIOD_SECONDS / _SESSIONS)
    used = time.process_time() - before
    share = 100 * used / (time.monotonic() - begun)
    await asyncio.sleep(1)
    for session_id, end in ends.items():
        pipes.close(session_id)
        os.close(end)
    heard = sum(len(each.reports) for news in told for each in news.sessions)
    if heard != count:
        raise RuntimeError(f"{heard} of {count} reports were read")
    return share
