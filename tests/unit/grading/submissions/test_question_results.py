"""grading.question_results: marks and states of questions, the same as everywhere else."""

from __future__ import annotations

import html
import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder import runtime
from mograder.grading.results.grading_result import (
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
from mograder.marks import Weights, question_marks, sum_of_marks

S = GradingState
_MARKS = re.compile(r"u003e([\d.]+)/[\d.]+\\u003c")
WEIGHTS = st.sampled_from([0.5, 1.0, 2.0, 3.0, 0.1])
CONDITIONS = st.lists(st.tuples(st.booleans(), WEIGHTS), min_size=1, max_size=5)
QUESTIONS = st.dictionaries(
    st.sampled_from([f"Q{n}" for n in range(1, 6)]),
    st.tuples(
        st.floats(0, 40).map(lambda v: round(v, 1)), st.lists(CONDITIONS, min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=5,
)


def label(name: str, earned: float, total: float, *, passed: bool = False) -> GradedLabel:
    """A label with these weights."""
    key = name.split(":", maxsplit=1)[0]
    return GradedLabel(label=name, key=key, earned=earned, total=total, passed=passed)


def check(state: GradingState, *labels: GradedLabel, reason: str = "") -> GradedCheck:
    """A check in this state."""
    return GradedCheck(cell=0, line=1, hidden=False, state=state, reason=reason, labels=labels)


@settings(max_examples=10 * settings().max_examples)
@given(QUESTIONS)
def test_marks_are_those_of_the_one_function_and_of_the_notebooks_own_table(
    questions: dict[str, tuple[float, list[list[tuple[bool, float]]]]],
) -> None:
    marks = {key: available for key, (available, _) in questions.items()}
    grader = runtime.Grader(marks)
    checks, expected = [], []
    for key, (_, labels) in questions.items():
        for number, conditions in enumerate(labels):
            name = f"{key}: {number}"
            grader.check(name, [(held, "m", weight) for held, weight in conditions])
            total = sum(weight for _, weight in conditions)
            earned = sum(weight for held, weight in conditions if held)
            passed = all(held for held, _ in conditions)
            checks.append(check(S.JUDGED, label(name, earned, total, passed=passed)))
            expected.append(ExpectedLabel(0, 1, name, key, total))
    found = graded_questions(marks, checks, expected)
    shown = _MARKS.findall(html.unescape(grader.scores().text))
    for question, text in zip(found, shown[:-1], strict=True):
        assert question.earned is not None
        of = [each for one in checks for each in one.labels if each.key == question.key]
        weights = {each.label: Weights(each.earned, each.total, each.passed) for each in of}
        assert question.earned == question_marks(marks[question.key], weights)
        assert math.isclose(question.earned, float(text), abs_tol=0.005)
    together = totals(marks, found).auto_mark
    assert together is not None
    assert together == sum_of_marks(each.earned or 0.0 for each in found)
    assert math.isclose(together, float(shown[-1]), abs_tol=0.005)


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
    found = totals({"Essay": 20.0}, [question])
    assert (found.auto_mark, found.auto_available, found.max_mark) == (0.0, 0.0, 20.0)


def test_checks_of_a_question_without_marks_are_shown_and_count_for_nothing() -> None:
    checks = [check(S.JUDGED, label("Q1: a", 1, 1)), check(S.JUDGED, label("Try: it", 0, 1))]
    found = graded_questions({"Q1": 5.0}, checks, [])
    assert [(each.key, each.available) for each in found] == [("Q1", 5.0), ("Try", None)]
    assert totals({"Q1": 5.0}, found).auto_mark == 5.0


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


def test_the_last_result_of_a_label_counts_as_in_the_notebook() -> None:
    checks = [
        check(S.JUDGED, label("Q1: a", 1, 1, passed=True)),
        check(S.JUDGED, label("Q1: a", 0, 1)),
    ]
    assert graded_questions({"Q1": 5.0}, checks, [])[0].earned == 0.0
