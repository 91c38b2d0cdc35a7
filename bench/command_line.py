"""Command line: the time of ``--help``, compared with a Python that does nothing."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from tests.support.hub import MOGRADER, outside


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Run ``mograder --help`` and a Python that does nothing, in turns."""
    ours, theirs = [], []
    nothing = "pass"
    for _ in range(options.rounds * 3):
        ours.append(await asyncio.to_thread(_cpu_milliseconds, [str(MOGRADER), "--help"]))
        theirs.append(await asyncio.to_thread(_cpu_milliseconds, [sys.executable, "-c", nothing]))
    reference = f"python -c {nothing}"
    name = "mograder --help"
    return [
        Row(name, "ms of CPU", tuple(ours), Budget(8), reference=reference, theirs=tuple(theirs))
    ]


def _cpu_milliseconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=outside(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000
