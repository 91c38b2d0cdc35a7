"""grading.submissions.grading_result: which run of a student explains the marks."""

from __future__ import annotations

from pathlib import Path

from mograder.auth.signing import derived_key
from mograder.grading.submissions.autograde import run_of
from mograder.grading.submissions.grading_result import (
    GradingResult,
    GradingState,
    LastResult,
    last_results,
    render_result,
    result_of_run,
    sign_result,
)
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import RecordedRun
from tests.support.graded_results import graded_result

KEY = derived_key("secret", "grading")
DAMAGED = LastResult(problem="its result in the gradebook is damaged")
CHANGED = LastResult(
    problem="its result was changed after it was signed, or signed in another course"
)


def recorded(number: int, result: GradingResult, *, student: str = "alice") -> RecordedRun:
    signature = sign_result(KEY, result)
    state, at = result.state, result.at
    return RecordedRun(
        number, "hw1", student, "a" * 64, state, "", render_result(result), signature, at
    )


def of(result: GradingResult, number: int) -> LastResult:
    return LastResult(result, sign_result(KEY, result), run=number)


def damaged(number: int) -> RecordedRun:
    return RecordedRun(number, "hw1", "alice", "a" * 64, "judged", "", "{}", "", "")


def test_the_newest_result_with_marks_explains_them_else_the_newest(tmp_path: Path) -> None:
    old, new = graded_result(auto_mark=5.0), graded_result(auto_mark=7.5)
    attention = graded_result(state=GradingState.NEEDS_ATTENTION)
    with Gradebook(tmp_path / "gradebook.db") as book:
        for number, (result, explains) in enumerate(
            [(attention, (attention, 1)), (old, (old, 2)), (new, (new, 3)), (attention, (new, 3))],
            start=1,
        ):
            assert book.record_run(run_of(result, KEY)) == number
            assert last_results(KEY, book, "hw1") == {"alice": of(*explains)}
        assert last_results(KEY, book, "hw1", ["bob"]) == {}


def test_the_result_of_a_run_is_verified() -> None:
    first = recorded(1, graded_result(auto_mark=5.0))
    assert result_of_run(KEY, first) == of(graded_result(auto_mark=5.0), 1)
    assert result_of_run(KEY, damaged(2)) == DAMAGED
    forged = recorded(2, graded_result(questions=()), student="bob")
    assert result_of_run(KEY, forged) == CHANGED
    assert result_of_run(derived_key("other", "grading"), first) == CHANGED
    assert result_of_run(KEY, None).problem == "its result is not in the gradebook"
