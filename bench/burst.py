"""Burst: thirty students open an assignment at once; until the last of them has the page."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from bench.crowd import Crowd, gather
from bench.figures import percentile
from bench.options import Options
from bench.plain_marimo import plain_marimo
from bench.report import Budget, Row, say
from bench.stage import Stage
from bench.tab import Tab

STUDENTS = 30


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Let thirty arrive at the hub, and start thirty plain marimos, in turns."""
    ours, theirs = [], []
    turns = max(1, options.rounds // 2)
    for turn in range(turns):
        say(f"  turn {turn + 1} of {turns}: {STUDENTS} at the hub, {STUDENTS} plain marimos")
        ours += [await at_the_hub(stage, STUDENTS), await at_the_hub(stage, STUDENTS)]
        theirs.append(await _plain(stage))
    failures = sum(len(each.failures) for each in ours)
    return [
        Row(
            f"{STUDENTS} at once: until the last has the page",
            "s",
            tuple(each.last_page for each in ours),
            Budget(0.12),
            f"the median student's page after {_median_page(ours):.2f} s, "
            f"of a plain marimo after {_median_page(theirs):.2f} s",
            reference="plain marimos, cold",
            theirs=tuple(each.last_page for each in theirs),
        ),
        Row(
            f"{STUDENTS} at once: who failed",
            "students",
            (failures,),
            Budget(0, unit="students"),
            "".join(each.why() for each in ours).removeprefix("; "),
        ),
    ]


def _median_page(crowds: list[Crowd]) -> float:
    return percentile([page for crowd in crowds for page in crowd.pages], 50)


async def at_the_hub(stage: Stage, count: int) -> Crowd:
    """Let so many new students arrive at the same moment; their sessions are ended after."""
    users = [stage.newcomer() for _ in range(count)]
    crowd = await gather([stage.open_tab(user) for user in users])
    crowd.close()
    await stage.stop_sessions(users)
    return crowd


async def _plain(stage: Stage) -> Crowd:
    async with AsyncExitStack() as servers:

        async def start() -> Tab:
            plain = await servers.enter_async_context(plain_marimo(stage))
            return await plain.tab.open()

        crowd = await gather([asyncio.ensure_future(start()) for _ in range(STUDENTS)])
        crowd.close()
        return crowd
