"""Judging one submission by two sandboxes: the worker runs the notebook, the judge the checks.

The records of a run, and the port that runs it. The judge's report is read strictly; the worker's
is untrusted, and serves pages only, never marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mograder.sandbox.execution.report import ExecutionResult
from mograder.sandbox.protocol import COMMANDS_SLOT, Limits


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits in seconds: of one request to the worker, one check, and all checks together.

    ``notebook`` limits the worker's run of the cells, before the first check.
    """

    call: float = 10.0
    check: float = 60.0
    submission: float = 300.0
    notebook: float = 300.0


@dataclass(frozen=True, slots=True)
class JudgeFiles:
    """What the judge has of an assignment; the same for all submissions.

    ``plan`` and ``contract`` are the texts of ``render_plan`` and ``render_contract``. ``contract``
    is None while one is recorded, which only a worker with the author's own solution may be used
    for. ``folder`` holds the files beside the source, which the author's cells may read.
    """

    plan: str
    contract: str | None
    folder: Path | None


@dataclass(frozen=True, slots=True)
class JudgingRequest:
    """A submission to judge.

    ``text`` is the notebook and ``name`` its file name; ``folder`` holds the files beside the
    release, which are copied for the worker. ``interface`` are the names that the judge may ask
    for, ``skip`` the cells that the worker leaves out, by index or by the SHA-256 of their code.
    ``seed`` is unpredictable for students, and the same whenever the submission is judged.
    ``uid_slot`` is the worker's, ``judge_slot`` the judge's; they differ. With ``outputs`` the
    worker reports the cells' outputs. With ``rehearse``, which is for an author's own notebook and
    needs ``files`` without a contract, the checks are tried with wrong answers as well.
    """

    text: str
    name: str
    files: JudgeFiles
    environment: Path
    limits: Limits
    deadlines: Deadlines
    interface: tuple[str, ...]
    skip: tuple[int | str, ...]
    seed: str
    folder: Path | None = None
    uid_slot: int = COMMANDS_SLOT
    judge_slot: int = COMMANDS_SLOT + 1
    outputs: bool = False
    rehearse: bool = False


@dataclass(frozen=True, slots=True)
class JudgedCondition:
    """One condition of a check; ``reason`` is the error that prevented its evaluation."""

    message: str
    weight: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JudgedLabel:
    """The conditions that one label recorded, and their weights."""

    label: str
    key: str
    earned: float
    total: float
    passed: bool
    conditions: tuple[JudgedCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """A call of an answer, in words; ``result`` is empty unless it returned."""

    call: str
    status: str
    result: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgedCheck:
    """The judge's line about one check cell of the source.

    ``state`` is "judged", "not run" (``reason`` says why; its labels have earned 0) or
    "needs attention" (no result). ``claims`` names what it rests on that the answer itself says.
    """

    cell: int
    line: int
    hidden: bool
    state: str
    reason: str
    labels: tuple[JudgedLabel, ...]
    claims: tuple[str, ...]
    calls: tuple[JudgedCall, ...]


@dataclass(frozen=True, slots=True)
class PassedJunk:
    """Junk in place of the answer ``name``, and the labels of a check that pass with it.

    ``junk`` is its kind, by the name in ``junk_answers.py``; ``words`` say of the answer what it
    is then, or does.
    """

    cell: int
    name: str
    junk: str
    words: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsteadyLabel:
    """A label to which other random numbers give another weight; ``message`` is what fails."""

    cell: int
    label: str
    message: str


@dataclass(frozen=True, slots=True)
class NeverFailed:
    """A condition, by its message, that none of the wrong answers made fail."""

    cell: int
    label: str
    message: str


@dataclass(frozen=True, slots=True)
class RehearsalReport:
    """The trials of an author's checks; ``done`` of ``trials`` were made in the time for them.

    ``answers`` says of each answer in words what it is; ``missed`` are the cells of the checks for
    which not all trials were made.
    """

    answers: Mapping[str, str]
    unsteady: tuple[UnsteadyLabel, ...] = ()
    junk: tuple[PassedJunk, ...] = ()
    never: tuple[NeverFailed, ...] = ()
    done: int = 0
    trials: int = 0
    missed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgingResult:
    """What came of judging one submission.

    ``problem`` says why the judge did not reach its end, which is never the student's gain: then
    there are no ``checks``. ``given`` has the error of each given cell of the source that failed,
    by its index. ``contract`` is the one that was recorded, as text, or empty. ``worker`` is the
    run of the notebook, for pages only. ``protected`` is whether both ran in sandboxes.
    ``rehearsal`` is there if it was asked for.
    """

    problem: str
    checks: tuple[JudgedCheck, ...]
    worker: ExecutionResult
    protected: bool
    given: Mapping[int, str] = field(default_factory=dict)
    contract: str = ""
    seconds: float = 0.0
    rehearsal: RehearsalReport | None = None


class Judges(Protocol):
    """Judges submissions (:class:`~mograder.sandbox.execution.judge_runner.JudgeRunner`)."""

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Judge one submission; both sandboxes have ended afterwards.

        Raises:
            MograderError: It could not be judged at all, for a reason that is not the student's.
        """
