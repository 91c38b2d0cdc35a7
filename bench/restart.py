"""Restart: the hub is killed and started again under twenty open tabs."""

from __future__ import annotations

import asyncio
import time

from bench.crowd import gather
from bench.options import Options
from bench.report import Budget, Row, say
from bench.stage import Stage
from bench.tab import Tab
from bench.wire import Refused

STUDENTS = 20
_AGAIN_SECONDS = 0.05
_ATTEMPT_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_MARK = 424200
"""A variable of the kernels that is in no file; the cells count up from it."""


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Kill the hub, start it, and wait until every tab has run a cell with its old variables."""
    users = [stage.newcomer() for _ in range(STUDENTS)]
    crowd = await gather([stage.open_tab(user) for user in users])
    await asyncio.gather(*(tab.run(0, f"v0 = {_MARK}", "") for tab in crowd.tabs))
    turns: list[list[float | None]] = []
    starts: list[float] = []
    for turn in range(max(1, options.rounds // 2)):
        say(f"  restart {turn + 1}")
        killed = time.perf_counter()
        await asyncio.to_thread(stage.hub.kill)
        coming_back = [asyncio.ensure_future(_come_back(tab, killed)) for tab in crowd.tabs]
        await asyncio.to_thread(stage.hub.restart)
        starts.append(time.perf_counter() - killed)
        turns.append(await asyncio.gather(*coming_back))
    crowd.close()
    await stage.stop_sessions(users)
    lost = STUDENTS - min(sum(each is not None for each in turn) for turn in turns)
    slowest = [max((each for each in turn if each is not None), default=0.0) for turn in turns]
    return [
        Row(
            f"hub restart under {STUDENTS} tabs: sessions lost",
            "sessions",
            (lost,),
            Budget(0, unit="sessions"),
            crowd.why().removeprefix("; "),
        ),
        Row(
            f"hub restart under {STUDENTS} tabs: until the last runs again",
            "s",
            tuple(slowest),
            Budget(5, unit="s"),
            reference="the hub alone",
            theirs=tuple(starts),
        ),
    ]


async def _come_back(tab: Tab, killed: float) -> float | None:
    """Reconnect as marimo's page does; return seconds until a cell has run, None if it never does.

    The cell shows a variable of the old kernel, so a newly started session does not count.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await tab.connect()
                await tab.run(9, "v9 = v8 + 1\nv9", str(_MARK + 9))
        except (Refused, OSError, EOFError):
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return time.perf_counter() - killed
    return None
