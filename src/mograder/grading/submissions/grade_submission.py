"""Grade one submission: from a student's file to a mark for each question, with its reasons.

A submission is untrusted text as a whole. Marks come from the judge's report only. Checks of
unprotected questions, or all without a source, run beside the answers, with the author's checks
restored as in validation. The submission's code could forge what these report, so their marks are
proposals that a person confirms.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.grading.submissions.contract_recording import interface_of
from mograder.grading.submissions.graded_assignment import (
    GradedAssignment,
    JudgedSource,
    source_name,
)
from mograder.grading.submissions.grading_result import (
    GradedCellError,
    GradedCheck,
    GradedLabel,
    GradingResult,
    GradingState,
)
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.grading.submissions.question_results import (
    ExpectedLabel,
    failed_labels,
    graded_questions,
    judged_checks,
    state_of,
    totals,
    unjudged_checks,
    with_hidden,
)
from mograder.grading.submissions.submitted_text import (
    SubmittedText,
    decode_submission,
    read_text,
)
from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import (
    CheckStatus,
    ValidatedCheck,
    ValidationReport,
    run_problem,
)
from mograder.marks import Weights, held_to
from mograder.notebook.grading.grading_plan import Part, answers_read, keys_when_run
from mograder.sandbox.execution.judging import (
    JudgedCondition,
    JudgingRequest,
    JudgingResult,
    Runner,
)
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import SHORTAGES
from mograder.store.submissions.receipts import moment

_log = get_logger(__name__)
_LOG = 1000


@dataclass(frozen=True, slots=True)
class SubmittedNotebook:
    """A file that a student submitted, as it was read once
    (:func:`~mograder.grading.submissions.submitted_text.read_submission`).

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


async def grade_submission(
    assignment: GradedAssignment,
    submitted: SubmittedNotebook,
    tools: GradingTools,
    refusal: str = "",
) -> GradedNotebook:
    """Grade a submission; with a ``refusal``, the reason why it must not run, nothing of it runs.

    Nothing that a student does raises an exception: it becomes a state with a reason. If there is
    no result for another reason, the state is "needs attention", and ``problem`` says why.
    """
    grading = _Grading(assignment, submitted, tools)
    try:
        await grading.run(refusal)
    except MograderError as error:
        grading.give_up(GradingState.NEEDS_ATTENTION, str(error))
    except Exception as error:  # noqa: BLE001  (a mistake of ours must not end that of others)
        _log.exception("%s of %s could not be graded", assignment.name, submitted.student)
        what = type(error).__name__
        reason = f"mograder failed ({what}); its log has the details."
        grading.give_up(GradingState.NEEDS_ATTENTION, reason)
    return grading.graded()


@dataclass(slots=True)
class _Grading:
    """The grading of one submission, and what is known of its result so far."""

    assignment: GradedAssignment
    submitted: SubmittedNotebook
    tools: GradingTools
    text: str = ""
    known: SubmittedText = field(default_factory=lambda: SubmittedText((), (), ()))
    checks: tuple[GradedCheck, ...] = ()
    errors: tuple[GradedCellError, ...] = ()
    cells: tuple[CellResult, ...] = ()
    problem: str = ""
    protected: bool = False
    state: GradingState | None = None
    started: float = field(default_factory=time.monotonic)

    async def run(self, refusal: str) -> None:
        """Raise MograderError if it cannot be graded, for a reason that is not the student's."""
        # Reasons name the author's file: markers may read them, and not be told the student's name.
        name, assignment = source_name(self.assignment), self.assignment
        try:
            self.text = decode_submission(self.submitted.data, name)
            source = assignment.source
            names = frozenset[str]() if source is None else answers_read(source.plan)
            read = partial(read_text, self.text, name, assignment.release, assignment.checks, names)
            self.known = await self.tools.apart.call(read, size=len(self.text))
        except InvalidInput as error:
            self.give_up(GradingState.NOT_RUN, str(error))
            return
        if refusal:
            self.give_up(GradingState.NEEDS_ATTENTION, refusal)
            return
        with self.tools.slots.pair() as (worker, judge):
            if assignment.source is None:
                report = await self._validated(worker)
                # Each check is one of its own; cells and lines are those of the submission.
                self.checks = tuple(
                    _check(each.index or 0, each.line or 1, [each], ()) for each in report.checks
                )
                self.problem = report.problem
                self.errors = tuple(
                    GradedCellError(
                        index=each.index or 0,
                        line=each.line,
                        error_type=each.error_type,
                        message=each.message,
                    )
                    for each in report.cell_errors
                )
            else:
                await self._judge(assignment.source, worker, judge)
                if assignment.source.plan.beside:
                    await self._run_beside(assignment.source, worker)

    async def _judge(self, source: JudgedSource, worker: int, judge: int) -> None:
        assignment = self.assignment
        request = JudgingRequest(
            text=self.text,
            name=source_name(assignment),
            files=source.files,
            environment=assignment.environment,
            limits=assignment.limits,
            deadlines=assignment.deadlines,
            interface=interface_of(source.plan),
            skip=self.known.skip,
            seed=_seed(self.tools.key, self.submitted.data, assignment),
            texts=self.known.texts,
            folder=assignment.release_folder,
            uid_slot=worker,
            judge_slot=judge,
            outputs=True,
        )
        result = await self.tools.runner.judge(request)
        self.protected, self.cells = result.protected, result.worker.cells
        self.checks = judged_checks(source.plan.checks, assignment.labels, result)
        self.errors = tuple(_cell_errors(result, self.known.lines))
        self.problem = result.problem
        if not self.problem and all(each.state is GradingState.NOT_RUN for each in self.checks):
            index, lines = result.worker.interrupted, self.known.lines
            known = index is not None and index < len(lines)
            where = f" in the cell at line {lines[index or 0]}" if known else ""
            self.problem = run_problem(result.worker, assignment.deadlines.notebook, where)

    async def _run_beside(self, source: JudgedSource, slot: int) -> None:
        expected = self.assignment.labels
        try:
            report = await self._validated(slot)
        except MograderError as error:
            beside, lost = [e for e in expected if e.unprotected], GradingState.NEEDS_ATTENTION
            self.checks += unjudged_checks(beside, lost, str(error))
        else:
            self.checks += _unprotected_checks(report, source.plan.beside, expected)

    async def _validated(self, uid_slot: int) -> ValidationReport:
        """Run with the author's unprotected checks. Raises: MograderError if it cannot run."""
        assignment, source = self.assignment, self.assignment.source
        submission = Submission(
            text=self.text,
            filename=source_name(assignment),
            environment=assignment.environment,
            limits=assignment.limits,
            seconds=assignment.deadlines.notebook,
            release=assignment.release if source is None else source.beside,
            folder=assignment.release_folder,
            uid_slot=uid_slot,
        )
        return await validate(
            submission, partial(_with_own_end, self.tools.runner), self.tools.apart
        )

    def give_up(self, state: GradingState, reason: str) -> None:
        """Take back all results, for a reason that concerns the whole submission."""
        self.checks = unjudged_checks(self.assignment.labels, state, reason)
        self.problem = reason
        self.state = state

    def graded(self) -> GradedNotebook:
        assignment, source = self.assignment, self.assignment.source
        parts = () if source is None else (*source.plan.checks, *source.plan.beside)
        checks = with_hidden(self.checks, parts) if parts else self.checks
        questions = graded_questions(assignment.marks, checks, assignment.labels)
        earned, available, max_mark = totals(assignment.marks, questions)
        data = self.submitted.data
        received = self.submitted.received
        result = GradingResult(
            assignment=assignment.name,
            student=self.submitted.student,
            filename=self.submitted.path.name,
            submission_sha256=hashlib.sha256(data).hexdigest(),
            submission_bytes=len(data),
            received="" if received is None else moment(received),
            receipt=self.submitted.receipt,
            **dataclasses.asdict(assignment.basis),
            protected=self.protected,
            state=self.state or state_of(each.state for each in questions),
            problem=self.problem,
            questions=questions,
            checks=checks,
            cell_errors=self.errors,
            tampered=self.known.tampered,
            auto_mark=earned,
            auto_available=available,
            max_mark=max_mark,
            at=moment(self.tools.now()),
            seconds=round(time.monotonic() - self.started, 3),
        )
        return GradedNotebook(result, self.text, self.cells)


def _cell_errors(result: JudgingResult, lines: tuple[int, ...]) -> Iterator[GradedCellError]:
    for cell in result.worker.cells:
        first = lines[cell.index] if cell.index < len(lines) else None
        line = None if first is None else first + (cell.line or 1) - 1
        if cell.status is CellStatus.ERROR:
            kind, message = cell.error_type, cell.message
        elif cell.status is CellStatus.INTERRUPTED:
            kind, message = "Interrupted", "It was running at the end."
        else:
            continue
        yield GradedCellError(index=cell.index, line=line, error_type=kind, message=message)


def _seed(key: bytes, data: bytes, assignment: GradedAssignment) -> str:
    """Return the seed of random numbers: the same for every grading, and unknown to students."""
    text = hashlib.sha256(data).hexdigest() + assignment.basis.source_sha256
    return hmac.digest(key, text.encode(), "sha256").hex()


def _unprotected_checks(
    report: ValidationReport, parts: Sequence[Part], expected: Sequence[ExpectedLabel]
) -> tuple[GradedCheck, ...]:
    """Return the results of the unprotected checks of a source; other results do not count.

    A label that is known only when its check runs belongs to the first such check that names its
    key. Of a key that has judged labels it does not count, since an answer can report any number
    of such labels, and those of the source weigh 1 where their weight is not known.
    """
    judged = {each.key for each in expected if not each.unprotected}
    named = {each.label for each in expected}.union(*map(_labels, parts))
    found = {each.label: each for each in report.checks}
    free = [each for each in report.checks if each.label not in named and each.key not in judged]
    checks = []
    for part in parts:
        results = [found[label] for label in _labels(part) if label in found]
        keys = keys_when_run(part)
        results += [_weighing_1(each) for each in free if each.key in keys]
        free = [each for each in free if each.key not in keys]
        wanted = [each for each in expected if each.unprotected and each.cell == part.cell]
        unknown = {each.label for each in wanted if each.key in judged and not each.total}
        results = [_weighing_1(each) if each.label in unknown else each for each in results]
        wanted = [replace(each, total=1.0) if each.label in unknown else each for each in wanted]
        made = _check(part.cell, part.line, results, wanted)
        checks.append(made.model_copy(update={"beside": True}))
    return tuple(checks)


def _weighing_1(result: ValidatedCheck) -> ValidatedCheck:
    """Return a result of weight 1, whatever the answer says of its conditions; one of 0 stays."""
    found = result.weights
    if found.total <= 0:
        return result
    return replace(result, weights=Weights(found.earned / found.total, 1.0, found.passed))


def _labels(part: Part) -> tuple[str, ...]:
    labels = () if part.check is None else part.check.labels
    return tuple(dict.fromkeys(each.label for each in labels if each.label is not None))


def _check(
    cell: int, line: int, results: Sequence[ValidatedCheck], wanted: Sequence[ExpectedLabel]
) -> GradedCheck:
    weights = {each.label: each.total for each in wanted}
    labels = [_label(each, weights.get(each.label, 0.0)) for each in results]
    present = {each.label for each in results}
    missing = [each for each in wanted if each.label not in present]
    lost = [each for each in results if each.status is CheckStatus.NOT_RUN]
    reasons = [message.removeprefix("not run: ") for each in lost for message in each.messages]
    if missing or not results:
        reasons.append("this check did not run")
    return GradedCheck(
        cell=cell,
        line=line,
        hidden=False,
        state=GradingState.UNPROTECTED if len(lost) < len(results) else GradingState.NOT_RUN,
        reason="; ".join(dict.fromkeys(reasons)),
        labels=(*labels, *failed_labels(missing)),
    )


def _label(check: ValidatedCheck, wanted: float) -> GradedLabel:
    """Return a label's result, held to its author's weight; those of conditions are not told."""
    ran = check.status is not CheckStatus.NOT_RUN
    conditions = (JudgedCondition(message=m, weight=0.0, passed=False) for m in check.messages)
    held = held_to(check.weights, wanted)
    return GradedLabel(
        label=check.label,
        key=check.key,
        earned=held.earned,
        total=held.total,
        passed=check.status is CheckStatus.SUCCESS,
        conditions=tuple(conditions) if ran else (),
    )


async def _with_own_end(runner: Runner, request: ExecutionRequest) -> ExecutionResult:
    """Run a notebook; raise an error if its end is not the student's doing.

    As the judge's worker: where the machine is short of something, or nothing was reported.
    """
    result = await runner.execute(request)
    if why := SHORTAGES.get(result.reason):
        raise MograderError(f"The notebook was ended because {why}.")
    told = result.cells or result.problem
    if not told and result.outcome not in (Outcome.FINISHED, Outcome.UNREADABLE):
        raise MograderError(f"The notebook reported nothing. {result.log_tail[-_LOG:]}".strip())
    return result
