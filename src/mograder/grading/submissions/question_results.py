"""The results of questions from those of checks: marks, states and reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mograder.grading.results.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingState,
)
from mograder.marks import Weights, question_marks, sum_of_marks

_HOLISTIC = 100.0
"""All marks of an assignment that states none (compatibility-0.3.16.md 9)."""
_STRENGTH = (GradingState.JUDGED, GradingState.CLAIMED, GradingState.UNPROTECTED)


@dataclass(frozen=True, slots=True)
class ExpectedLabel:
    """A label that every submission should have, with its weight in the author's own run.

    ``cell`` and ``line`` are those of its check in the source, or without one in the release.
    ``unprotected``: the check runs beside the answers.
    """

    cell: int
    line: int
    label: str
    key: str
    total: float
    unprotected: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """The marks of an assignment, named as in ``grading_result.GradingResult``."""

    auto_mark: float | None
    auto_available: float | None
    max_mark: float


def graded_questions(
    marks: Mapping[str, float] | None,
    checks: Sequence[GradedCheck],
    expected: Sequence[ExpectedLabel],
) -> tuple[GradedQuestion, ...]:
    """Return all questions: those with marks in their order, then those that only have checks.

    A question without marks of its own has neither available nor earned ones.
    """
    stated = marks or {}
    found = [label.key for check in checks for label in check.labels]
    keys = dict.fromkeys([*stated, *(each.key for each in expected), *found])
    return tuple(_question(key, stated.get(key), checks, expected) for key in keys)


def totals(marks: Mapping[str, float] | None, questions: Iterable[GradedQuestion]) -> Totals:
    """Return the marks of all questions together; those of checks only if all have a result."""
    if marks is None:
        return Totals(None, None, _HOLISTIC)
    everything = sum_of_marks(marks.values())
    counted = [
        each
        for each in questions
        if each.available is not None and each.state is not GradingState.MANUAL
    ]
    if any(each.earned is None for each in counted):
        return Totals(None, None, everything)
    earned = sum_of_marks(each.earned for each in counted if each.earned is not None)
    available = sum_of_marks(each.available for each in counted if each.available is not None)
    return Totals(earned, available, everything)


def state_of(states: Iterable[GradingState]) -> GradingState:
    """Return the state of several checks, or questions, together.

    One that needs attention decides; else those that ran decide, by the weakest.
    """
    found = set(states)
    if GradingState.NEEDS_ATTENTION in found:
        return GradingState.NEEDS_ATTENTION
    ran = [each for each in _STRENGTH if each in found]
    if ran:
        return ran[-1]
    return GradingState.NOT_RUN if GradingState.NOT_RUN in found else GradingState.MANUAL


def failed_labels(expected: Iterable[ExpectedLabel]) -> tuple[GradedLabel, ...]:
    """Return the labels of a check that did not run: nothing is earned of their weights."""
    return tuple(
        GradedLabel(label=each.label, key=each.key, earned=0.0, total=each.total, passed=False)
        for each in expected
    )


def _question(
    key: str,
    available: float | None,
    checks: Sequence[GradedCheck],
    expected: Sequence[ExpectedLabel],
) -> GradedQuestion:
    of = [(check, label) for check in checks for label in check.labels if label.key == key]
    wanted = {each.label: each.total for each in expected if each.key == key}
    labels = tuple(dict.fromkeys([*wanted, *(label.label for _, label in of)]))
    if not labels:
        state = GradingState.MANUAL
        return GradedQuestion(key=key, available=available, earned=None, state=state)
    state = state_of(check.state for check, _ in of)
    if not of:  # nothing is known of its labels, so no mark is
        state = GradingState.NEEDS_ATTENTION
    earned = None
    if available is not None and state is not GradingState.NEEDS_ATTENTION:
        results = {each.label: Weights(each.earned, each.total, each.passed) for _, each in of}
        earned = question_marks(available, results, wanted)
    reasons = dict.fromkeys(check.reason for check, _ in of if check.reason)
    return GradedQuestion(
        key=key,
        available=available,
        earned=earned,
        state=state,
        reason="; ".join(reasons),
        labels=labels,
    )
