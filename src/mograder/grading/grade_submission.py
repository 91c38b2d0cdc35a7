"""Grade one submission: from a student's file to a mark for each question, with its reasons.

A submission is untrusted text as a whole. Marks come from the judge's report only; checks that run
beside the answers yield proposals that a person confirms.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.grading.graded_assignment import GradedAssignment
from mograder.grading.grading_result import GradingResult
from mograder.grading.grading_tools import GradingTools
from mograder.sandbox.execution.report import CellResult


@dataclass(frozen=True, slots=True)
class SubmittedNotebook:
    """A file that a student submitted, as it was read once (:func:`read_submission`).

    ``path`` gives its name; it is not read again. ``received`` is the time of submission, and
    ``receipt`` the receipt's number.
    """

    student: str
    path: Path
    data: bytes
    received: datetime | None = None
    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class GradedNotebook:
    """A graded submission.

    ``text`` is the student's text, empty if it cannot be read as text. ``cells`` are from the
    worker's report, for pages only.
    """

    result: GradingResult
    text: str
    cells: tuple[CellResult, ...]


def read_submission(path: Path) -> bytes:
    """Return the bytes of a submitted file.

    Raises:
        InvalidInput: It is no regular file, such as a link or a directory, cannot be read, or is
            larger than a notebook may be.
    """
    raise NotImplementedError


async def grade_submission(
    assignment: GradedAssignment, submitted: SubmittedNotebook, tools: GradingTools
) -> GradedNotebook:
    """Grade a submission.

    Nothing that a student does raises an exception: it becomes a state with a reason. If there is
    no result for another reason, the state is "needs attention", ``problem`` says why.
    """
    raise NotImplementedError
