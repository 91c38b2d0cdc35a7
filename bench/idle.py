"""Idle: processor time of the hub and its supervisor while two hundred sessions do nothing."""

from __future__ import annotations

import asyncio
import time

from bench.crowd import Crowd, gather
from bench.options import Options
from bench.processes import affordable, own_cpu_seconds
from bench.report import Budget, Row, say
from bench.stage import Stage
from bench.tab import Tab

_AT_ONCE = 8
_SETTLE_SECONDS = 10
_SESSION_MIB = 60


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open the sessions, watch them with their tabs open, close the tabs, and watch again."""
    count = affordable(options.sessions, _SESSION_MIB)
    say(f"  opening {count} sessions")
    users = [stage.newcomer() for _ in range(count)]
    crowd = await _open(stage, users)
    say(f"  watching for {options.idle:.0f} s with open tabs, and again with closed ones")
    with_tabs = await _watch(stage, options.idle)
    crowd.close()
    without = await _watch(stage, options.idle)
    await stage.stop_sessions(users)
    there = len(crowd.tabs)
    short = "" if there == options.sessions else f"{there} sessions, for lack of memory or failed; "
    return [
        _row(f"idle: {there} sessions, no tab open", without, Budget(2, unit="% of a core"), short),
        _row(f"idle: {there} sessions, every tab open", with_tabs, None, crowd.why()),
    ]


async def _open(stage: Stage, users: list[str]) -> Crowd:
    few = asyncio.Semaphore(_AT_ONCE)

    async def one(user: str) -> Tab:
        async with few:
            return await stage.open_tab(user)

    return await gather([one(user) for user in users])


async def _watch(stage: Stage, seconds: float) -> tuple[float, float]:
    """Per cent of a core that the hub and the supervisor use."""
    await asyncio.sleep(_SETTLE_SECONDS)
    pids = (stage.hub.pid, stage.supervisor.pid)
    began, before = time.monotonic(), [own_cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    hub, supervisor = (
        100 * (own_cpu_seconds(pid) - used) / passed for pid, used in zip(pids, before, strict=True)
    )
    return hub, supervisor


def _row(name: str, used: tuple[float, float], budget: Budget | None, note: str) -> Row:
    hub, supervisor = used
    shares = f"hub {hub:.2f} %, supervisor {supervisor:.2f} %"
    return Row(name, "% of a core", (hub + supervisor,), budget, f"{note}{shares}")
