"""Runs of an author's notebook, with or without a sandbox, and their reports for `generate`."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.single_flight import Progress
from mograder.grading.local_runner import Workbench, open_workbench
from mograder.grading.report import CheckStatus
from mograder.notebook.cells import Cell, parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.leaks import CellOutput
from mograder.notebook.pep723 import read_script
from mograder.sandbox.execution.report import CellStatus, ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.execution.unsandboxed import AuthorEnvironment, run_as_author
from mograder.store.course import read_notebook

_LONGEST = 3600.0
_LOG = 2000
_TAGS = re.compile(r"<[^>]*>")
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")
_HOW = "Open the notebook with `marimo edit` to see the cell fail."


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The outcome of one check; ``messages`` are those of the conditions that failed."""

    label: str
    status: CheckStatus
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a notebook; ``problem`` says why it did not run to its end, empty if it did."""

    cell_errors: tuple[Finding, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    outputs: tuple[CellOutput, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class How:
    """How to run an author's notebooks: ``runs`` is how often, ``jobs`` how many at a time.

    ``own_python`` uses the Python that runs mograder; sandboxes do not have it.
    """

    runs: int
    jobs: int
    sandbox: bool = True
    own_python: bool = False


class Runs(Protocol):
    """Runs a notebook from its first cell to its last."""

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run ``notebook`` with the files of the directory ``support`` beside it.

        Neither of them is changed. Raises :class:`~mograder.core.errors.MograderError` if nothing
        can be run at all.
        """


class TrustedRuns:
    """Runs an author's own notebook on their own machine, as opening it in marimo would.

    There is no sandbox, so this is never used for a student's notebook.
    """

    def __init__(self, environment: AuthorEnvironment, *, seconds: float) -> None:
        self._environment = environment
        self._seconds = seconds

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run a copy; see :class:`Runs`."""
        text = await asyncio.to_thread(read_notebook, notebook)
        python = await self._environment.command(read_script(text), progress)
        result = await run_as_author(
            self._environment, python, notebook, support, seconds=self._seconds
        )
        return await asyncio.to_thread(_report, text, str(notebook), result, self._seconds)


class SandboxedRuns:
    """Runs an author's notebook as a session would: without a network, within a session's limits.

    Mistakes that show only on a hub are found before students meet them.
    """

    def __init__(self, bench: Workbench, *, seconds: float) -> None:
        self._bench = bench
        self._seconds = min(seconds, _LONGEST)

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run a copy; see :class:`Runs`."""
        text = await asyncio.to_thread(read_notebook, notebook)
        environment = await self._bench.environment(text, progress)
        result = await self._bench.executor.execute(
            ExecutionRequest(
                text,
                notebook.name,
                environment,
                self._bench.limits,
                self._seconds,
                folder=support,
                notebooks=True,
                outputs=True,
            )
        )
        return await asyncio.to_thread(_report, text, str(notebook), result, self._seconds)


@asynccontextmanager
async def open_runs(
    loaded: LoadedSettings,
    environ: Environ,
    how: How,
    warn: Callable[[str], None],
) -> AsyncIterator[Runs]:
    """Yield a runner of an author's notebooks, in a sandbox or directly on this machine.

    Authors would run their own notebooks anyway, so they run without a sandbox where none can be
    made; ``warn`` is called with a message then.

    Raises:
        SandboxUnavailable: None can be made, and ``[security] use_bubblewrap`` demands one.
    """
    seconds = loaded.settings.defaults.timeout
    async with AsyncExitStack() as stack:
        bench = await _open_bench(stack, loaded, environ, how, warn) if how.sandbox else None
        if bench is not None:
            yield SandboxedRuns(bench, seconds=seconds)
            return
        variables = {**environ.build, "PATH": environ.path, "HOME": str(environ.home)}
        # In the course's directory: at the same path, uv finds what it installed for the same
        # wheel.
        wheels = loaded.state_dir / "runtime"
        environment = AuthorEnvironment(wheels, variables, own=how.own_python)
        stack.push_async_callback(environment.close)
        yield TrustedRuns(environment, seconds=seconds)


async def _open_bench(
    stack: AsyncExitStack,
    loaded: LoadedSettings,
    environ: Environ,
    how: How,
    warn: Callable[[str], None],
) -> Workbench | None:
    wanted = loaded.settings.security.use_bubblewrap
    if wanted is False:
        warn("Without a sandbox, since [security] use_bubblewrap is false.")
        return None
    opening = open_workbench(loaded, environ, trusted=True, runs=how.runs, jobs=how.jobs)
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
    checks = (CheckOutcome(c.label, CheckStatus(c.status), c.details) for c in result.checks)
    last = {check.label: check for check in checks}
    return RunReport(
        cell_errors=tuple(_failures(cells, filename, result)),
        checks=tuple(last.values()),
        outputs=tuple(CellOutput(c.index, _plain(c.shown)) for c in result.cells),
        problem=_problem(cells, result, seconds),
    )


def _problem(cells: tuple[Cell, ...], result: ExecutionResult, seconds: float) -> str:
    """Return why a notebook did not run to its end, in a sentence for its author."""
    running = (each for each in result.cells if each.status is CellStatus.INTERRUPTED)
    index = next((each.index for each in running), len(cells))
    where = f" in the cell at line {cells[index].first}" if index < len(cells) else ""
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
    return html.unescape(_TAGS.sub(_attributes, _EMBEDDED.sub("", shown)))


def _attributes(tag: re.Match[str]) -> str:
    return " " + html.unescape(tag[0]) if "data-" in tag[0] else ""
