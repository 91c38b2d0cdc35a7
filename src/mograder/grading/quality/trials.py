"""Runs of a source and its variants: what each check says, to compare with the solution's run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.grading.author.author_runs import AuthorRuns, NotebookVariant
from mograder.notebook.cells import NotebookText
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.quality.mutants import read_digests
from mograder.sandbox.execution.report import CheckResult, ExecutionResult, Outcome
from mograder.store.submissions.submitted_files import SubmittedFile


@dataclass(frozen=True, slots=True)
class ExaminedSource:
    """A source to examine: ``filename`` is for messages, ``name`` and ``folder`` are the file's.

    ``release`` is the text without its solutions.
    """

    filename: str
    name: str
    folder: Path
    notebook: NotebookText
    plan: GradingPlan
    release: str


@dataclass(frozen=True, slots=True)
class Submissions:
    """Submissions of one assignment; ``folder`` has the files beside the release."""

    files: Sequence[SubmittedFile]
    folder: Path


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the last result of each check by its label, and the digests of the answers.

    ``problem`` says why it did not run to its end, and is empty if it did.
    """

    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    digests: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    result: ExecutionResult | None = None

    def passes(self, label: str) -> bool:
        """Whether a check passes as a whole."""
        return label in self.checks and self.checks[label].status == "success"

    def passed(self) -> frozenset[str]:
        """Return the labels that pass."""
        return frozenset(filter(self.passes, self.checks))

    def reason(self, label: str) -> str:
        """Return why a check does not pass, in words."""
        if label not in self.checks:
            return self.problem or "it did not run"
        return "; ".join(self.checks[label].details) or "it waits for an answer"


class Trials:
    """Runs texts as a source's notebook, ``jobs`` at a time; ``done`` is called after each."""

    def __init__(
        self, source: ExaminedSource, runs: AuthorRuns, *, jobs: int, done: Callable[[], None]
    ) -> None:
        self._source = source
        self._runs = runs
        self._done = done
        self.room = asyncio.Semaphore(max(1, jobs))

    async def run(self, text: str, seconds: float) -> Trial:
        """Run a text; what prevents that is the trial's problem."""
        variant = NotebookVariant(text, self._source.name, self._source.folder, seconds)
        async with self.room:
            try:
                result = await self._runs.run_variant(variant, lambda _: None)
            except MograderError as error:
                return Trial(problem=str(error))
            finally:
                self._done()
        return await asyncio.to_thread(_trial, result)


def _trial(result: ExecutionResult) -> Trial:
    digests: dict[str, str | None] = {}
    for cell in result.cells:
        digests |= read_digests(cell.output_tail)
    ended = result.outcome is Outcome.FINISHED
    return Trial(
        checks={check.label: check for check in result.checks},
        digests=digests,
        seconds=result.seconds,
        problem=result.problem or ("" if ended else f"its run ended early: {result.outcome}"),
        result=result,
    )
