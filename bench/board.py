"""The board: processor time of a hub whose 300 sessions run their checks twice a minute.

The hub is real, the node that has the sessions is not (``tests.support.fake_node_program``), so
what is measured is the hub alone: what it hears, keeps and shows to an open board.
The supervisor's own part, the reading of the sessions' pipes, is measured in this process, the
writing included.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from bench.nodes import NodeScene, hub_with_nodes, start_all, until_connected, watch_hub
from bench.options import Options
from bench.progress import say
from bench.report import Budget, Row
from bench.stage import ITEM, Stage
from mograder.core.atomic_file import write_file
from mograder.sandbox.protocol import Checked
from mograder.sandbox.supervisor.check_pipes import CheckPipes
from tests.support.fake_node_program import LABELS
from tests.support.identity import instructor

_SESSIONS = 300
_PERIOD_SECONDS = 30.0
_PARTS = 4
_SHARE = 3
"""Per cent of one core."""
_CELLS = "@app.cell\ndef _():\n    from mograder.runtime import check\n    return (check,)\n\n\n"
_CELLS += "".join(
    f'@app.cell\ndef _(check):\n    check("{label}", [(True, "fine")])\n    return\n\n\n'
    for label in LABELS
)


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Watch the hub before and after the sessions check, while they do, and with a board open."""
    users = tuple(f"checker{number}" for number in range(_SESSIONS))
    seconds = options.idle / _PARTS
    with hub_with_nodes(stage, 1, users, _CELLS) as scene:
        await until_connected(scene)
        say(f"  opening {_SESSIONS} sessions")
        await start_all(scene)
        idle = [(await watch_hub(scene.hub.pid, seconds)).share]
        async with _open_board(scene):
            one = await _watch_checks(scene, seconds, 1)
            all_of_them = await _watch_checks(scene, seconds, len(LABELS))
        idle.append((await watch_hub(scene.hub.pid, seconds)).share)
    before = statistics.mean(idle)
    what = f"board: {_SESSIONS} sessions check twice a minute, one page watches"
    told = ", ".join(f"{each:.1f}" for each in idle)
    return [
        Row(
            f"{what}: what the hub needs for it",
            "% of a core",
            "",
            (one - before,),
            (),
            Budget(_SHARE, unit="% of a core"),
            f"the hub without checks, before and after: {told} %",
        ),
        Row(
            f"{what}: the same if all {len(LABELS)} checks run each time",
            "% of a core",
            "",
            (all_of_them - before,),
            (),
            None,
            "no budget: a class that runs everything again and again",
        ),
        Row(
            f"{what}: what the supervisor needs",
            "% of a core",
            "",
            (await _read_pipes(seconds),),
            (),
            Budget(_SHARE, unit="% of a core"),
            f"all {len(LABELS)} checks each time; with the writing, which sessions do",
        ),
    ]


@asynccontextmanager
async def _open_board(scene: NodeScene) -> AsyncIterator[asyncio.Queue[str]]:
    """Read the stream of the item's board, as an instructor's page does; give what was sent."""
    changes: asyncio.Queue[str] = asyncio.Queue()

    async def read() -> None:
        headers = {**instructor(), "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(timeout=None, trust_env=False) as client,
            client.stream("GET", f"{scene.hub.url}/board/{ITEM}/news", headers=headers) as answer,
        ):
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    changes.put_nowait(line)

    reading = asyncio.create_task(read())
    try:
        yield changes
    finally:
        reading.cancel()
        (ended,) = await asyncio.gather(reading, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended
    if changes.qsize() <= 1:
        raise RuntimeError("no report has reached the board")


async def _watch_checks(scene: NodeScene, seconds: float, count: int) -> float:
    """Return the per cent of a core that the hub uses while all sessions run so many checks."""
    wanted = scene.place / "checks"
    await asyncio.to_thread(write_file, wanted, str(count).encode())
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
            for _ in LABELS:
                os.write(end, line)
            count += len(LABELS)
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
