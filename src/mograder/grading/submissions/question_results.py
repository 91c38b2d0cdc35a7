"""The results of checks and questions from the judge's report: marks, states and reasons. Pure.

Only labels that the contract expects count. A check that the report says nothing about has no
result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingState,
)
from mograder.marks import Weights, held_to, question_marks, sum_of_marks
from mograder.notebook.cells import NotebookText
from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.notebook.points import checks_in, key_of, stated_weights
from mograder.sandbox.execution.judging import JudgedCheck, JudgedLabel, JudgingResult
from mograder.sandbox.inside.grading_contract import Contract

_HOLISTIC = 100.0
"""All marks of an assignment that states none (compatibility-0.3.16.md 9)."""

_STRENGTH = (GradingState.JUDGED, GradingState.CLAIMED, GradingState.UNPROTECTED)
_SILENT = "the judge has reported nothing about this check"
_LOST = "this check did not run to its end"


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


def expected_labels(
    plan: GradingPlan, contract: Contract, weights: Mapping[str, float]
) -> tuple[ExpectedLabel, ...]:
    """Return the labels that every submission should have.

    Those of the judge's checks are the contract's. Those of unprotected checks are in the plan, and
    ``weights`` are those that the source states for them.
    """
    lines = {part.cell: part.line for part in plan.checks}
    judged = [
        ExpectedLabel(each.cell, lines[each.cell], each.label, each.key, each.total)
        for each in contract.labels
        if each.cell in lines
    ]
    beside = [
        ExpectedLabel(
            part.cell, part.line, name, label.key or key_of(name), weights.get(name, 0.0), True
        )
        for part in plan.beside
        for label in (() if part.check is None else part.check.labels)
        if (name := label.label) is not None
    ]
    return (*judged, *beside)


def released_labels(release: NotebookText) -> tuple[ExpectedLabel, ...]:
    weights = stated_weights(release)
    return tuple(
        ExpectedLabel(
            each.cell.index, each.line, each.label, each.key, weights.get(each.label, 0.0), True
        )
        for each in checks_in(release)
    )


def judged_checks(
    parts: Sequence[Part], expected: Sequence[ExpectedLabel], result: JudgingResult
) -> tuple[GradedCheck, ...]:
    told = {} if result.problem else {each.cell: each for each in result.checks}
    lost, why = GradingState.NEEDS_ATTENTION, result.problem or _SILENT
    return tuple(
        _judged(told[part.cell], part, expected, protected=result.protected)
        if part.cell in told
        else _unjudged(part.cell, part.line, expected, lost, why)
        for part in parts
    )


def unjudged_checks(
    expected: Sequence[ExpectedLabel], state: GradingState, reason: str
) -> tuple[GradedCheck, ...]:
    """Return the checks of these labels without a result, one for each cell."""
    cells = dict.fromkeys((each.cell, each.line) for each in expected)
    return tuple(_unjudged(*place, expected, state, reason) for place in cells)


def with_hidden(checks: Sequence[GradedCheck], parts: Sequence[Part]) -> tuple[GradedCheck, ...]:
    """Return checks with what the plan says of their hidden tests.

    A label that the plan does not know may be hidden if anything in its cell is.
    """
    facts = {part.cell: part.check for part in parts if part.check is not None}
    changed = []
    for check in checks:
        known = facts.get(check.cell)
        hidden = known is not None and known.hidden
        named = {} if known is None else {each.label: each for each in known.labels}
        labels = tuple(
            each.model_copy(update={"hidden": planned.hidden, "visible": planned.visible})
            if (planned := named.get(each.label))
            else each.model_copy(update={"hidden": hidden})
            for each in check.labels
        )
        changed.append(check.model_copy(update={"hidden": hidden, "labels": labels}))
    return tuple(changed)


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


def totals(
    marks: Mapping[str, float] | None, questions: Iterable[GradedQuestion]
) -> tuple[float | None, float | None, float]:
    """Return what checks gave, what they could give, and the marks of all questions together.

    The first two are None unless all checks have a result.
    """
    if marks is None:
        return None, None, _HOLISTIC
    everything = sum_of_marks(marks.values())
    counted = [
        each
        for each in questions
        if each.available is not None and each.state is not GradingState.MANUAL
    ]
    if any(each.earned is None for each in counted):
        return None, None, everything
    earned = sum_of_marks(each.earned for each in counted if each.earned is not None)
    available = sum_of_marks(each.available for each in counted if each.available is not None)
    return earned, available, everything


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
    return tuple(
        GradedLabel(label=each.label, key=each.key, earned=0.0, total=each.total, passed=False)
        for each in expected
    )


def _unjudged(
    cell: int, line: int, expected: Sequence[ExpectedLabel], state: GradingState, reason: str
) -> GradedCheck:
    return GradedCheck(
        cell=cell,
        line=line,
        hidden=False,
        state=state,
        reason=reason,
        labels=failed_labels(each for each in expected if each.cell == cell),
    )


def _judged(
    told: JudgedCheck, part: Part, expected: Sequence[ExpectedLabel], *, protected: bool
) -> GradedCheck:
    state = GradingState(told.state)
    if state is GradingState.JUDGED and told.claims:
        state = GradingState.CLAIMED
    if not protected and state in (GradingState.JUDGED, GradingState.CLAIMED):
        state = GradingState.UNPROTECTED
    found = {each.label: each for each in told.labels}
    wanted = [each for each in expected if each.cell == part.cell and not each.unprotected]
    missing = any(each.label not in found for each in wanted)
    labels = [_label(found.get(each.label), each, state) for each in wanted]
    return GradedCheck(
        cell=part.cell,
        line=part.line,
        hidden=False,
        state=state,
        reason=told.reason or (_LOST if missing else ""),
        claims=told.claims,
        labels=tuple(labels),
        calls=told.calls,
    )


def _label(told: JudgedLabel | None, wanted: ExpectedLabel, state: GradingState) -> GradedLabel:
    """Return a label's result, held to the author's weight; nothing is earned unless it was run."""
    if told is None:
        return failed_labels([wanted])[0]
    ran = state not in (GradingState.NOT_RUN, GradingState.NEEDS_ATTENTION)
    conditions = tuple(replace(each, passed=each.passed and ran) for each in told.conditions)
    held = held_to(Weights(told.earned if ran else 0.0, told.total), wanted.total)
    return GradedLabel(
        label=wanted.label,
        key=wanted.key,
        earned=held.earned,
        total=held.total,
        passed=told.passed and ran,
        conditions=conditions,
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
        worst: dict[str, tuple[int, Weights]] = {}  # of each label, as validation takes it
        for check, each in of:  # the same label in another cell may have another weight
            result = check.cell, Weights(each.earned, each.total, each.passed)
            before = worst.get(each.label, result)
            worst[each.label] = min(before, result, key=lambda w: (w[1].passed, _share(w[1])))
        own = {(each.cell, each.label): each.total for each in expected}
        wanted |= {
            name: own[at] for name, (cell, _) in worst.items() if (at := (cell, name)) in own
        }
        results = {name: weights for name, (_, weights) in worst.items()}
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


def _share(weights: Weights) -> float:
    return weights.earned / weights.total if weights.total > 0 else 0.0
