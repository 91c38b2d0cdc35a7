"""The result of a validation, as the command line, the hub and the pages use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TypeAlias

from mograder.marks import (
    NOTHING,
    Weights,
    held_to,
    marks_of_weight,
    question_marks,
    question_weight,
    sum_of_marks,
)
from mograder.notebook.findings import Finding
from mograder.notebook.integrity import Level
from mograder.sandbox.execution.report import ExecutionResult, Outcome


class CheckStatus(StrEnum):
    """The status of a check; the first four are the sidecar's words (compatibility-0.3.16.md 8)."""

    SUCCESS = "success"
    PARTIAL = "partial"
    DANGER = "danger"
    WARN = "warn"
    """The check waits for an answer."""
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class ValidatedCheck:
    """One check of the notebook.

    ``line`` is its line in the student's file, if it is there, and ``index`` the number of its cell
    there, from 0. ``earned`` and ``available`` are marks, None for a question without any; several
    checks of one question divide its marks by their weights.
    ``hidden``: some of its tests run only when it is graded; ``waits``: all of them do, so that a
    waiting status is correct.
    """

    label: str
    key: str
    status: CheckStatus
    messages: tuple[str, ...] = ()
    earned: float | None = None
    available: float | None = None
    cell: str = ""
    line: int | None = None
    hidden: bool = False
    waits: bool = False
    index: int | None = None
    weights: Weights = NOTHING

    @property
    def passed(self) -> bool:
        """Whether the student has nothing left to do about it."""
        waits = self.waits and self.status is CheckStatus.WARN
        return waits or self.status is CheckStatus.SUCCESS


@dataclass(frozen=True, slots=True)
class CellError:
    """A cell that failed; ``line`` is the line in the student's file, if the cell is there.

    ``code`` is the text of that line, since marimo's editor shows no line numbers of the file.
    ``index`` is the number of the cell in that file, from 0.
    """

    cell: str
    line: int | None
    error_type: str
    message: str
    output: str = ""
    code: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True)
class IntegrityFindings:
    """The release that the notebook was compared with, and the differences."""

    level: Level = Level.NONE
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The whole report; ``problem`` says why the run did not reach its end, empty if it did."""

    filename: str
    outcome: Outcome
    problem: str = ""
    checks: tuple[ValidatedCheck, ...] = ()
    cell_errors: tuple[CellError, ...] = ()
    integrity: IntegrityFindings = field(default_factory=IntegrityFindings)
    log_tail: str = ""
    seconds: float = 0.0
    marks: tuple[float, float] | None = None
    """Marks earned and available in the questions that have checks, None without marks."""

    @property
    def ran(self) -> bool:
        """Whether the notebook ran from its first cell to its last."""
        return self.outcome is Outcome.FINISHED and not self.problem

    @property
    def ok(self) -> bool:
        """Whether it ran to its end without an error, and every check that counts succeeded."""
        return self.ran and not self.cell_errors and all(check.passed for check in self.checks)


MarkedChecks: TypeAlias = tuple[tuple[ValidatedCheck, ...], tuple[float, float] | None]
"""Checks with their marks, and the marks earned and available in all of them."""


def with_marks(
    checks: Sequence[ValidatedCheck],
    available: Mapping[str, float],
    expected: Mapping[str, float],
) -> MarkedChecks:
    """Return the checks with their marks, and the marks earned and available in all of them.

    Args:
        checks: The checks, with their weights.
        available: The marks of each question, by key.
        expected: The known weights of labels (:func:`mograder.marks.question_marks`).

    The second value is None if no check belongs to a question with marks. Checks of one question
    divide its marks by their weights.
    """
    questions: dict[str, list[ValidatedCheck]] = {}
    for check in checks:
        if check.key in available:
            questions.setdefault(check.key, []).append(check)
    marked = {
        check.label: each
        for key, of in questions.items()
        for check, each in zip(of, _shares(of, available[key], expected), strict=True)
    }
    if not marked:
        return tuple(checks), None
    earned = sum_of_marks(
        question_marks(available[key], *_weights(of, expected)) for key, of in questions.items()
    )
    whole = sum_of_marks(available[key] for key in questions)
    return tuple(marked.get(check.label, check) for check in checks), (earned, whole)


def _weights(
    checks: Sequence[ValidatedCheck], expected: Mapping[str, float]
) -> tuple[Mapping[str, Weights], Mapping[str, float]]:
    weights = {check.label: check.weights for check in checks}
    return weights, {label: expected.get(label, 0.0) for label in weights}


def _shares(
    checks: Sequence[ValidatedCheck], available: float, expected: Mapping[str, float]
) -> list[ValidatedCheck]:
    """Return the checks of one question, each with its part of the question's marks."""
    weights, least = _weights(checks, expected)
    if len(checks) == 1:
        earned = question_marks(available, weights, least)
        return [replace(checks[0], earned=earned, available=available)]
    share = partial(marks_of_weight, available, total=question_weight(weights, least))
    return [
        replace(
            check,
            earned=share(held.earned),
            available=share(held.total),
        )
        for check in checks
        for held in [held_to(check.weights, least[check.label])]
    ]


_ENDED = {
    "processes": "it started too many processes",
    "workspace": "it wrote too much to its folder",
    "disk": "the disk is nearly full",
    "output": "it printed too much",
}


def run_problem(result: ExecutionResult, seconds: float, where: str = "") -> str:
    """Return the sentence about a run that did not end well, empty for one that did.

    ``seconds`` was its limit, and ``where`` the cell that was running, as " in the cell at line 3".
    """
    match result.outcome:
        case Outcome.TIMED_OUT:
            return f"It was ended after {seconds:g} seconds{where}: is there an endless loop?"
        case Outcome.OUT_OF_MEMORY:
            return f"It needed more memory than there is for it{where}."
        case Outcome.KILLED:
            reason = _ENDED.get(result.reason, result.reason)
            return f"It was ended{where}: {reason}."
        case Outcome.EXITED:
            return f"It ended before its last cell{where}, so the rest did not run."
        case Outcome.UNREADABLE:
            return "What it reported cannot be read, so none of it counts."
    return f"It could not be run: {result.problem}" if result.problem else ""
