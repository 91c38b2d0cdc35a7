"""Judging a submission with the supervisor: the worker in a private copy, the judge beside it.

Marks come from the judge's report alone. It counts only if the judge came to its end and the report
fits the plan; everything else is a problem, which gives no marks.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.notebook.grading.grading_plan import GradingPlan, parse_plan
from mograder.sandbox.execution.copy_bounds import CopyBounds
from mograder.sandbox.execution.judge_folders import JudgeFolders
from mograder.sandbox.execution.judging import (
    JudgeReport,
    Judges,
    JudgingRequest,
    JudgingResult,
    read_judge_report,
    read_rehearsal,
)
from mograder.sandbox.execution.report import ExecutionResult, read_report
from mograder.sandbox.execution.report_bounds import (
    JUDGE_BOUNDS,
    BoundedLines,
    bounds_of,
    unless_overflow,
)
from mograder.sandbox.execution.runner import PrivateCopies, killed_for_overflow
from mograder.sandbox.inside.grading_contract import Contract, parse_contract
from mograder.sandbox.isolation.policy import PLAN
from mograder.sandbox.machines import Runs
from mograder.sandbox.protocol import (
    JUDGE_LINE,
    WORKER_LINE,
    AnswerJudge,
    AnswerWorker,
    Deadlines,
    Executed,
    Judged,
    JudgeSubmission,
)

_MARGIN_SECONDS = 60.0
"""Added to the judge's own deadlines: the time for its report that they are over."""

_FOLDERS, _COPIES = "judges", "workers"
_LOG = 1000


class JudgeRunner(Judges):
    """Judges submissions, at most ``at_once`` at the same time; further calls wait."""

    def __init__(
        self,
        runs: Runs,
        place: Path,
        remove: Callable[[Path], None],
        *,
        at_once: int = 2,
        bounds: CopyBounds | None = None,
        margin_seconds: float = _MARGIN_SECONDS,
    ) -> None:
        """Keep copies below ``place`` (:class:`~mograder.sandbox.execution.runner.PrivateCopies`),
        and the directories of judges.
        """
        bounds = bounds or CopyBounds()
        self._runs = runs
        self._margin_seconds = margin_seconds
        self._copies = PrivateCopies(place / _COPIES, remove, at_once=at_once, bounds=bounds)
        self._folders = JudgeFolders(place / _FOLDERS, remove, bounds)

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Judge a submission; both sandboxes have ended afterwards.

        Raises:
            InvalidInput: The plan or the contract cannot be read.
            MograderError: It could not be judged at all: no supervisor, no environment, too many
                or too large support files.
        """
        plan, contract = parse_plan(request.files.plan), contract_of(request.files.contract)
        report = _Reports(outputs=request.outputs)
        async with (
            self._copies.copy(request) as (name, directory),
            self._folders.folder(request.files) as folder,
        ):
            seconds = longest(
                request.deadlines, rehearse=request.rehearse, margin_seconds=self._margin_seconds
            )
            asked = _asked(request, name, directory, folder, seconds)
            started = time.monotonic()
            judging = self._runs.judge(asked, report.add)
            judged = await unless_overflow(judging, report.judge.overflow)
        judged = report.noted(judged, time.monotonic() - started)
        return await asyncio.to_thread(judging_result, report.lines, judged, plan, contract)


class _Reports:
    """The reports of a judge and its worker, of which only the judge's overflow ends the run."""

    def __init__(self, *, outputs: bool) -> None:
        self.judge = BoundedLines(JUDGE_BOUNDS, JUDGE_LINE)
        self._worker = BoundedLines(bounds_of(outputs=outputs), WORKER_LINE)

    def add(self, line: str) -> None:
        """Add a line to one of them; ignore one that is for none."""
        if line.startswith(JUDGE_LINE):
            self.judge.add(line)
        elif line.startswith(WORKER_LINE):
            self._worker.add(line)

    @property
    def lines(self) -> list[str]:
        """The lines of both."""
        return self.judge.lines + self._worker.lines

    def noted(self, judged: Judged | None, seconds: float) -> Judged:
        """Return the ends with the overflow of either; None are those of a judge's overflow."""
        if judged is None:
            killed = killed_for_overflow(seconds)
            return Judged(judge=killed, worker=killed)
        if self._worker.overflow.done():
            worker = judged.worker.model_copy(update={"overflow": True})
            return judged.model_copy(update={"worker": worker})
        return judged


def longest(
    deadlines: Deadlines, *, rehearse: bool, margin_seconds: float = _MARGIN_SECONDS
) -> float:
    """Return the seconds after which a judge is ended, which observes its deadlines itself.

    A rehearsal judges all checks once more, and tries them for as long as all of that has taken.
    """
    seconds = deadlines.notebook + deadlines.submission
    return (3 if rehearse else 1) * seconds + margin_seconds


def contract_of(text: str | None) -> Contract | None:
    """Return the contract of a text, None for None.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        return None if text is None else parse_contract(text)
    except ValueError as error:
        raise InvalidInput(f"The contract cannot be read: {error}.") from error


def _asked(
    request: JudgingRequest, name: str, directory: Path, folder: Path, seconds: float
) -> JudgeSubmission:
    return JudgeSubmission(
        worker=AnswerWorker(
            session_id=f"worker-{name}",
            directory=directory,
            notebook=request.name,
            environment=request.environment,
            uid_slot=request.uid_slot,
            limits=request.limits,
            interface=request.interface,
            skip=request.skip,
            outputs=request.outputs,
        ),
        judge=AnswerJudge(
            session_id=f"judge-{name}",
            directory=folder,
            notebook=PLAN,
            environment=request.environment,
            uid_slot=request.judge_slot,
            limits=request.limits,
            seconds=request.deadlines,
            seed=request.seed,
            records=request.files.contract is None,
            rehearses=request.rehearse,
        ),
        seconds=seconds,
    )


def judging_result(
    lines: list[str], judged: Judged, plan: GradingPlan, contract: Contract | None
) -> JudgingResult:
    """Return the result of a run, in sandboxes or not."""
    told = [line.removeprefix(JUDGE_LINE) for line in lines if line.startswith(JUDGE_LINE)]
    shown = [line.removeprefix(WORKER_LINE) for line in lines if line.startswith(WORKER_LINE)]
    worker = _worker(shown, judged.worker)
    seconds = judged.judge.seconds
    problem = _ended_badly(judged.judge) or _never_ran(shown, judged.worker)
    report, rehearsal = JudgeReport(), None
    if not problem:
        try:
            if contract is None:
                rehearsal, told = read_rehearsal(told)
            report = read_judge_report(told, plan, contract)
        except ValueError as error:
            status, log = judged.judge.status, _log(judged.judge)
            problem = f"The judge's report cannot be used: {error} (status {status}). {log}".strip()
    return JudgingResult(
        problem,
        report.checks,
        worker,
        protected=judged.protected,
        given=report.given,
        contract=report.contract,
        seconds=seconds,
        rehearsal=rehearsal,
    )


def _ended_badly(judge: Executed) -> str:
    """Return why a judge was ended; empty if it ended by itself."""
    if judge.reason:
        return f"The judge exceeded its limit of {judge.reason}."
    if judge.timed_out:
        return f"The judge did not end within {judge.seconds:.0f} seconds."
    if judge.overflow:
        return "The judge's report is too long."
    return ""


def _never_ran(lines: list[str], worker: Executed) -> str:
    """Return why a worker's end is not the student's doing; empty if it may be."""
    if worker.reason == "disk":
        return "The worker was ended because the disk is nearly full."
    if not lines and not worker.overflow:
        return f"The worker reported nothing. {_log(worker)}".strip()
    return ""


def _log(executed: Executed) -> str:
    return executed.log_tail.strip()[-_LOG:]


def _worker(lines: list[str], worker: Executed) -> ExecutionResult:
    """Return the worker's run, which has finished if it says so: it is then ended by the judge."""
    try:
        finished = bool(lines) and json.loads(lines[-1]) == {"kind": "end"}
    except (ValueError, RecursionError):
        finished = False
    timed_out = worker.timed_out and not finished
    return read_report(lines, worker.model_copy(update={"timed_out": timed_out}))
