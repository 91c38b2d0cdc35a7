"""Runs of an author's notebook, and the findings about it and its release that follow from them.

System and settings choose what the notebook runs on: a sandbox, or this machine directly. Line
numbers of findings are the source's: a release that is refused is never written, and authors edit
the source.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.grading.submissions.contract_recording import Recording, keep_contract
from mograder.grading.validate import worst_result
from mograder.grading.workbench import (
    UNPROTECTED,
    SandboxSlots,
    Workbench,
    demand_no_sandbox,
    open_workbench,
)
from mograder.notebook.cells import Cell, parse_cells, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import texts_of
from mograder.notebook.grading.recording_cells import RecordingCells
from mograder.notebook.points import checks_in, key_of, marks_of
from mograder.notebook.source.leaks import CellOutput, find_leaks, hidden_values
from mograder.sandbox.execution.judging import JudgeFiles, JudgingRequest, JudgingResult
from mograder.sandbox.execution.notebook_copies import folder_digest
from mograder.sandbox.execution.report import (
    CellStatus,
    CheckResult,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines, Limits, timed
from mograder.store.course.course import read_notebook
from mograder.store.course.sources import contracts_of

_SEED = "rehearsal"
_LOG = 2000
_TAGS = re.compile(r"<[^>]*>")
_HOW = "Open the notebook with `marimo edit` to see the cell fail."
_NO_LIMITS = Limits(processes=0, open_files=0, file_size_mb=0, tmp_mb=0)
PASSES_TOO_SOON = (
    "Let it wait for an answer: give the check an empty list while the student's name is `...`."
)
_AS_FUNCTIONS = (
    "Write the conditions as functions, `lambda: …`: what raises is then a check that fails."
)
_CORRECT = "Correct the solution or the check."


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a notebook; ``problem`` says why it did not run to its end, empty if it did."""

    cell_errors: tuple[Finding, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    outputs: tuple[CellOutput, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AuthorTrial:
    """An author's notebook, or its release, to judge apart from its checks.

    ``folder`` has the files beside it, ``files`` what the judge has. The checks are tried with junk
    as well if no contract is in ``files``. ``interface`` and ``skip`` are as in
    :class:`~mograder.sandbox.execution.judging.JudgingRequest`. ``header`` is the text whose header
    says which packages are needed, if that is not ``text``: a student's header is never used.
    """

    text: str
    name: str
    folder: Path
    files: JudgeFiles
    interface: tuple[str, ...]
    skip: tuple[int | str, ...]
    header: str = ""


@dataclass(frozen=True, slots=True)
class NotebookVariant:
    """A text to run as an author's notebook ``name``, with a copy of the files in ``folder``."""

    text: str
    name: str
    folder: Path
    seconds: float


class AuthorRuns:
    """Runs an author's notebooks, and judges them apart from their checks as grading does.

    ``opened`` returns what they run on. ``protected`` is whether that is in sandboxes, so that a
    student's work may be judged, too. The methods that run something raise
    :class:`~mograder.core.errors.MograderError` if nothing can be run at all.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        opened: Callable[[], Awaitable[Workbench]],
        *,
        protected: bool,
    ) -> None:
        self._opened = opened
        self._seconds = loaded.settings.defaults.timeout
        self._deadlines = timed(Deadlines(), self._seconds)
        self._contracts = contracts_of(loaded)
        self._slots = SandboxSlots()
        self._item = ""
        self.protected = protected

    def of_item(self, name: str) -> AuthorRuns:
        """Return runs on the same workbench, with the limits of an item of this name."""
        found = copy(self)
        found._item = name
        return found

    async def run(self, notebook: Path, support: Path, progress: Progress) -> RunReport:
        """Run a copy of a notebook, with the files of ``support`` beside it.

        A sandbox has no network and a session's limits, so that mistakes that show only on a hub
        are found before students meet them.
        """
        text = await asyncio.to_thread(read_notebook, notebook)
        variant = NotebookVariant(text, notebook.name, support, self._seconds)
        result = await self.run_variant(variant, progress)
        return await asyncio.to_thread(run_report, text, str(notebook), result, self._seconds)

    async def run_variant(self, variant: NotebookVariant, progress: Progress) -> ExecutionResult:
        bench = await self._opened()
        request = ExecutionRequest(
            variant.text,
            variant.name,
            await bench.environment(variant.text, progress),
            bench.limits(variant.text, self._item),
            min(variant.seconds, LONGEST_SECONDS),
            folder=variant.folder,
            notebooks=True,
            outputs=True,
        )
        return await bench.runner.execute(request)

    async def judge(self, trial: AuthorTrial, progress: Progress) -> JudgingResult:
        """Judge a notebook in two processes, as `mograder autograde` does."""
        bench = await self._opened()
        header = trial.header or trial.text
        environment = await bench.environment(header, progress)
        with self._slots.pair() as (worker, judge):
            request = JudgingRequest(
                text=trial.text,
                name=trial.name,
                files=trial.files,
                environment=environment,
                limits=bench.limits(header, self._item),
                deadlines=self._deadlines,
                interface=trial.interface,
                skip=trial.skip,
                seed=_SEED,
                texts=await asyncio.to_thread(texts_of, trial.text, trial.name, trial.files.plan),
                folder=trial.folder,
                uid_slot=worker,
                judge_slot=judge,
                rehearse=trial.files.contract is None,
            )
            return await bench.runner.judge(request)

    async def keep(self, trial: AuthorTrial, contract: Contract) -> None:
        """Keep a trial's contract, unless the Python is mograder's: grading uses another one."""
        bench = await self._opened()
        if bench.environments is not None:
            recording = Recording(
                text=trial.text,
                filename=trial.name,
                plan=trial.files.plan,
                environment=await bench.environment(trial.text, lambda _: None),
                limits=bench.limits(trial.text, self._item),
                deadlines=self._deadlines,
                folder=trial.folder.absolute(),
                files_sha256=await asyncio.to_thread(folder_digest, trial.folder),
            )
            await asyncio.to_thread(keep_contract, self._contracts, recording, contract)


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
    ``own_python`` uses the Python that runs mograder; sandboxes do not have it. Without sandboxes
    no process is started before something runs.

    Raises: SandboxUnavailable if none can be made and ``[security] use_bubblewrap`` demands one.
    """
    if UNPROTECTED:  # before anything runs
        demand_no_sandbox(loaded)
    opening = partial(open_workbench, loaded, environ, runs=runs, jobs=jobs)
    async with AsyncExitStack() as stack:
        bench = await _sandboxed(stack, opening, loaded, warn) if sandbox else None
        plain, lock = bench, asyncio.Lock()

        async def opened() -> Workbench:
            nonlocal plain
            async with lock:
                if plain is None:
                    made = opening(sandbox=False, own_python=own_python)
                    bench = await stack.enter_async_context(made)
                    plain = replace(bench, limits=lambda *_: _NO_LIMITS)
                return plain

        yield AuthorRuns(loaded, opened, protected=bench is not None)


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


def run_report(text: str, filename: str, result: ExecutionResult, seconds: float) -> RunReport:
    notebook = parse_cells(text, filename)
    cells, recording = notebook.cells, RecordingCells(notebook)
    found: dict[str, list[CheckResult]] = {}
    for check in result.checks:
        found.setdefault(check.label, []).append(check)
    errors = []
    for told in result.cells:
        if told.status is CellStatus.ERROR and told.index < len(cells):
            cell = cells[told.index]
            line = cell.line_of(told.line) if told.line else cell.first
            message = f"{told.error_type}: {told.message}" if told.message else told.error_type
            errors.append(Finding(filename, line, message, _HOW))
    return RunReport(
        cell_errors=tuple(errors),
        checks=tuple(worst_result(each, cells, recording) for each in found.values()),
        outputs=tuple(CellOutput(c.index, _plain(c.shown)) for c in result.cells),
        problem=_problem(cells, result, seconds),
    )


def _problem(cells: tuple[Cell, ...], result: ExecutionResult, seconds: float) -> str:
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
                "[tool.mograder.limits] of its header, or in [items.NAME.limits] of "
                "mograder.toml, allows more."
            )
        case Outcome.KILLED:
            return f"it was ended{where} for its limit of {result.reason}."
        case Outcome.EXITED:
            return f"it left before its last cell{where}. {result.log_tail[-_LOG:]}".strip()
        case Outcome.UNREADABLE:
            return "what came of its run cannot be read."
    return result.problem


def _plain(shown: str) -> str:
    """Return the text of a cell's output without HTML tags, but with the attributes' values."""
    without = _TAGS.sub(lambda tag: f" {html.unescape(tag[0])}" if "data-" in tag[0] else "", shown)
    return html.unescape(without)


def judge_source(text: str, filename: str, report: RunReport) -> tuple[Finding, ...]:
    """Return the errors of cells and the checks that do not pass, in the order of the file."""
    if report.problem:
        return (Finding(filename, 1, f"it did not run: {report.problem}"),)
    found = {replace(error, filename=filename) for error in report.cell_errors}
    lines = {each.label: each.line for each in checks_in(parse_cells(text, filename))}
    for check in report.checks:
        if check.status != "success":
            reason = "; ".join(check.details) or "it waits for an answer"
            end = "" if reason.endswith((".", "!", "?")) else "."
            message = f"the check {check.label!r} does not pass: {reason}{end}"
            found.add(Finding(filename, lines.get(check.label, 1), message, _CORRECT))
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class ReleaseFindings:
    """The findings of a release's run, at the source's lines.

    ``leaks`` are what the outputs show and should not; ``early`` and ``partly`` the checks that
    pass without an answer, all or in part. If the notebook declares which checks earn marks, any
    other check may pass from the start.
    """

    failures: tuple[Finding, ...] = ()
    leaks: tuple[Finding, ...] = ()
    early: tuple[Finding, ...] = ()
    partly: tuple[Finding, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(sorted({*self.failures, *self.leaks, *self.early}))


def judge_release(source: str, release: str, filename: str, report: RunReport) -> ReleaseFindings:
    if report.problem:
        told = f"without its solutions it did not run: {report.problem}"
        return ReleaseFindings((Finding(filename, 1, told),))
    hidden = hidden_values(source, release, filename)
    leaks = find_leaks(release, filename, outputs=report.outputs, hidden=hidden)
    notebook = parse_cells(release, filename)
    checks, marks = tuple(checks_in(notebook)), marks_of(notebook)
    lines = {each.label: each.line for each in checks}
    early: list[Finding] = []
    partly: list[Finding] = []
    for check in report.checks:
        if check.status not in ("success", "partial"):
            continue
        if marks is None or key_of(check.label) in marks:
            part, some = ("", early) if check.status == "success" else (" in part", partly)
            message = f"the check {check.label!r} passes{part} though nothing is answered yet."
            some.append(Finding(filename, lines.get(check.label, 1), message, PASSES_TOO_SOON))
    is_test = {each.cell.index: each.is_test for each in checks}
    errors = []
    for error in report.cell_errors:  # a test may fail until a question is answered
        cell = notebook.cell_at(error.line)
        known = None if cell is None else is_test.get(cell.index)
        if not known:
            errors.append(error if known is None else replace(error, hint=_AS_FUNCTIONS))
    named = (
        (replace(each, message=f"without the solutions, {each.message}") for each in found)
        for found in (errors, leaks)
    )
    every = (in_source(source, release, filename, found) for found in (*named, early, partly))
    return ReleaseFindings(*every)


def in_source(
    source: str, release: str, filename: str, findings: Iterable[Finding]
) -> tuple[Finding, ...]:
    matcher = SequenceMatcher(None, split_lines(source), split_lines(release), autojunk=False)
    blocks = matcher.get_matching_blocks()

    def line_of(line: int) -> int:
        """Return the source's line: of the same text, else of the insertion."""
        before = [block for block in blocks if block.size and block.b < line]
        if not before:
            return 1
        return before[-1].a + min(line - before[-1].b, before[-1].size)

    moved = (replace(each, filename=filename, line=line_of(each.line)) for each in findings)
    return tuple(sorted(set(moved)))
