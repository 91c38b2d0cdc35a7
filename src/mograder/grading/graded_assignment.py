"""An assignment that is prepared for grading: its plan, contract, environment and release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mograder.core.single_flight import Progress
from mograder.grading.grading_tools import GradingTools
from mograder.notebook.grading_plan import GradingPlan
from mograder.sandbox.execution.judging import Deadlines, JudgeFiles
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import Limits


@dataclass(frozen=True, slots=True)
class AssignmentFiles:
    """The files of an assignment; ``name`` is that of its directory.

    Without a source, checks can only run beside the answers, so all marks are unprotected.
    """

    name: str
    source: Path | None
    release: Path | None


@dataclass(frozen=True, slots=True)
class GradedAssignment:
    """An assignment that is prepared once, and used for all of its submissions.

    ``filename`` is the source's path for messages, ``source`` its text. ``plan``, ``contract`` and
    ``files`` are None without a source, whose text is then empty. ``release`` is None if there is
    none that belongs to the source. ``unprotected`` are the keys of questions whose checks run
    beside the answers. ``warnings`` are sentences for the grader.
    """

    name: str
    filename: str
    source: str
    plan: GradingPlan | None
    contract: Contract | None
    release: str | None
    release_folder: Path | None
    files: JudgeFiles | None
    environment: Path
    limits: Limits
    deadlines: Deadlines
    marks: Mapping[str, float] | None
    unprotected: frozenset[str]
    warnings: tuple[str, ...]


async def prepare_assignment(
    files: AssignmentFiles, tools: GradingTools, progress: Progress
) -> GradedAssignment:
    """Return an assignment that is ready for grading; its contract is recorded if none is kept.

    Raises:
        InvalidInput: The source or release cannot be read, the source is a lecture, it cannot be
            graded by its checks, or the author's own solution does not pass them.
        MograderError: Its environment cannot be built, or no sandbox runs.
    """
    raise NotImplementedError
