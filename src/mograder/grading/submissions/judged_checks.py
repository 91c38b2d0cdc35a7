"""The judge's lines about checks, compared with the plan and the contract. Pure.

Only labels that the contract expects count. A check without a line has no result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mograder.grading.results.grading_result import GradedCheck, GradedLabel, GradingState
from mograder.grading.submissions.question_results import ExpectedLabel, failed_labels
from mograder.marks import Weights, held_to
from mograder.notebook.cells import NotebookText
from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.notebook.points import checks_in, key_of, stated_weights
from mograder.sandbox.execution.judging import JudgedCheck, JudgedLabel, JudgingResult
from mograder.sandbox.inside.grading_contract import Contract

_SILENT = "the judge has reported nothing about this check"
_LOST = "this check did not run to its end"


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
    """Return the labels of a release, for an assignment without a source."""
    weights = stated_weights(release)
    return tuple(
        ExpectedLabel(
            each.cell.index, each.line, each.label, each.key, weights.get(each.label, 0.0), True
        )
        for each in checks_in(release)
    )


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Why none of the checks was judged: their common state, and the reason."""

    state: GradingState
    reason: str


def unjudged_checks(expected: Sequence[ExpectedLabel], why: Unjudged) -> tuple[GradedCheck, ...]:
    """Return the checks of these labels without a result, one for each cell."""
    cells = dict.fromkeys((each.cell, each.line) for each in expected)
    return tuple(_unjudged(*place, expected, why) for place in cells)


def judged_checks(
    parts: Sequence[Part], expected: Sequence[ExpectedLabel], result: JudgingResult
) -> tuple[GradedCheck, ...]:
    """Return the results of a source's checks from the judge's report."""
    if result.problem:
        why = Unjudged(GradingState.NEEDS_ATTENTION, result.problem)
        return tuple(_unjudged(part.cell, part.line, expected, why) for part in parts)
    silent = Unjudged(GradingState.NEEDS_ATTENTION, _SILENT)
    told = {each.cell: each for each in result.checks}
    return tuple(
        _judged(told[part.cell], part, expected, protected=result.protected)
        if part.cell in told
        else _unjudged(part.cell, part.line, expected, silent)
        for part in parts
    )


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


def _unjudged(
    cell: int, line: int, expected: Sequence[ExpectedLabel], why: Unjudged
) -> GradedCheck:
    return GradedCheck(
        cell=cell,
        line=line,
        hidden=False,
        state=why.state,
        reason=why.reason,
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
