"""grading.recorded_results: which run of a student explains the marks."""

from __future__ import annotations

from mograder.auth.signing import derived_key
from mograder.grading.results.grading_result import (
    GradingResult,
    GradingState,
    render_result,
    sign_result,
)
from mograder.grading.results.recorded_results import LastResult, last_result, result_of_run
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


def test_the_newest_result_with_questions_is_chosen_in_any_order_of_the_runs() -> None:
    old, new = graded_result(auto_mark=5.0), graded_result(auto_mark=7.5)
    without = graded_result(questions=())
    runs = [recorded(1, old), recorded(2, new), recorded(3, without)]
    assert last_result(KEY, runs) == of(new, 2)
    assert last_result(KEY, reversed(runs)) == of(new, 2)
    assert last_result(KEY, [recorded(1, without)]) == LastResult()
    assert last_result(KEY, []) == LastResult()


def test_a_run_that_needs_attention_is_chosen_only_if_there_is_no_other() -> None:
    judged = graded_result()
    attention = graded_result(state=GradingState.NEEDS_ATTENTION)
    assert last_result(KEY, [recorded(1, judged), recorded(2, attention)]) == of(judged, 1)
    assert last_result(KEY, [recorded(2, attention)]) == of(attention, 2)


def test_a_damaged_or_forged_result_is_not_replaced_by_an_older_one() -> None:
    first = recorded(1, graded_result())
    assert last_result(KEY, [first, damaged(2)]) == DAMAGED
    other_key = derived_key("other", "grading")
    assert last_result(other_key, [first]) == CHANGED
    assert last_result(KEY, [first, recorded(2, graded_result(), student="bob")]) == CHANGED
    assert last_result(KEY, [damaged(1), recorded(2, graded_result())]) == of(graded_result(), 2)


def test_the_result_of_a_run_is_verified() -> None:
    first = recorded(1, graded_result(auto_mark=5.0))
    assert result_of_run(KEY, first) == of(graded_result(auto_mark=5.0), 1)
    assert result_of_run(KEY, damaged(2)) == DAMAGED
    forged = recorded(2, graded_result(questions=()), student="bob")
    assert result_of_run(KEY, forged) == CHANGED
    assert result_of_run(KEY, None).problem == "its result is not in the gradebook"
