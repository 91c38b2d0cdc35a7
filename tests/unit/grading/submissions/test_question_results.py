"""grading.question_results: marks and states of questions; ``test_marks.py`` compares them, too."""

from __future__ import annotations

import itertools

import pytest

from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingState,
)
from mograder.grading.submissions.question_results import (
    ExpectedLabel,
    graded_questions,
    state_of,
    totals,
)

S = GradingState


def label(name: str, earned: float, total: float, *, passed: bool = False) -> GradedLabel:
    key = name.split(":", maxsplit=1)[0]
    return GradedLabel(label=name, key=key, earned=earned, total=total, passed=passed)


def check(
    state: GradingState, *labels: GradedLabel, reason: str = "", cell: int = 0
) -> GradedCheck:
    return GradedCheck(cell=cell, line=1, hidden=False, state=state, reason=reason, labels=labels)


@pytest.mark.parametrize(
    ("authors", "came", "earned", "state"),
    [
        pytest.param([1.0, 3.0], [1.0], 2.0, S.JUDGED, id="a label that did not come"),
        pytest.param([4.0], [1.0], 2.0, S.JUDGED, id="a label with less weight"),
        pytest.param([4.0], [], None, S.NEEDS_ATTENTION, id="no check at all"),
    ],
)
def test_labels_count_with_the_authors_weights(
    authors: list[float], came: list[float], earned: float | None, state: GradingState
) -> None:
    expected = [ExpectedLabel(0, 1, f"Q1: {n}", "Q1", each) for n, each in enumerate(authors)]
    checks = [
        check(S.JUDGED, label(f"Q1: {n}", each, each, passed=True)) for n, each in enumerate(came)
    ]
    [question] = graded_questions({"Q1": 8.0}, checks, expected)
    assert (question.earned, question.state) == (earned, state)
    assert question.labels == tuple(each.label for each in expected)


def test_a_question_without_labels_is_for_people() -> None:
    [question] = graded_questions({"Essay": 20.0}, [], [])
    assert question == GradedQuestion(key="Essay", available=20.0, earned=None, state=S.MANUAL)
    assert totals({"Essay": 20.0}, [question]) == (0.0, 0.0, 20.0)


def test_checks_of_a_question_without_marks_are_shown_and_count_for_nothing() -> None:
    checks = [check(S.JUDGED, label("Q1: a", 1, 1)), check(S.JUDGED, label("Try: it", 0, 1))]
    found = graded_questions({"Q1": 5.0}, checks, [])
    assert [(each.key, each.available) for each in found] == [("Q1", 5.0), ("Try", None)]
    assert totals({"Q1": 5.0}, found)[0] == 5.0


@pytest.mark.parametrize(
    ("states", "together"),
    [
        ((), S.MANUAL),
        ((S.MANUAL,), S.MANUAL),
        ((S.JUDGED, S.MANUAL), S.JUDGED),
        ((S.JUDGED, S.NOT_RUN), S.JUDGED),
        ((S.NOT_RUN, S.MANUAL), S.NOT_RUN),
        ((S.JUDGED, S.CLAIMED), S.CLAIMED),
        ((S.CLAIMED, S.UNPROTECTED, S.JUDGED), S.UNPROTECTED),
        ((S.NOT_RUN, S.UNPROTECTED), S.UNPROTECTED),
        ((S.JUDGED, S.NEEDS_ATTENTION, S.NOT_RUN), S.NEEDS_ATTENTION),
    ],
)
def test_the_state_of_several_together(
    states: tuple[GradingState, ...], together: GradingState
) -> None:
    for order in itertools.permutations(states):
        assert state_of(order) is together


def test_the_worst_result_of_a_label_counts_as_in_a_validation() -> None:
    checks = [
        check(S.JUDGED, label("Q1: a", 1, 1, passed=True)),
        check(S.JUDGED, label("Q1: a", 0, 1)),
    ]
    for order in (checks, checks[::-1]):
        assert graded_questions({"Q1": 5.0}, order, [])[0].earned == 0.0


@pytest.mark.parametrize("weights", [(1.0, 3.0), (3.0, 1.0)])
@pytest.mark.parametrize(("right", "earned"), [((1, 1), 5.0), ((1, 0), 0.0), ((0, 1), 0.0)])
def test_a_label_in_two_cells_counts_with_the_weight_of_its_worst_result(
    weights: tuple[float, float], right: tuple[int, int], earned: float
) -> None:
    expected = [ExpectedLabel(n, 1, "Q1", "Q1", each) for n, each in enumerate(weights)]
    checks = [
        check(S.JUDGED, label("Q1", each * weight, weight, passed=bool(each)), cell=cell)
        for cell, (each, weight) in enumerate(zip(right, weights, strict=True))
    ]
    assert graded_questions({"Q1": 5.0}, checks, expected)[0].earned == earned


def test_the_maximum_has_no_more_decimals_than_its_marks() -> None:
    marks = {"Q1": 1.1, "Q2": 2.2}
    checks = [check(S.JUDGED, *(label(key, 1.0, 1.0, passed=True) for key in marks))]
    assert totals(marks, graded_questions(marks, checks, [])) == (3.3, 3.3, 3.3)
