"""What generating needs to know of a notebook's run, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mograder.core.shared import Progress
from mograder.notebook.cells import parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.leaks import CellOutput
from mograder.notebook.pep723 import read_script
from mograder.sandbox.author_run import AuthorEnvironment, CellRun, run_as_author
from mograder.store.course import read_notebook

CheckStatus = Literal["success", "partial", "danger", "warn"]
"""What a check says, in the words of the sidecar (compat.md 8)."""

_HOW = "Open the notebook with `marimo edit` to see the cell fail."


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What one check came to; ``messages`` are those of the conditions that failed."""

    label: str
    status: CheckStatus
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a notebook; ``problem`` says why it did not come to its end, if it did not."""

    cell_errors: tuple[Finding, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    outputs: tuple[CellOutput, ...] = ()
    problem: str = ""


class Runs(Protocol):
    """Runs a notebook from its first cell to its last."""

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run ``notebook`` with the files of the directory ``support`` beside it.

        Neither of them is changed. Raises :class:`~mograder.core.errors.MograderError` when
        nothing can be run at all.
        """


class TrustedRuns:
    """Runs an author's own notebook on their own machine, as opening it in marimo would.

    Without a sandbox, so never for what a student wrote.
    """

    def __init__(self, environment: AuthorEnvironment, *, seconds: float) -> None:
        self._environment = environment
        self._seconds = seconds

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        """Run a copy; see :class:`Runs`."""
        text = read_notebook(notebook)
        python = await self._environment.command(read_script(text), progress)
        done = await run_as_author(
            self._environment, python, notebook, support, seconds=self._seconds
        )
        return RunReport(
            cell_errors=tuple(_errors(text, str(notebook), done.cells)),
            checks=tuple(CheckOutcome(c.label, c.status, c.details) for c in done.checks),
            outputs=tuple(CellOutput(i, cell.output) for i, cell in enumerate(done.cells)),
            problem=done.problem,
        )


def _errors(text: str, filename: str, ran: tuple[CellRun, ...]) -> list[Finding]:
    cells = parse_cells(text, filename).cells
    found = []
    for index, run in enumerate(ran):
        if run.error:
            # A marimo that counts cells in another way: better no line than a wrong one.
            cell = cells[index] if len(cells) == len(ran) else None
            line = 1 if cell is None else cell.line_of(run.line) if run.line else cell.first
            found.append(Finding(filename, line, run.error, _HOW))
    return found
