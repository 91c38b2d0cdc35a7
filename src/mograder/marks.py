"""The marks of a question: one function for notebooks, validation, grading and exports.

A question's *key* is the text before the first colon of its labels, and its marks are stated under
that key. Each label is one check, with the weight of all its conditions and of those that hold.
The runtime uses this module in the process of student code, so it needs the standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """The result of one check; ``total`` is the weight of all conditions, ``earned`` of those met.

    ``passed`` is whether every condition holds and there is at least one.
    """

    earned: float
    total: float
    passed: bool = False


NOTHING = Weights(0.0, 0.0)


def question_marks(
    available: float,
    results: Mapping[str, Weights],
    expected: Mapping[str, float] | None = None,
) -> float:
    """Return the marks earned in one question, to one decimal.

    Args:
        available: The marks of the question.
        results: The last result of each label of its key.
        expected: The total weight of each label in the author's own run, where that is known. A
            label's total is never less than this, and a label that is only expected counts as
            failed: neither the number of conditions nor the checks that run are the student's
            choice.
    """
    total = question_weight(results, expected)
    if total <= 0:  # every weight is 0, so the conditions decide alone (0.3.16: marks on success)
        labels = results.keys() | (expected or {}).keys()
        passed = bool(labels) and all(results.get(label, NOTHING).passed for label in labels)
        return round(available, 1) if passed else 0.0
    earned = math.fsum(min(max(each.earned, 0.0), each.total) for each in results.values())
    return marks_of_weight(available, min(earned, total), total)


def marks_of_weight(available: float, weight: float, total: float) -> float:
    """Return the marks that a part of a question's total weight is worth, to one decimal."""
    return round(available * weight / total, 1) if total > 0 else 0.0


def question_weight(
    results: Mapping[str, Weights], expected: Mapping[str, float] | None = None
) -> float:
    """Return the weight that earns all marks of a question; as :func:`question_marks`."""
    known = expected or {}
    return math.fsum(
        max(results.get(label, NOTHING).total, known.get(label, 0.0), 0.0)
        for label in results.keys() | known.keys()
    )


def sum_of_marks(marks: Iterable[float]) -> float:
    """Return the sum of several questions' marks, to one decimal."""
    return round(math.fsum(marks), 1)
