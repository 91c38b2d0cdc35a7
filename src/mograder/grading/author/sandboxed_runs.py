"""Runs of an author's notebooks in sandboxes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_judging import sandboxed_judging
from mograder.grading.author.author_runs import (
    AuthorRuns,
    NotebookVariant,
    Run,
    RunReport,
    RunVariant,
    run_report,
)
from mograder.grading.runs.grading_tools import contracts_of
from mograder.grading.runs.sandboxed_runner import open_sandboxed
from mograder.grading.runs.workbench import GradingBench
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines
from mograder.store.course.course import read_notebook

assert sys.platform == "linux"  # sandboxes need it


async def enter_sandboxed_runs(
    stack: AsyncExitStack,
    loaded: LoadedSettings,
    environ: Environ,
    warn: Callable[[str], None],
    *,
    runs: int,
    jobs: int,
) -> AuthorRuns | None:
    """Return the means for runs in sandboxes until ``stack`` is closed; None if there are none.

    ``warn`` is called with the reason then.

    Raises:
        SandboxUnavailable: None can be made, and ``[security] use_bubblewrap`` demands one.
    """
    wanted = loaded.settings.security.use_bubblewrap
    if wanted is False:
        warn("Without a sandbox, since [security] use_bubblewrap is false.")
        return None
    opening = open_sandboxed(loaded, environ, trusted=True, runs=runs, jobs=jobs)
    try:
        bench = await stack.enter_async_context(opening)
    except SandboxUnavailable as error:
        if wanted:
            raise
        warn(f"Without a sandbox, since this machine makes none: {error}")
        return None
    seconds = min(loaded.settings.defaults.timeout, LONGEST_SECONDS)
    judging = sandboxed_judging(bench, Deadlines(notebook=seconds), contracts_of(loaded))
    return AuthorRuns(_run(bench, seconds=seconds), judging, _variants(bench), protected=True)


def _run(bench: GradingBench, *, seconds: float) -> Run:
    """Return a function that runs a notebook as a session would: no network, a session's limits.

    Mistakes that show only on a hub are found before students meet them.
    """

    run_variant = _variants(bench)

    async def run(notebook: Path, support: Path, progress: Progress) -> RunReport:
        text = await asyncio.to_thread(read_notebook, notebook)
        variant = NotebookVariant(text, notebook.name, support, seconds)
        result = await run_variant(variant, progress)
        return await asyncio.to_thread(run_report, text, str(notebook), result, seconds)

    return run


def _variants(bench: GradingBench) -> RunVariant:
    """Return a function that runs variants of a notebook in sandboxes."""

    async def run(variant: NotebookVariant, progress: Progress) -> ExecutionResult:
        request = ExecutionRequest(
            variant.text,
            variant.name,
            await bench.environment(variant.text, progress),
            bench.limits,
            min(variant.seconds, LONGEST_SECONDS),
            folder=variant.folder,
            notebooks=True,
            outputs=True,
        )
        return await bench.executor.execute(request)

    return run
