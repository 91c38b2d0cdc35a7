"""Signed results as the gradebook records them; pure."""

from __future__ import annotations

from datetime import datetime

from mograder.grading.batch.autograded_files import SignedResult
from mograder.grading.results.grading_result import render_result
from mograder.grading.results.result_row import status_of
from mograder.grading.validation.report import CheckStatus
from mograder.store.gradebook.gradebook_rows import CheckResult
from mograder.store.gradebook.grading_records import GradingRun, RunQuestion


def run_of(signed: SignedResult) -> GradingRun:
    """Return the record of a result, in the words of 0.3.16 where its tables hold it."""
    result = signed.result
    available = {q.key: q.available for q in result.questions if q.available is not None}
    return GradingRun(
        assignment=result.assignment,
        student=result.student,
        submission_sha256=result.submission_sha256,
        state=result.state,
        result=render_result(result),
        signature=signed.signature,
        at=datetime.fromisoformat(result.at),
        questions=tuple(
            RunQuestion(each.key, each.earned, each.available, each.state, each.reason)
            for each in result.questions
        ),
        checks=tuple(
            CheckResult(label.label, _word(status_of(check, label)), label.hidden)
            for check in result.checks
            for label in check.labels
        ),
        cell_errors=len(result.cell_errors),
        tampered=result.tampered,
        marks=available or None,
        max_mark=result.max_mark,
        problem=result.problem,
        received=datetime.fromisoformat(result.received) if result.received else None,
    )


def _word(status: CheckStatus) -> str:
    """Return 0.3.16's word, which has none for a check that was not run."""
    return CheckStatus.WARN if status is CheckStatus.NOT_RUN else status
