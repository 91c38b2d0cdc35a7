"""One function for marks: what each caller shows is what it returns (compatibility-0.3.16.md 8)."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.grading.submissions.grading_result import GradedCheck, GradedLabel, GradingState
from mograder.grading.submissions.question_results import (
    ExpectedLabel,
    graded_questions,
    totals,
)
from mograder.grading.validation_report import CheckStatus, ValidatedCheck, with_marks
from mograder.marks import Weights, question_marks, question_weight, sum_of_marks
from mograder.runtime import Grader
from tests.unit.runtime_output import body_of

ALL, HALF, NONE = Weights(2, 2, True), Weights(1, 2), Weights(0, 2)
_ROW = re.compile(r"<tr><th[^>]*>(.*?)</th><td[^>]*>.*?</td><td[^>]*>([\d.]+)/[\d.]+</td>")


@pytest.mark.parametrize(
    ("results", "expected", "earned"),
    [
        ({"Q1": ALL}, {}, 10.0),
        ({"Q1": HALF}, {}, 5.0),
        ({"Q1": NONE}, {}, 0.0),
        ({}, {}, 0.0),
        ({"Q1: a": ALL, "Q1: b": NONE}, {}, 5.0),
        ({"Q1: a": ALL, "Q1: b": Weights(1, 1, True)}, {}, 10.0),
        ({"Q1": Weights(1, 3)}, {}, 3.3),
        # The author's own run had more conditions, or a label that did not run here.
        ({"Q1": Weights(1, 1, True)}, {"Q1": 4}, 2.5),
        ({"Q1: a": ALL}, {"Q1: a": 2, "Q1: b": 2}, 5.0),
        # It had fewer: what failed keeps its weight, whatever holds besides.
        ({"Q1": Weights(3, 4)}, {"Q1": 2}, 5.0),
        ({"Q1": Weights(900, 901)}, {"Q1": 6}, 8.3),
        ({"Q1": Weights(900, 906)}, {"Q1": 6}, 0.0),
        ({"Q1": Weights(900, 900, True)}, {"Q1": 6}, 10.0),
        # All weights are 0: the conditions decide.
        ({"Q1": Weights(0, 0, True)}, {"Q1": 0}, 10.0),
        ({"Q1": Weights(0, 0, False)}, {"Q1": 0}, 0.0),
        ({"Q1: a": Weights(0, 0, True)}, {"Q1: a": 0, "Q1: b": 0}, 0.0),
        # Numbers that a correct report never holds.
        ({"Q1": Weights(9, 2)}, {}, 10.0),
        ({"Q1": Weights(-1, 2)}, {}, 0.0),
    ],
)
def test_the_marks_of_a_question(
    results: dict[str, Weights], expected: dict[str, float], earned: float
) -> None:
    assert question_marks(10, results, expected) == earned


_WEIGHTS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.0, 2.0, 3.0, 7.0])
_CONDITIONS = st.lists(st.tuples(st.booleans(), _WEIGHTS), max_size=4)
_MARKS = st.dictionaries(
    st.sampled_from(["Q1", "Q2", "Q3", "Part"]),
    st.sampled_from([0.5, 1.0, 3.0, 10.0, 15.0]),
    min_size=1,
)
_RESULTS = st.dictionaries(
    st.tuples(st.sampled_from(["Q1", "Q2", "Q3", "Part", "other"]), st.sampled_from("abc")),
    _CONDITIONS,
)


def _validated(label: str, conditions: list[tuple[bool, float]]) -> ValidatedCheck:
    passed = bool(conditions) and all(holds for holds, _ in conditions)
    earned = sum(weight for holds, weight in conditions if holds)
    weights = Weights(earned, sum(weight for _, weight in conditions), passed)
    return ValidatedCheck(
        label, label.split(":", maxsplit=1)[0], CheckStatus.PARTIAL, weights=weights
    )


def _graded(check: ValidatedCheck) -> GradedCheck:
    found = check.weights
    label = GradedLabel(
        label=check.label,
        key=check.key,
        earned=found.earned,
        total=found.total,
        passed=found.passed,
    )
    return GradedCheck(cell=0, line=1, hidden=False, state=GradingState.JUDGED, labels=(label,))


@settings(max_examples=10 * settings().max_examples)
@given(_MARKS, _RESULTS)
def test_the_notebook_its_validation_and_its_grading_give_the_same_marks(
    marks: dict[str, float], results: dict[tuple[str, str], list[tuple[bool, float]]]
) -> None:
    labelled = {f"{key}: {name}": conditions for (key, name), conditions in results.items()}
    grader = Grader(marks)
    for label, conditions in labelled.items():
        grader.check(label, [(holds, "condition", weight) for holds, weight in conditions])
    shown = {
        key: float(earned)
        for key, earned in _ROW.findall(body_of(grader.scores()).partition("<tbody>")[2])
    }
    checks = [_validated(label, conditions) for label, conditions in labelled.items()]
    _, total = with_marks(checks, marks, {})
    by_key = {
        key: question_marks(
            available, {check.label: check.weights for check in checks if check.key == key}
        )
        for key, available in marks.items()
    }
    assert {key: shown[key] for key in marks} == by_key
    expected = [ExpectedLabel(0, 1, each.label, each.key, each.weights.total) for each in checks]
    graded = graded_questions(marks, [_graded(check) for check in checks], expected)
    assert {each.key: each.earned or 0.0 for each in graded if each.key in marks} == by_key
    together = sum_of_marks(by_key.values())
    assert together == shown["<strong>Total</strong>"] == totals(marks, graded)[0]
    assert together == (total or (0.0, 0.0))[0]


@given(_CONDITIONS, st.dictionaries(st.sampled_from("ab"), _WEIGHTS), st.sampled_from([1.0, 15.0]))
def test_marks_are_never_more_than_available_and_never_more_with_a_stricter_author(
    conditions: list[tuple[bool, float]], expected: dict[str, float], available: float
) -> None:
    results = {"a": _validated("a", conditions).weights}
    earned = question_marks(available, results, expected)
    assert 0 <= earned <= available
    if question_weight(results) > 0:
        assert earned <= question_marks(available, results)


@given(_CONDITIONS, st.integers(0, 1000), _WEIGHTS.filter(bool), st.sampled_from([1.0, 15.0]))
def test_conditions_that_an_answer_adds_never_earn_more(
    conditions: list[tuple[bool, float]], added: int, expected: float, available: float
) -> None:
    before, after = (
        question_marks(available, {"a": _validated("a", each).weights}, {"a": expected})
        for each in (conditions, [*conditions, *[(True, 1.0)] * added])
    )
    lost = sum(weight for holds, weight in conditions if not holds)
    assert after <= round(available * max(expected - lost, 0) / expected, 1)
    assert added or after == before


@given(_MARKS, _RESULTS)
def test_the_parts_of_a_question_add_up_to_its_marks(
    marks: dict[str, float], results: dict[tuple[str, str], list[tuple[bool, float]]]
) -> None:
    checks = [_validated(f"{key}: {name}", given) for (key, name), given in results.items()]
    marked, _ = with_marks(checks, marks, {})
    for key, available in marks.items():
        parts = [check for check in marked if check.key == key]
        weights = {check.label: check.weights for check in parts}
        if question_weight(weights) > 0:
            rounding = 0.05 * (len(parts) + 1)
            earned = math.fsum(check.earned or 0 for check in parts)
            assert earned == pytest.approx(question_marks(available, weights), abs=rounding)
