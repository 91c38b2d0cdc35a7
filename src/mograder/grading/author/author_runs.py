"""Runs of an author's notebook, with or without a sandbox, and their reports for `generate`."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.single_flight import Progress
from mograder.grading.runs.grading_tools import contracts_of
from mograder.grading.runs.local_runner import Workbench, open_workbench
from mograder.grading.submissions.contract_recording import Recording, keep_contract
from mograder.grading.validation.report import CheckStatus
from mograder.notebook.cells import Cell, parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.grading_plan import parse_plan
from mograder.notebook.leaks import CellOutput
from mograder.notebook.pep723 import read_script
from mograder.sandbox.execution.judging import (
    Deadlines,
    JudgeFiles,
    JudgingRequest,
    JudgingResult,
)
from mograder.sandbox.execution.report import CellStatus, ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.execution.runner import folder_digest
from mograder.sandbox.execution.unsandboxed import AuthorEnvironment, run_as_author
from mograder.sandbox.execution.unsandboxed_judge import judge_as_author
from mograder.sandbox.inside.grading_contract import parse_contract
from mograder.sandbox.protocol import LONGEST_SECONDS, Limits
from mograder.store.contracts import ContractStore
from mograder.store.course import read_notebook

_LOG = 2000
_SEED = "rehearsal"
_TAGS = re.compile(r"<[^>]*>")
_HOW = "Open the notebook with `marimo edit` to see the cell fail."


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The outcome of one check; ``messages`` are those of the conditions that failed.

    ``weight`` is that of all conditions.
    """

    label: str
    status: CheckStatus
    messages: tuple[str, ...] = ()
    weight: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a notebook; ``problem`` says why it did not run to its end, empty if it did."""

    cell_errors: tuple[Finding, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    outputs: tuple[CellOutput, ...] = ()
    problem: str = ""


Run = Callable[[Path, Path, Progress], Awaitable[RunReport]]
"""Runs a notebook from its first cell to its last, with the files of a directory beside it.

Neither of them is changed. Raises :class:`~mograder.core.errors.MograderError` if nothing can be
run at all.
"""


@dataclass(frozen=True, slots=True)
class AuthorTrial:
    """An author's notebook, or its release, to judge apart from its checks.

    ``folder`` has the files beside it, ``files`` what the judge has. The checks are tried with junk
    as well if no contract is in ``files``. ``interface`` and ``skip`` are as in
    :class:`~mograder.sandbox.execution.judging.JudgingRequest`.
    """

    text: str
    name: str
    folder: Path
    files: JudgeFiles
    interface: tuple[str, ...]
    skip: tuple[int | str, ...]


Judge = Callable[[AuthorTrial, Progress], Awaitable[JudgingResult]]
"""Judges an author's notebook in two processes.

Raises :class:`~mograder.core.errors.MograderError` if it cannot be judged at all.
"""


def trusted_run(environment: AuthorEnvironment, *, seconds: float) -> Run:
    """Return a function that runs an author's own notebook as opening it in marimo would.

    There is no sandbox, so it is never used for a student's notebook.
    """

    async def run(notebook: Path, support: Path, progress: Progress) -> RunReport:
        text = await asyncio.to_thread(read_notebook, notebook)
        python = await environment.command(read_script(text), progress)
        result = await run_as_author(environment, python, notebook, support, seconds=seconds)
        return await asyncio.to_thread(_report, text, str(notebook), result, seconds)

    return run


def _sandboxed_run(bench: Workbench, *, seconds: float) -> Run:
    """Return a function that runs a notebook as a session would: no network, a session's limits.

    Mistakes that show only on a hub are found before students meet them.
    """
    seconds = min(seconds, LONGEST_SECONDS)

    async def run(notebook: Path, support: Path, progress: Progress) -> RunReport:
        text = await asyncio.to_thread(read_notebook, notebook)
        request = ExecutionRequest(
            text,
            notebook.name,
            await bench.environment(text, progress),
            bench.limits,
            seconds,
            folder=support,
            notebooks=True,
            outputs=True,
        )
        result = await bench.executor.execute(request)
        return await asyncio.to_thread(_report, text, str(notebook), result, seconds)

    return run


@dataclass(frozen=True, slots=True)
class AuthorJudging:
    """Judges an author's notebooks; ``keep`` keeps the contract of a trial for later grading."""

    judge: Judge
    keep: Callable[[AuthorTrial, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AuthorRuns:
    """The ways in which an author's notebooks are run and judged."""

    run: Run
    judging: AuthorJudging


def trusted_judging(environment: AuthorEnvironment, deadlines: Deadlines) -> AuthorJudging:
    """Return how to judge an author's own notebook without a sandbox; no contract is kept."""

    async def judge(trial: AuthorTrial, progress: Progress) -> JudgingResult:
        request = _request(trial, Path(), Limits.model_construct(), deadlines)
        return await judge_as_author(environment, request, progress)

    async def keep(trial: AuthorTrial, contract: str) -> None:
        """Keep nothing: grading uses another environment."""

    return AuthorJudging(judge, keep)


def _sandboxed_judging(
    bench: Workbench, deadlines: Deadlines, contracts: ContractStore
) -> AuthorJudging:
    """Return how to judge a notebook as `mograder autograde` does."""

    async def judge(trial: AuthorTrial, progress: Progress) -> JudgingResult:
        environment = await bench.environment(trial.text, progress)
        return await bench.judges.judge(_request(trial, environment, bench.limits, deadlines))

    async def keep(trial: AuthorTrial, contract: str) -> None:
        recording = Recording(
            text=trial.text,
            filename=trial.name,
            plan=parse_plan(trial.files.plan),
            environment=await bench.environment(trial.text, lambda _: None),
            limits=bench.limits,
            deadlines=deadlines,
            folder=trial.folder.absolute(),
            files_sha256=await asyncio.to_thread(folder_digest, trial.folder),
        )
        await asyncio.to_thread(keep_contract, contracts, recording, parse_contract(contract))

    return AuthorJudging(judge, keep)


def _request(
    trial: AuthorTrial, environment: Path, limits: Limits, deadlines: Deadlines
) -> JudgingRequest:
    return JudgingRequest(
        text=trial.text,
        name=trial.name,
        files=trial.files,
        environment=environment,
        limits=limits,
        deadlines=deadlines,
        interface=trial.interface,
        skip=trial.skip,
        seed=_SEED,
        folder=trial.folder,
        rehearse=trial.files.contract is None,
    )


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
    seconds = loaded.settings.defaults.timeout
    deadlines = Deadlines(notebook=min(seconds, LONGEST_SECONDS))
    async with AsyncExitStack() as stack:
        opening = open_workbench(loaded, environ, trusted=True, runs=runs, jobs=jobs)
        bench = await _open_bench(stack, opening, loaded, warn) if sandbox else None
        if bench is not None:
            run = _sandboxed_run(bench, seconds=seconds)
            contracts = contracts_of(loaded)
            yield AuthorRuns(run, _sandboxed_judging(bench, deadlines, contracts))
            return
        variables = {**environ.build, "PATH": environ.path, "HOME": str(environ.home)}
        # In the course's directory: at the same path, uv finds what it installed for the same
        # wheel.
        wheels = loaded.state_dir / "runtime"
        environment = AuthorEnvironment(wheels, variables, own=own_python)
        stack.push_async_callback(environment.close)
        run = trusted_run(environment, seconds=seconds)
        yield AuthorRuns(run, trusted_judging(environment, deadlines))


async def _open_bench(
    stack: AsyncExitStack,
    opening: AbstractAsyncContextManager[Workbench],
    loaded: LoadedSettings,
    warn: Callable[[str], None],
) -> Workbench | None:
    wanted = loaded.settings.security.use_bubblewrap
    if wanted is False:
        warn("Without a sandbox, since [security] use_bubblewrap is false.")
        return None
    try:
        return await stack.enter_async_context(opening)
    except SandboxUnavailable as error:
        if wanted:
            raise
        warn(f"Without a sandbox, since this machine makes none: {error}")
        return None


def _report(text: str, filename: str, result: ExecutionResult, seconds: float) -> RunReport:
    """Return the report of a run for the author; the last result of each check counts."""
    cells = parse_cells(text, filename).cells
    last = {
        check.label: CheckOutcome(
            check.label, CheckStatus(check.status), check.details, check.total_weight
        )
        for check in result.checks
    }
    return RunReport(
        cell_errors=tuple(_failures(cells, filename, result)),
        checks=tuple(last.values()),
        outputs=tuple(CellOutput(c.index, _plain(c.shown)) for c in result.cells),
        problem=_problem(cells, result, seconds),
    )


def _problem(cells: tuple[Cell, ...], result: ExecutionResult, seconds: float) -> str:
    """Return why a notebook did not run to its end, in a sentence for its author."""
    index, where = result.interrupted, ""
    if index is not None and index < len(cells):
        where = f" in the cell at line {cells[index].first}"
    match result.outcome:
        case Outcome.TIMED_OUT:
            return (
                f"it was still running after {seconds:g} s{where}; `timeout` in [defaults] of "
                "mograder.toml allows more."
            )
        case Outcome.OUT_OF_MEMORY:
            return (
                f"it needed more memory than a student's session has{where}; `memory_mb` in "
                "[limits] of mograder.toml allows more."
            )
        case Outcome.KILLED:
            return f"it was ended{where} for its limit of {result.reason}."
        case Outcome.EXITED:
            return f"it left before its last cell{where}. {result.log_tail[-_LOG:]}".strip()
        case Outcome.UNREADABLE:
            return "what came of its run cannot be read."
    return result.problem


def _failures(cells: tuple[Cell, ...], filename: str, result: ExecutionResult) -> list[Finding]:
    found = []
    for told in result.cells:
        if told.status is CellStatus.ERROR and told.index < len(cells):
            cell = cells[told.index]
            line = cell.line_of(told.line) if told.line else cell.first
            message = f"{told.error_type}: {told.message}" if told.message else told.error_type
            found.append(Finding(filename, line, message, _HOW))
    return found


def _plain(shown: str) -> str:
    """Return the text of a cell's output without HTML tags, but with the attributes' values."""
    return html.unescape(_TAGS.sub(_attributes, shown))


def _attributes(tag: re.Match[str]) -> str:
    return " " + html.unescape(tag[0]) if "data-" in tag[0] else ""
