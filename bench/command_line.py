"""Command line: the time of ``--help``, compared with a Python that does nothing, or little."""

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
    return [await _compare(["--help"], "pass", Budget(8), options)]


async def measure_light(stage: Stage, options: Options) -> list[Row]:
    """Run ``mograder student --help`` and a Python that imports click, in turns."""
    return [await _compare(["student", "--help"], "import click", Budget(2), options)]


async def _compare(arguments: list[str], code: str, budget: Budget, options: Options) -> Row:
    """Return the processor time of a command of ours and of a Python that runs ``code``."""
    ours, theirs = [], []
    for _ in range(options.rounds * 3):
        ours.append(await asyncio.to_thread(_cpu_milliseconds, [str(MOGRADER), *arguments]))
        theirs.append(await asyncio.to_thread(_cpu_milliseconds, [sys.executable, "-c", code]))
    name = " ".join(["mograder", *arguments])
    return Row(name, "ms of CPU", f"python -c {code}", tuple(ours), tuple(theirs), budget)


def _cpu_milliseconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=outside(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000
