"""Generate: the whole example course, beside running each of its notebooks once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.options import Options
from bench.plain_marimo import export
from bench.report import Budget, Row
from bench.stage import CACHE, Stage
from tests.support.course import copy_example_course
from tests.support.hub import run_mograder, write_settings

_ASSIGNMENTS, _LECTURES = ("A1", "A2"), ("L01",)


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Generate and run, in turns, with the packages of the course in place on both sides."""
    course = copy_example_course(stage.directory / "example")
    write_settings(course, {"hub.uv_cache_dir": str(CACHE)})
    await asyncio.to_thread(_generate, course)
    (python,) = (course / ".mograder" / "environments").glob("*/env/bin/python")
    notebooks = [_source(course, name) for name in (*_ASSIGNMENTS, *_LECTURES)]
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(await asyncio.to_thread(_generate, course))
        theirs.append(await asyncio.to_thread(_run_all, python, notebooks))
    return [
        Row(
            f"generate: {len(notebooks)} notebooks, run before and after",
            "s",
            "each run once",
            tuple(ours),
            tuple(theirs),
            Budget(1.5),
        )
    ]


def _source(course: Path, name: str) -> Path:
    """Return the source of an item of the example course, by the beginning of its name."""
    (notebook,) = (course / "source").glob(f"{name}-*/*.py")
    return notebook


def _generate(course: Path) -> float:
    started = time.perf_counter()
    for arguments in (_ASSIGNMENTS, ("--lecture", *_LECTURES)):
        done = run_mograder("generate", *arguments, cwd=course, seconds=900)
        assert done.status == 0, done
    return time.perf_counter() - started


def _run_all(python: Path, notebooks: list[Path]) -> float:
    return sum(export(python, notebook) for notebook in notebooks)
