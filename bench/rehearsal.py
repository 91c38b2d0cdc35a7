"""A rehearsal of eighty beside five students who work: what they notice of it.

Each runs a small cell again and again, first alone and then while the rehearsal runs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time

from bench.figures import percentile
from bench.options import Options
from bench.report import Budget, Row, say
from bench.stage import ITEM, Stage
from bench.tab import Tab
from tests.support.hub import MOGRADER, outside
from tests.support.identity import SECRET, instructor_token

STUDENTS = 80
WORKERS = 5
_WITHIN = 60
_ALONE_SECONDS = 30.0
_BREATH_SECONDS = 0.5
_MOST = 2.0


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Let students work alone, then beside a rehearsal."""
    users = [stage.newcomer() for _ in range(WORKERS)]
    tabs = [await stage.open_tab(user) for user in users]
    say(f"  {WORKERS} students work alone for {_ALONE_SECONDS:.0f} s")
    alone = await _working(tabs, asyncio.create_task(asyncio.sleep(_ALONE_SECONDS)))
    say(f"  a rehearsal of {STUDENTS} within {_WITHIN} s begins")
    rehearsing = asyncio.create_task(_rehearse(stage))
    beside = await _working(tabs, rehearsing)
    told = rehearsing.result()
    for tab in tabs:
        tab.close()
    await stage.stop_sessions(users)
    return _rows(alone, beside, told)


async def _working(tabs: list[Tab], until: asyncio.Task[object]) -> list[float]:
    """Have all run cells until a task ends; the milliseconds of each run."""
    samples: list[float] = []

    async def work(tab: Tab, number: int) -> None:
        await asyncio.sleep(number * _BREATH_SECONDS / len(tabs))
        for turn in itertools.count():
            if until.done():
                return
            began = time.perf_counter()
            value = f"{number}{turn:05d}7"
            await tab.run(-1, f"v9 = {value}\nv9", value)
            samples.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_BREATH_SECONDS)

    await asyncio.gather(*(work(tab, number) for number, tab in enumerate(tabs, start=1)))
    return samples


async def _rehearse(stage: Stage) -> dict[str, object]:
    command = [str(MOGRADER), "hub", "rehearse", ITEM, "--json"]
    size = ["--students", str(STUDENTS), "--within", str(_WITHIN)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *size,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=stage.directory,
        env={
            **outside(),
            "HOME": str(stage.directory),
            "MOGRADER_HUB_URL": stage.hub.url,
            "MOGRADER_HUB_INSTRUCTOR_TOKEN": instructor_token(SECRET),
        },
    )
    output, errors = await process.communicate()
    if not output:
        raise RuntimeError(errors.decode())
    told: dict[str, object] = json.loads(output)
    return told


def _rows(alone: list[float], beside: list[float], told: dict[str, object]) -> list[Row]:
    finished = int(str(told["finished"]))
    cells, first = told["all_cells"], told["first_output"]
    assert isinstance(cells, dict)
    assert isinstance(first, dict)
    failures = f"; failures: {told['failures']}" if told["failures"] else ""
    return [
        Row(
            f"rehearsal of {STUDENTS}: a cell of {WORKERS} students beside it, p95",
            "ms",
            (percentile(beside, 95),),
            Budget(_MOST),
            f"median {percentile(beside, 50):.0f} ms beside it, {percentile(alone, 50):.0f} alone; "
            f"slowest {max(beside):.0f} and {max(alone):.0f} ms; {len(beside)} and {len(alone)} "
            "runs of a cell",
            reference="alone",
            theirs=(percentile(alone, 95),),
        ),
        Row(
            f"rehearsal of {STUDENTS}: who did not run all cells",
            "students",
            (STUDENTS - finished,),
            Budget(0, unit="students"),
            f"{told['warm']} started warm; it took {told['seconds']:.0f} s; to the first output "
            f"median {first['median']:.2f} s, to the last cell median {cells['median']:.2f} s, "
            f"worst {cells['worst']:.2f} s{failures}",
        ),
    ]
