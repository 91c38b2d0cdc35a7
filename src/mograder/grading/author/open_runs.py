"""The means by which `generate` runs an author's notebooks, chosen by system and settings."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_runs import (
    AuthorRuns,
    AuthorTrial,
    NotebookVariant,
    RunReport,
    run_report,
)
from mograder.grading.runs.local_runner import UNPROTECTED, open_workbench
from mograder.grading.runs.sandbox_slots import SandboxSlots
from mograder.grading.runs.workbench import Workbench, demand_no_sandbox
from mograder.grading.submissions.contract_recording import Recording, keep_contract
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.inside.grading_contract import parse_contract
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines, Limits
from mograder.store.course.contracts import contracts_of
from mograder.store.course.course import read_notebook

if sys.platform == "linux":
    from mograder.sandbox.execution.runner import folder_digest

_SEED = "rehearsal"
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
    opening = partial(open_workbench, loaded, environ, trusted=True, runs=runs, jobs=jobs)
    async with AsyncExitStack() as stack:
        bench = await _sandboxed(stack, opening, loaded, warn) if sandbox else None
        plain = opening(sandbox=False, own_python=own_python)
        yield _Runs(loaded, _FirstUse(stack, plain, bench), protected=bench is not None)


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


class _Runs:
    """Runs and judges notebooks on the workbench of ``use``."""

    def __init__(self, loaded: LoadedSettings, use: _FirstUse, *, protected: bool) -> None:
        self._use = use
        self._seconds = min(loaded.settings.defaults.timeout, LONGEST_SECONDS)
        self._deadlines = Deadlines(notebook=self._seconds)
        self._contracts = contracts_of(loaded)
        self._slots = SandboxSlots()
        self.protected = protected

    async def run(self, notebook: Path, support: Path, progress: Progress) -> RunReport:
        text = await asyncio.to_thread(read_notebook, notebook)
        variant = NotebookVariant(text, notebook.name, support, self._seconds)
        result = await self.run_variant(variant, progress)
        return await asyncio.to_thread(run_report, text, str(notebook), result, self._seconds)

    async def run_variant(self, variant: NotebookVariant, progress: Progress) -> ExecutionResult:
        bench = await self._use.bench()
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

    async def judge(self, trial: AuthorTrial, progress: Progress) -> JudgingResult:
        bench = await self._use.bench()
        environment = await bench.environment(trial.header or trial.text, progress)
        with self._slots.pair() as (worker, judge):
            request = JudgingRequest(
                text=trial.text,
                name=trial.name,
                files=trial.files,
                environment=environment,
                limits=bench.limits,
                deadlines=self._deadlines,
                interface=trial.interface,
                skip=trial.skip,
                seed=_SEED,
                folder=trial.folder,
                uid_slot=worker,
                judge_slot=judge,
                rehearse=trial.files.contract is None,
            )
            return await bench.judges.judge(request)

    async def keep(self, trial: AuthorTrial, contract: str) -> None:
        bench = await self._use.bench()
        if sys.platform == "linux" and bench.environments is not None:
            recording = Recording(
                text=trial.text,
                filename=trial.name,
                plan=parse_plan(trial.files.plan),
                environment=await bench.environment(trial.text, lambda _: None),
                limits=bench.limits,
                deadlines=self._deadlines,
                folder=trial.folder.absolute(),
                files_sha256=await asyncio.to_thread(folder_digest, trial.folder),
            )
            news = parse_contract(contract)
            await asyncio.to_thread(keep_contract, self._contracts, recording, news)
