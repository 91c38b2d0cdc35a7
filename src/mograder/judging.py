"""How a check is judged and recorded, apart from how it looks: for ``mograder.runtime`` alone.

It runs beside student code (see ``mograder.runtime``), so it needs the standard library only and
imports nothing of ours. Whatever a student's value does (raises, is NaN, is an array, refuses to
be printed), a judgement comes of it.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Check: TypeAlias = tuple[object, str] | tuple[object, str, float]
"""A condition (or a function without arguments that answers it), a message, and a weight."""

Status: TypeAlias = Literal["success", "partial", "danger", "warn"]
"""What a check says, in the words of the sidecar (compat.md 8)."""

_SIDECAR = "MOGRADER_SIDECAR_PATH"
_LONGEST_TEXT, _LONGEST_ERROR, _MOST_DETAILS = 2000, 300, 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """One condition, judged; ``reason`` says why it could not be evaluated."""

    passed: bool
    message: str
    weight: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All conditions of one check, judged; ``key`` is the label up to its first colon."""

    label: str
    key: str
    outcomes: tuple[Outcome, ...]
    status: Status
    earned: float
    total: float

    @property
    def failures(self) -> list[Outcome]:
        """The conditions that do not hold."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    def share(self, available: float, weight: float) -> float:
        """The part of the available marks that a weight stands for, to one decimal."""
        return round(available * weight / self.total, 1) if self.total > 0 else 0.0


def judge(label: str, checks: Sequence[Check]) -> Result:
    """Evaluate every condition of a check; what one of them raises is an answer to show.

    Raises:
        ValueError: an entry is not ``(condition, message[, weight])``: the author's mistake.
    """
    name = plain_text(label)
    outcomes = tuple(_outcome(name, n, entry) for n, entry in enumerate(checks, start=1))
    earned = sum(outcome.weight for outcome in outcomes if outcome.passed)
    status: Status = "partial" if earned > 0 else "danger"
    if all(outcome.passed for outcome in outcomes):
        status = "success" if outcomes else "warn"
    total = sum(outcome.weight for outcome in outcomes)
    return Result(name, name.split(":", 1)[0].strip(), outcomes, status, earned, total)


def write_sidecar(result: Result) -> None:
    """Append the result for the program that runs the notebook, if one asked for it.

    A sidecar that cannot be written is an error of the cell: silence would lose marks.
    """
    # The one setting of the runtime; core.settings is out of reach beside a notebook.
    path = os.environ.get(_SIDECAR)  # noqa: TID251
    if not path:
        return
    details = [o.message + (o.reason and f" ({o.reason})") for o in result.failures]
    if len(details) > _MOST_DETAILS:  # a condition per element of a student's list
        details[_MOST_DETAILS:] = [f"… and {len(details) - _MOST_DETAILS} more"]
    record = {
        "label": result.label,
        "status": result.status,
        "details": details,
        "earned_weight": result.earned,
        "total_weight": result.total,
    }
    with Path(path).open("ab", buffering=0) as sidecar:  # unbuffered: a line is one write
        sidecar.write(json.dumps(record).encode() + b"\n")


def plain_text(value: object) -> str:
    """``str(value)``, bounded and encodable, even when the value refuses to be shown."""
    try:
        # Plain text also of what only claims to be some, with methods of its own.
        text = str.__getitem__(str(value), slice(_LONGEST_TEXT))
    except BaseException as error:  # noqa: BLE001  (a student's __str__)
        _let_pass(error)
        text = f"<{type(value).__name__}, not printable: {type(error).__name__}>"
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _let_pass(error: BaseException) -> None:
    """Raise what is no answer: an interrupt, and marimo's own ``mo.stop``."""
    if isinstance(error, KeyboardInterrupt) or type(error).__module__.startswith("marimo."):
        raise error


def _outcome(label: str, number: int, entry: Check) -> Outcome:
    if not isinstance(entry, tuple | list) or len(entry) not in (2, 3):
        raise ValueError(
            f"Entry {number} of check {label!r} must be (condition, message) "
            "or (condition, message, weight)."
        )
    weight = _weight(entry[2]) if len(entry) == 3 else 1.0
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"The weight of entry {number} of check {label!r} must be 0 or more.")
    message = plain_text(entry[1])
    try:
        return Outcome(_holds(entry[0]), message, weight)
    except BaseException as error:  # noqa: BLE001  (a student's code: it raises what it likes)
        _let_pass(error)
        reason = f"{type(error).__name__}: {plain_text(error)}"[:_LONGEST_ERROR].removesuffix(": ")
        return Outcome(False, message, weight, reason)


def _weight(value: float) -> float:
    """The weight as a number; what is none becomes NaN, which is refused with a message."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _holds(condition: Any) -> bool:
    """Whether a condition is true; an array is when it has elements and all of them are."""
    value = condition() if _is_lazy(condition) else condition
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("an async function was called without await")
    if isinstance(value, type):  # its all() would be for its instances
        return True
    if _has_gaps(value) or getattr(value, "size", 1) == 0:
        return False
    for _ in range(2):  # a data frame's all() is a series, whose all() is a scalar
        value = value.all() if callable(getattr(value, "all", None)) else value
    return bool(value)


def _has_gaps(value: Any) -> bool:
    """Whether a value, or any element of an array, is not a number or missing.

    NaN is not equal to itself; pandas and polars say themselves what is missing, and their
    ``all()`` would pass over it.
    """
    missing = getattr(value, "isna", None) or getattr(value, "is_null", None)
    return _any(value != value) or (callable(missing) and _any(missing()))  # noqa: PLR0124


def _any(value: Any) -> bool:
    for _ in range(2):  # as all() in _holds
        value = value.any() if callable(getattr(value, "any", None)) else value
    return bool(value)


def _is_lazy(condition: object) -> bool:
    """Whether a condition is to be called: a function that needs no argument.

    Any other function stays a plain true value, as in ``(student_function, "define it")``.
    """
    if isinstance(condition, type) or not callable(condition):
        return False
    try:
        inspect.signature(condition).bind()
    except (TypeError, ValueError):
        return False
    return True
