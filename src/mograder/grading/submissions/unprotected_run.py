"""Checks that run beside the answers: those of unprotected questions, or all without a source.

The submission runs with the author's checks restored, as in validation. Its code could forge what
they report, so the marks are proposals that a person confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mograder.core.errors import MograderError
from mograder.grading.results.grading_result import GradedCheck, GradedLabel, GradingState
from mograder.grading.runs.grading_tools import GradingTools
from mograder.grading.submissions.graded_assignment import GradedAssignment, source_name
from mograder.grading.submissions.question_results import ExpectedLabel, failed_labels
from mograder.grading.validation.report import CheckStatus, ValidatedCheck, ValidationReport
from mograder.grading.validation.validate import Submission, validate
from mograder.marks import held_to
from mograder.notebook.grading.grading_plan import Part
from mograder.sandbox.execution.judging import JudgedCondition
from mograder.sandbox.execution.report import (
    Executes,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)

_LOG = 1000


async def run_beside(
    assignment: GradedAssignment, text: str, tools: GradingTools, uid_slot: int
) -> ValidationReport:
    """Run a submission with the author's unprotected checks, and return the report.

    Raises:
        MograderError: It could not be run at all.
    """
    submission = Submission(
        text=text,
        filename=source_name(assignment),
        environment=assignment.environment,
        limits=assignment.limits,
        seconds=assignment.deadlines.notebook,
        release=assignment.release if assignment.source is None else assignment.source.beside,
        folder=assignment.release_folder,
        uid_slot=uid_slot,
    )
    return await validate(submission, _OwnEnds(tools.executor), tools.apart)


def unprotected_checks(
    report: ValidationReport, parts: Sequence[Part], expected: Sequence[ExpectedLabel]
) -> tuple[GradedCheck, ...]:
    """Return the results of the unprotected checks of a source; other results do not count.

    A label that is known only when its check runs belongs to the first such check.
    """
    named = {each.label for each in expected}.union(*map(_labels, parts))
    found = {each.label: each for each in report.checks}
    free = [each for each in report.checks if each.label not in named]
    checks = []
    for part in parts:
        results = [found[label] for label in _labels(part) if label in found]
        if part.check is not None and any(each.label is None for each in part.check.labels):
            results, free = [*results, *free], []
        wanted = [each for each in expected if each.unprotected and each.cell == part.cell]
        checks.append(_check(part.cell, part.line, results, wanted))
    return tuple(checks)


def checks_without_source(report: ValidationReport) -> tuple[GradedCheck, ...]:
    """Return the results of all checks that a submission has, each as a check of its own.

    Cells and lines are those of the submission.
    """
    return tuple(_check(each.index or 0, each.line or 1, [each], ()) for each in report.checks)


def _labels(part: Part) -> tuple[str, ...]:
    """Return the known labels of a check in their order, each once."""
    labels = () if part.check is None else part.check.labels
    return tuple(dict.fromkeys(each.label for each in labels if each.label is not None))


def _check(
    cell: int, line: int, results: Sequence[ValidatedCheck], wanted: Sequence[ExpectedLabel]
) -> GradedCheck:
    weights = {each.label: each.total for each in wanted}
    labels = [_label(each, weights.get(each.label, 0.0)) for each in results]
    present = {each.label for each in results}
    missing = [each for each in wanted if each.label not in present]
    lost = [each for each in results if each.status is CheckStatus.NOT_RUN]
    reasons = [message.removeprefix("not run: ") for each in lost for message in each.messages]
    if missing or not results:
        reasons.append("this check did not run")
    return GradedCheck(
        cell=cell,
        line=line,
        hidden=False,
        state=GradingState.UNPROTECTED if len(lost) < len(results) else GradingState.NOT_RUN,
        reason="; ".join(dict.fromkeys(reasons)),
        labels=(*labels, *failed_labels(missing)),
    )


def _label(check: ValidatedCheck, wanted: float) -> GradedLabel:
    """Return the result of one label, held to the weight that its author has given it.

    The run does not tell the weights of its conditions.
    """
    ran = check.status is not CheckStatus.NOT_RUN
    conditions = (JudgedCondition(message=m, weight=0.0, passed=False) for m in check.messages)
    held = held_to(check.weights, wanted)
    return GradedLabel(
        label=check.label,
        key=check.key,
        earned=held.earned,
        total=held.total,
        passed=check.status is CheckStatus.SUCCESS,
        conditions=tuple(conditions) if ran else (),
    )


@dataclass(frozen=True, slots=True)
class _OwnEnds:
    """Runs notebooks; raises an error for a run whose end is not the student's doing.

    As the judge's worker: where the disk is nearly full, and where nothing was reported at all.
    """

    runs: Executes

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        result = await self.runs.execute(request)
        if result.reason == "disk":
            raise MograderError("The notebook was ended because the disk is nearly full.")
        told = result.cells or result.problem
        if not told and result.outcome not in (Outcome.FINISHED, Outcome.UNREADABLE):
            raise MograderError(f"The notebook reported nothing. {result.log_tail[-_LOG:]}".strip())
        return result
