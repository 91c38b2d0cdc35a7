"""Runs of an author's notebook, and their reports for `generate`."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mograder.core.tasks.single_flight import Progress
from mograder.notebook.cells import Cell, parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.source.leaks import CellOutput
from mograder.sandbox.execution.judging import JudgeFiles, JudgingResult
from mograder.sandbox.execution.report import CellStatus, CheckResult, ExecutionResult, Outcome

_LOG = 2000
_TAGS = re.compile(r"<[^>]*>")
_HOW = "Open the notebook with `marimo edit` to see the cell fail."


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


class AuthorRuns(Protocol):
    """Runs an author's notebooks, and judges them apart from their checks as grading does.

    Each method raises :class:`~mograder.core.errors.MograderError` if nothing can be run at all.
    """

    @property
    def protected(self) -> bool:
        """Whether that is in sandboxes, so that a student's work may be judged, too."""

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run a notebook from its first cell to its last, with the files of ``support`` beside it.

        Neither of them is changed. In a sandbox it is run as a session would: without network and
        with a session's limits, so that mistakes that show only on a hub are found before students
        meet them.
        """

    async def run_variant(self, variant: NotebookVariant, progress: Progress, /) -> ExecutionResult:
        """Run a variant of a notebook."""

    async def judge(self, trial: AuthorTrial, progress: Progress, /) -> JudgingResult:
        """Judge a notebook in two processes, as `mograder autograde` does."""

    async def keep(self, trial: AuthorTrial, contract: str, /) -> None:
        """Keep the contract of a trial for later grading.

        None is kept of the Python that runs mograder: grading uses another environment.
        """


def run_report(text: str, filename: str, result: ExecutionResult, seconds: float) -> RunReport:
    """Return the report of a run for the author; the last result of each check counts."""
    cells = parse_cells(text, filename).cells
    last = {check.label: check for check in result.checks}
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
