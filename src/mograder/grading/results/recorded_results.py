"""Signed results in a gradebook that explain marks; each signature is checked where it is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.grading.results.grading_result import GradingResult, is_signed, parse_result
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import NEEDS_ATTENTION, RecordedRun

_DAMAGED = "its result in the gradebook is damaged"


@dataclass(frozen=True, slots=True)
class LastResult:
    """The result that explains a student's marks; ``problem`` says why it is not to be used.

    ``run`` is the number of its run, None without a result.
    """

    result: GradingResult | None = None
    signature: str = ""
    problem: str = ""
    run: int | None = None


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
            return LastResult(problem=_DAMAGED)
        if result.questions:
            return _verified(key, run, result)
    return LastResult()


def last_results(
    key: bytes, book: Gradebook, assignment: str, students: Collection[str] | None = None
) -> Mapping[str, LastResult]:
    """Return the result that explains the marks of each student, of all or of some; blocks.

    Students without any run are left out.
    """
    found = {}
    for run in book.explaining_runs(assignment, students):
        last = last_result(key, [run])
        if last == LastResult():  # without questions, so that an older one may explain the marks
            last = last_result(key, book.runs(assignment, run.student))
        found[run.student] = last
    return found


def result_of_run(key: bytes, run: RecordedRun | None) -> LastResult:
    """Return the result of a run; None for one that is not in the gradebook."""
    if run is None:
        return LastResult(problem="its result is not in the gradebook")
    try:
        return _verified(key, run, parse_result(run.result))
    except InvalidInput:
        return LastResult(problem=_DAMAGED)


def _verified(key: bytes, run: RecordedRun, result: GradingResult) -> LastResult:
    if not is_genuine(key, run, result):
        why = "its result was changed after it was signed, or signed in another course"
        return LastResult(problem=why)
    return LastResult(result, run.signature, run=run.number)


def is_genuine(key: bytes, run: RecordedRun, result: GradingResult) -> bool:
    """Return whether a recorded run's result is of its row, and signed with this key."""
    of_row = (result.assignment, result.student) == (run.assignment, run.student)
    return of_row and is_signed(key, result, run.signature)
