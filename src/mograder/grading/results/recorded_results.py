"""Signed results in a gradebook that explain marks; each signature is checked where it is used.

They are apart from :mod:`~mograder.grading.results.grading_result`, which ``mograder quality`` uses
in installations without SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.grading.results.grading_result import GradingResult, is_signed, parse_result
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import RecordedRun


@dataclass(frozen=True, slots=True)
class LastResult:
    """The result that explains a student's marks; ``problem`` says why it is not to be used.

    ``run`` is the number of its run, None without a result.
    """

    result: GradingResult | None = None
    signature: str = ""
    problem: str = ""
    run: int | None = None


NO_RESULT = LastResult()


def last_results(
    key: bytes, book: Gradebook, assignment: str, students: Collection[str] | None = None
) -> Mapping[str, LastResult]:
    """Return the result that explains the marks of each student, of all or of some; blocks.

    A damaged or forged result is not replaced by an older one, which may not explain the marks.
    Students without any run are left out.
    """
    runs = book.explaining_runs(assignment, students)
    return {run.student: result_of_run(key, run) for run in runs}


def result_of_run(key: bytes, run: RecordedRun | None) -> LastResult:
    """Return the result of a run; None for one that is not in the gradebook."""
    if run is None:
        return LastResult(problem="its result is not in the gradebook")
    try:
        result = parse_result(run.result)
    except InvalidInput:
        return LastResult(problem="its result in the gradebook is damaged")
    of_row = (result.assignment, result.student) == (run.assignment, run.student)
    if not of_row or not is_signed(key, result, run.signature):
        why = "its result was changed after it was signed, or signed in another course"
        return LastResult(problem=why)
    return LastResult(result, run.signature, run=run.number)
