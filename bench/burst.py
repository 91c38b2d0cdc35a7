"""Burst: ten students open an assignment at once; until the last of them has the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bench.report import Budget, Row
from bench.stage import Opened, Stage, time_hub, time_plain

STUDENTS = 10


async def measure(stage: Stage, rounds: int) -> list[Row]:
    """Let ten arrive at the hub, then start ten plain marimos, in turns."""
    ours, theirs = [], []
    for _ in range(max(1, rounds // 2)):
        ours.append(await _last_page(stage, time_hub))
        theirs.append(await _last_page(stage, time_plain))
    later = "sessions start from a warm process (the sessions issue)"
    return [
        Row(
            f"burst of {STUDENTS}: until the last has the page",
            "s",
            "plain marimos, cold",
            tuple(ours),
            tuple(theirs),
            Budget(0.12, later=later),
        )
    ]


async def _last_page(stage: Stage, one: Callable[[Stage], Awaitable[Opened]]) -> float:
    return max(
        opened.page for opened in await asyncio.gather(*(one(stage) for _ in range(STUDENTS)))
    )
