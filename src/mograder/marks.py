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
_DECIMALS = 5
"""Decimals of a sum: as many as Moodle keeps."""


def held_to(found: Weights, expected: float) -> Weights:
    """Return the result of a check of the weight that it had in the author's own run.

    A check may have a condition for each item of an answer. Those that are missing have failed.
    Of more than the author's, those that failed count with their whole weight: else an answer
    could add conditions that hold until the others weigh nothing. ``expected`` 0: not known.
    """
    total = max(found.total, 0.0)
    earned = min(max(found.earned, 0.0), total)
    if expected > 0:
        surplus = max(total - expected, 0.0)
        earned, total = max(earned - surplus, 0.0), expected
    return Weights(earned, total, found.passed)


def question_marks(
    available: float,
    results: Mapping[str, Weights],
    expected: Mapping[str, float] | None = None,
) -> float:
    """Return the marks earned in one question, to one decimal.

    Args:
        available: The marks of the question.
        results: The result of each label of its key.
        expected: The total weight of each label in the author's own run, where that is known. Each
            result is held to it (:func:`held_to`), and a label that is only expected has failed:
            neither the number of conditions nor the checks that run are the student's choice.
    """
    held = _held(results, expected)
    total = math.fsum(each.total for each in held)
    if total <= 0:  # every weight is 0, so the conditions decide alone (0.3.16: marks on success)
        return round(available, 1) if held and all(each.passed for each in held) else 0.0
    return marks_of_weight(available, math.fsum(each.earned for each in held), total)


def marks_of_weight(available: float, weight: float, total: float) -> float:
    """Return the marks that a part of a question's total weight is worth, to one decimal."""
    return round(available * weight / total, 1) if total > 0 else 0.0


def question_weight(
    results: Mapping[str, Weights], expected: Mapping[str, float] | None = None
) -> float:
    """Return the weight that earns all marks of a question; as :func:`question_marks`."""
    return math.fsum(each.total for each in _held(results, expected))


def _held(results: Mapping[str, Weights], expected: Mapping[str, float] | None) -> list[Weights]:
    known = expected or {}
    labels = results.keys() | known.keys()
    return [held_to(results.get(label, NOTHING), known.get(label, 0.0)) for label in labels]


def sum_of_marks(marks: Iterable[float]) -> float:
    """Return the sum of several questions' marks; those that people give may have any decimals."""
    return round(math.fsum(marks), _DECIMALS)
