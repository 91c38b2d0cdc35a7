"""The evaluation and recording of checks, without their display; for ``mograder.runtime`` only.

It runs in the process of student code (see ``mograder.runtime``), so it uses the standard library
only and imports nothing of ours. Any value of a student gives a result, also one that raises, is
NaN, is an array, or cannot be printed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Check: TypeAlias = tuple[object, str] | tuple[object, str, float]
"""A condition (or a function without arguments that returns it), a message, and a weight."""

Status: TypeAlias = Literal["success", "partial", "danger", "warn"]
"""The result of a check, in the words of the sidecar (compatibility-0.3.16.md 8)."""

_SIDECAR, _REPORTS = "MOGRADER_SIDECAR_PATH", "MOGRADER_CHECKS_PATH"
_LONGEST_LABEL = 200
_LONGEST_TEXT, _LONGEST_ERROR, _MOST_DETAILS = 2000, 300, 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one condition; ``reason`` is the error that prevented its evaluation."""

    passed: bool
    message: str
    weight: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check; ``key`` is the label up to its first colon."""

    label: str
    key: str
    outcomes: tuple[Outcome, ...]
    status: Status
    earned: float
    total: float

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.passed]


def judge(label: str, checks: Sequence[Check]) -> Result:
    """Evaluate every condition of a check; an exception in one of them makes it fail.

    Any false value is no condition: ``check(label, mean is not None and [...])`` may be written.

    Raises:
        ValueError: an entry is not ``(condition, message[, weight])``: the author's mistake.
    """
    name = plain_text(label)
    outcomes = tuple(_outcome(name, n, entry) for n, entry in enumerate(checks or (), start=1))
    earned = sum(outcome.weight for outcome in outcomes if outcome.passed)
    status: Status = "partial" if earned > 0 else "danger"
    if all(outcome.passed for outcome in outcomes):
        status = "success" if outcomes else "warn"
    total = sum(outcome.weight for outcome in outcomes)
    return Result(name, name.split(":", 1)[0].strip(), outcomes, status, earned, total)


def write_sidecar(result: Result) -> None:
    """Append the result to the sidecar file, if the program that runs the notebook named one.

    A sidecar that cannot be written raises an error in the cell: silence would lose marks.
    """
    # The runtime reads its settings itself; core.settings is not installed beside a notebook.
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


def report(result: Result) -> None:
    """Tell the hub the result of a check, for the board that a teacher watches.

    Only where a hub runs the notebook. It never waits and never fails: a result that cannot be
    told is not, and costs nothing.
    """
    path = os.environ.get(_REPORTS)  # noqa: TID251 - as in write_sidecar
    if not path or sys.platform == "win32":  # where no hub runs
        return
    found = {
        "label": result.label[:_LONGEST_LABEL],
        "status": result.status,
        "earned": result.earned,
        "total": result.total,
    }
    line = json.dumps(found, ensure_ascii=False).encode() + b"\n"
    with contextlib.suppress(OSError, ValueError):
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                os.write(pipe, line)
        finally:
            os.close(pipe)


def plain_text(value: object) -> str:
    """Return ``str(value)``, shortened and encodable, even if the value's ``__str__`` raises."""
    try:
        # A plain str, also of a subclass that overrides methods.
        text = str.__getitem__(str(value), slice(_LONGEST_TEXT))
    except BaseException as error:  # noqa: BLE001  (a student's __str__)
        _let_pass(error)
        text = f"<{type(value).__name__}, not printable: {type(error).__name__}>"
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _let_pass(error: BaseException) -> None:
    """Raise an interrupt, or marimo's own ``mo.stop``, again: these are no results."""
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
    except BaseException as error:  # noqa: BLE001  (a student's code may raise anything)
        _let_pass(error)
        reason = f"{type(error).__name__}: {plain_text(error)}"[:_LONGEST_ERROR].removesuffix(": ")
        return Outcome(False, message, weight, reason)


def _weight(value: float) -> float:
    """Return the weight as a number, or NaN for a value that is not one, which is refused."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _holds(condition: Any) -> bool:
    """Whether a condition is true; an array is true if it has elements and all of them are."""
    value = condition() if _is_lazy(condition) else condition
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("an async function was called without await")
    if isinstance(value, type):  # its all() is a method of its instances
        return True
    if callable(getattr(value, "get_columns", None)) and not hasattr(value, "all"):
        columns = value.get_columns()  # of a data frame of polars
        return bool(columns) and all(map(_holds, columns))
    if _has_gaps(value) or _is_empty(value):
        return False
    for _ in range(2):  # a data frame's all() is a series, whose all() is a scalar
        value = value.all() if callable(getattr(value, "all", None)) else value
    return bool(value)


def _is_empty(value: Any) -> bool:
    """Whether an array, a tensor or a series has no elements.

    Those of polars have no ``size``; PyTorch's is a method, and ``numel`` the number of elements.
    """
    size = getattr(value, "size", None)
    if (size is None or callable(size)) and callable(getattr(value, "all", None)):
        if callable(getattr(value, "numel", None)):
            size = value.numel()
        elif hasattr(value, "__len__"):
            size = len(value)
    return bool(size == 0)


def _has_gaps(value: Any) -> bool:
    """Whether a value, or any element of an array, is NaN or missing.

    NaN is not equal to itself; pandas and polars have methods that report missing values, which
    their ``all()`` would skip.
    """
    missing = getattr(value, "isna", None) or getattr(value, "is_null", None)
    return _any(value != value) or (callable(missing) and _any(missing()))  # noqa: PLR0124


def _any(value: Any) -> bool:
    for _ in range(2):  # as all() in _holds
        value = value.any() if callable(getattr(value, "any", None)) else value
    return bool(value)


def _is_lazy(condition: object) -> bool:
    """Whether a condition is to be called: a function that needs no argument.

    Any other function counts as a true value, as in ``(student_function, "define it")``. One that
    takes any number of arguments often passes them on to a function that needs some.
    """
    if isinstance(condition, type) or not callable(condition):
        return False
    try:
        signature = inspect.signature(condition)
        signature.bind()
    except (TypeError, ValueError):
        return False
    any_number = any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values())
    return isinstance(condition, functools.partial) or not any_number
