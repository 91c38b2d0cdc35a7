"""The means by which `generate` runs an author's notebooks, chosen by system and settings."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_runs import (
    AuthorJudging,
    AuthorRuns,
    AuthorTrial,
    NotebookVariant,
    Run,
    RunReport,
    RunVariant,
    run_report,
)
from mograder.grading.runs.local_runner import UNPROTECTED, open_workbench
from mograder.grading.runs.workbench import Workbench, demand_no_sandbox
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines, Limits
from mograder.store.course.course import read_notebook

if sys.platform == "linux":
    from mograder.grading.author.author_judging import author_judging
    from mograder.grading.runs.grading_tools import contracts_of


_Use = Callable[[], Awaitable[Workbench]]
"""Returns the workbench, which may be opened first."""

_NO_LIMITS = Limits(processes=0, open_files=0, file_size_mb=0, tmp_mb=0)


@asynccontextmanager
async def open_runs(
    loaded: LoadedSettings,
    environ: Environ,
    warn: Callable[[str], None],
    *,
    runs: int,
    jobs: int,
    sandbox: bool = True,
    own_python: bool = False,
) -> AsyncIterator[AuthorRuns]:
    """Yield the means for ``runs`` runs of an author's notebooks, ``jobs`` at a time.

    They run in a sandbox or directly on this machine. Authors would run their own notebooks anyway,
    so they run without a sandbox where none can be made; ``warn`` is called with a message then.
    ``own_python`` uses the Python that runs mograder; sandboxes do not have it.

    Raises:
        SandboxUnavailable: None can be made, and ``[security] use_bubblewrap`` demands one.
    """
    if UNPROTECTED:  # before anything runs
        demand_no_sandbox(loaded)
    seconds = min(loaded.settings.defaults.timeout, LONGEST_SECONDS)
    opening = partial(open_workbench, loaded, environ, trusted=True, runs=runs, jobs=jobs)
    async with AsyncExitStack() as stack:
        bench = await _sandboxed(stack, opening, loaded, warn) if sandbox else None
        plain = opening(sandbox=False, own_python=own_python)
        use = _FirstUse(stack, plain, bench).bench
        judging = _judging(use, loaded, seconds)
        yield AuthorRuns(_run(use, seconds), judging, _variants(use), bench is not None)


class _FirstUse:
    """The workbench for all runs: ``opened``, or one that is opened when something runs.

    That one has no sandboxes; ``stack`` closes it.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        plain: AbstractAsyncContextManager[Workbench],
        opened: Workbench | None,
    ) -> None:
        self._stack = stack
        self._plain = plain
        self._lock = asyncio.Lock()
        self._bench = opened

    async def bench(self) -> Workbench:
        """Return the workbench."""
        async with self._lock:
            if self._bench is None:
                opened = await self._stack.enter_async_context(self._plain)
                self._bench = replace(opened, limits=_NO_LIMITS)
            return self._bench


async def _sandboxed(
    stack: AsyncExitStack,
    opening: Callable[[], AbstractAsyncContextManager[Workbench]],
    loaded: LoadedSettings,
    warn: Callable[[str], None],
) -> Workbench | None:
    """Return a workbench with sandboxes until ``stack`` is closed; None if there are none."""
    demanded = loaded.settings.security.use_bubblewrap
    if UNPROTECTED or demanded is False:
        warn(UNPROTECTED or "Without a sandbox, since [security] use_bubblewrap is false.")
        return None
    try:
        return await stack.enter_async_context(opening())
    except SandboxUnavailable as error:
        if demanded:
            raise
        warn(f"Without a sandbox, since this machine makes none: {error}")
        return None


def _judging(use: _Use, loaded: LoadedSettings, seconds: float) -> AuthorJudging:
    if sys.platform == "linux":
        return author_judging(use, Deadlines(notebook=seconds), contracts_of(loaded))
    else:  # noqa: RET505 - mypy takes no other form for a choice by system
        return AuthorJudging(_judge_nothing, _keep_nothing)


def _run(use: _Use, seconds: float) -> Run:
    """Return a function that runs a notebook; in a sandbox as a session would.

    That has no network, and a session's limits: mistakes that show only on a hub are found before
    students meet them.
    """
    run_variant = _variants(use)

    async def run(notebook: Path, support: Path, progress: Progress) -> RunReport:
        text = await asyncio.to_thread(read_notebook, notebook)
        variant = NotebookVariant(text, notebook.name, support, seconds)
        result = await run_variant(variant, progress)
        return await asyncio.to_thread(run_report, text, str(notebook), result, seconds)

    return run


def _variants(use: _Use) -> RunVariant:
    """Return a function that runs variants of a notebook."""

    async def run(variant: NotebookVariant, progress: Progress) -> ExecutionResult:
        bench = await use()
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


async def _judge_nothing(trial: AuthorTrial, progress: Progress) -> JudgingResult:
    raise SandboxUnavailable("Checks can be judged apart from the answers on Linux only.")


async def _keep_nothing(trial: AuthorTrial, contract: str) -> None:
    """Keep nothing: nothing is judged."""
