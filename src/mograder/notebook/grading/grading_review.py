"""What an author is told of a source's grading, from its text alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_advice import review_conditions
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.grading.grading_split import plan_source


@dataclass(frozen=True, slots=True)
class ReviewedGrading:
    """The mistakes that make marks unsound, advice, and the plan, None if there are mistakes."""

    plan: GradingPlan | None
    errors: tuple[Finding, ...]
    advice: tuple[Finding, ...]


def review_grading(text: str, filename: str, unprotected: Collection[str] = ()) -> ReviewedGrading:
    """Return what there is to say of the grading of a source by its checks.

    In a source without marks nothing depends on its checks, so all of it is advice.

    Raises:
        InvalidInput: as :func:`~mograder.notebook.grading.grading_split.plan_source`.
    """
    planned = plan_source(text, filename, unprotected=unprotected)
    plan = planned.plan
    if not (plan.checks or plan.beside or planned.errors):
        return ReviewedGrading(plan, (), ())
    conditions = review_conditions(plan, filename)
    errors = tuple(sorted({*planned.errors, *conditions.errors}))
    advice = {*planned.advice, *conditions.advice}
    if plan.marks is not None:
        return ReviewedGrading(None if errors else plan, errors, tuple(sorted(advice)))
    told = tuple(sorted({*errors, *advice}))
    return ReviewedGrading(None if planned.errors else plan, (), told)
