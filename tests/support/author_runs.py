"""Runs of an author's notebooks that nothing makes; a test replaces what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mograder.core.tasks import Progress
from mograder.grading.author.author_runs import (
    AuthorRuns,
    AuthorTrial,
    NotebookVariant,
    RunReport,
)
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import CheckResult, ExecutionResult
from mograder.sandbox.inside.grading_contract import Contract


class NoRuns(AuthorRuns):
    """Fails for every run."""

    protected = False

    def __init__(self) -> None:
        """There is nothing to run on."""

    def of_item(self, name: str) -> AuthorRuns:
        return self

    async def run(self, notebook: Path, support: Path, progress: Progress) -> RunReport:
        raise AssertionError(notebook)

    async def run_variant(self, variant: NotebookVariant, progress: Progress) -> ExecutionResult:
        raise AssertionError(variant.name)

    async def judge(self, trial: AuthorTrial, progress: Progress) -> JudgingResult:
        raise AssertionError(trial.name)

    async def keep(self, trial: AuthorTrial, contract: Contract) -> None:
        raise AssertionError(trial.name)


def said(
    label: str,
    status: Literal["success", "partial", "danger", "warn"],
    *details: str,
    weight: float = 0.0,
) -> CheckResult:
    """Return what a run says of a check."""
    return CheckResult(label, status, details, 0.0, weight, 0)
