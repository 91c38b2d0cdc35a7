"""The result of a validation, as the command line, the hub and the pages use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mograder.notebook.findings import Finding
from mograder.notebook.integrity import Level
from mograder.sandbox.execution.report import Outcome


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
    there, from 0. ``earned`` and ``available`` are marks, None for a question without any.
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

    @property
    def ran(self) -> bool:
        """Whether the notebook ran from its first cell to its last."""
        return self.outcome is Outcome.FINISHED and not self.problem

    @property
    def ok(self) -> bool:
        """Whether it ran to its end without an error, and every check that counts succeeded."""
        return self.ran and not self.cell_errors and all(check.passed for check in self.checks)

    @property
    def marks(self) -> tuple[float, float] | None:
        """Marks earned and available, from the last check of each question; None without marks."""
        last = {check.key: check for check in self.checks if check.available is not None}
        if not last:
            return None
        earned = sum(check.earned or 0.0 for check in last.values())
        return round(earned, 1), sum(check.available or 0.0 for check in last.values())
