"""Results as the gradebook keeps them: which one explains a student's marks, and its signature.

:func:`last_result` is the only place that chooses among the runs of a student.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.grading.results.grading_result import GradingResult, parse_result
from mograder.grading.results.result_signature import is_signed
from mograder.store.grading_records import NEEDS_ATTENTION, RecordedRun


@dataclass(frozen=True, slots=True)
class LastResult:
    """The result that explains a student's marks; ``problem`` says why it is not to be used."""

    result: GradingResult | None = None
    signature: str = ""
    problem: str = ""


def last_result(key: bytes, runs: Iterable[RecordedRun]) -> LastResult:
    """Return the newest result with questions, of the runs of one student.

    A run that needs attention gave no marks, so its result is chosen only if there is no other. A
    damaged or forged result is not replaced by an older one, which may not explain the marks.
    """
    newest = sorted(runs, key=lambda run: (run.state != NEEDS_ATTENTION, run.number), reverse=True)
    for run in newest:
        try:
            result = parse_result(run.result)
        except InvalidInput:
            return LastResult(problem="its result in the gradebook is damaged")
        if not result.questions:
            continue
        if not is_genuine(key, run, result):
            return LastResult(problem="its result was changed after it was signed")
        return LastResult(result, run.signature)
    return LastResult()


def is_genuine(key: bytes, run: RecordedRun, result: GradingResult) -> bool:
    """Return whether a recorded run's result is of its row, and signed with this key."""
    of_row = (result.assignment, result.student) == (run.assignment, run.student)
    return of_row and is_signed(key, result, run.signature)
