"""Command line: the time of ``mograder --help``, compared with a Python that does nothing."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from bench.support.hub import MOGRADER, outside


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Run both, in turns, and compare the processor time they used."""
    ours, theirs = [], []
    for _ in range(options.rounds * 3):
        ours.append(await asyncio.to_thread(_cpu_milliseconds, [str(MOGRADER), "--help"]))
        theirs.append(await asyncio.to_thread(_cpu_milliseconds, [sys.executable, "-c", "pass"]))
    return [
        Row(
            "mograder --help",
            "ms of CPU",
            "python -c pass",
            tuple(ours),
            tuple(theirs),
            Budget(8),
        )
    ]


def _cpu_milliseconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=outside(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000
