"""Judging one submission by two sandboxes: the worker runs the notebook, the judge the checks.

The records of a run, the port that runs it, and the judge's report, which is read strictly: one
line that is not as expected makes all of it worthless. The judge runs the author's code on data
from an answer. Should that ever have misled the judge, its report must still fit the plan and the
contract, neither of which comes from the judge. The worker's report is untrusted, and serves pages
only, never marks.

The lines of the judge are read into the records that grading uses, which allow no unknown field and
no other type.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic import dataclasses as strict

from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.sandbox.execution.report import (
    STRICT,
    End,
    ExecutionRequest,
    ExecutionResult,
    Line,
    Weight,
)
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import COMMANDS_SLOT, Deadlines, Limits

_Text = Annotated[str, Field(max_length=20_000)]
_Word = Annotated[str, Field(max_length=2000)]
JudgedState = Literal["judged", "not run", "needs attention"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JudgeFiles:
    """What the judge has of an assignment; the same for all submissions.

    ``contract`` is None while one is recorded, which only a worker with the author's own solution
    may be used for. ``folder`` holds the files beside the source, which the author's cells may
    read.
    """

    plan: GradingPlan
    contract: Contract | None
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
    needs ``files`` without a contract, the checks are tried with wrong answers as well. ``texts``
    are those of the answers in ``text``, by name, for checks that read them.
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
    texts: Mapping[str, str] = field(default_factory=dict)


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class JudgedCondition:
    """One condition of a check; ``reason`` is the error that prevented its evaluation."""

    message: _Text
    weight: Weight
    passed: bool
    reason: _Text = ""


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class JudgedLabel:
    label: _Text
    key: _Text
    earned: Weight
    total: Weight
    passed: bool
    conditions: Annotated[tuple[JudgedCondition, ...], Field(max_length=1000)] = ()


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class JudgedCall:
    """A call of an answer that a check made, in words: ``area(2)`` and ``12.566``.

    ``result`` is empty unless it returned.
    """

    call: _Text
    status: _Text
    result: _Text = ""
    milliseconds: Weight = 0.0


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class JudgedCheck:
    """The judge's line about one check cell of the source.

    ``state`` is "judged", "not run" (``reason`` says why; its labels have earned 0) or
    "needs attention" (no result). ``claims`` names what it rests on that the answer itself says.
    """

    cell: int
    line: int
    hidden: bool
    state: JudgedState
    reason: _Text
    labels: Annotated[tuple[JudgedLabel, ...], Field(max_length=1000)]
    claims: Annotated[tuple[_Text, ...], Field(max_length=100)]
    calls: Annotated[tuple[JudgedCall, ...], Field(max_length=200)]
    kind: Literal["judged"] = "judged"


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class PassedJunk:
    """Junk in place of the answer ``name``, and the labels of a check that pass with it.

    ``junk`` is its kind, by the name in ``junk_answers.py``; ``words`` say of the answer what it
    is then, or does.
    """

    cell: int
    name: _Word
    junk: _Word
    words: _Word
    labels: tuple[_Word, ...]
    kind: Literal["rehearsal junk"] = "rehearsal junk"


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class CrashedCheck:
    """Junk in place of the answer ``name`` with which the process of a check ended."""

    cell: int
    name: _Word
    words: _Word
    kind: Literal["rehearsal crash"] = "rehearsal crash"


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class UnsteadyLabel:
    """A label to which other random numbers give another weight; ``message`` is what fails."""

    cell: int
    label: _Word
    message: _Word
    kind: Literal["rehearsal again"] = "rehearsal again"


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class NeverFailed:
    """A condition, by its message, that none of the wrong answers made fail."""

    cell: int
    label: _Word
    message: _Word
    kind: Literal["rehearsal never"] = "rehearsal never"


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
    crashed: tuple[CrashedCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgingResult:
    """What came of judging one submission.

    ``problem`` says why the judge did not reach its end, which is never the student's gain: then
    there are no ``checks``. ``given`` has the error of each given cell of the source that failed,
    by its index. ``contract`` is the one that was recorded, if any. ``worker`` is the run of the
    notebook, for pages only. ``protected`` is whether both ran in sandboxes. ``rehearsal`` is there
    if it was asked for.
    """

    problem: str
    checks: tuple[JudgedCheck, ...]
    worker: ExecutionResult
    protected: bool
    given: Mapping[int, str] = field(default_factory=dict)
    contract: Contract | None = None
    seconds: float = 0.0
    rehearsal: RehearsalReport | None = None


class Runner(Protocol):
    """Runs notebooks and judges submissions, of which some may have to wait for others.

    :class:`~mograder.sandbox.execution.sandboxed_runner.SandboxedRunner` does it with a supervisor,
    :class:`~mograder.sandbox.execution.plain_processes.PlainProcesses` on systems without one.
    """

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a notebook until it ends or its time is over, and return the result.

        Raises:
            MograderError: It could not be run at all: no supervisor, no environment, too many or
                too large support files.
        """

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Judge one submission; both sandboxes have ended afterwards.

        Raises:
            MograderError: It could not be judged at all, for a reason that is not the student's.
        """


class _Given(Line):
    """The error of a given cell of the source, which are cells that the judge runs itself."""

    kind: Literal["given"]
    cell: int
    line: int
    error: _Text


class _Recorded(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    kind: Literal["contract"]


class _Answers(Line):
    kind: Literal["rehearsal answers"]
    answers: list[tuple[_Word, _Word]]


class _TrialsEnd(Line):
    kind: Literal["rehearsal end"]
    done: int
    trials: int
    missed: tuple[int, ...]


_Trial = _Answers | UnsteadyLabel | PassedJunk | CrashedCheck | NeverFailed | _TrialsEnd
_JudgeLine = _Given | JudgedCheck | _Recorded | _Trial | End
_LINE: TypeAdapter[_JudgeLine] = TypeAdapter(Annotated[_JudgeLine, Field(discriminator="kind")])
_CONTRACT: TypeAdapter[Contract] = TypeAdapter(Contract)


def _valid(known: TypeAdapter[T], line: str | bytes) -> T:
    """Return what a line says. Raises: :class:`ValueError` with what is wrong."""
    try:
        return known.validate_json(line)
    except ValidationError as error:
        where = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{where['msg']} at {where['loc']}") from None


def parse_contract(text: str | bytes) -> Contract:
    """Return the contract of ``render_contract``; ``ValueError`` with what is wrong for others."""
    return _valid(_CONTRACT, text)


@dataclass(slots=True)
class JudgeReport:
    """What a judge has reported; ``given`` has the error of each given cell, by its index."""

    checks: tuple[JudgedCheck, ...] = ()
    given: dict[int, str] = field(default_factory=dict)
    contract: Contract | None = None
    rehearsal: RehearsalReport | None = None


def read_judge_report(
    lines: Iterable[str], plan: GradingPlan, contract: Contract | None
) -> JudgeReport:
    """Return the report of a judge that has come to its end.

    Without a ``contract``, one must have been recorded, and the checks may have been tried.

    Raises: :class:`ValueError` with what is wrong.
    """
    checks: dict[int, JudgedCheck] = {}
    trials: list[_Trial] = []
    report, ended = JudgeReport(), False
    for line in lines:
        if ended:
            raise ValueError("something follows the end")
        match told := _valid(_LINE, line):
            case _Given():
                if told.cell not in {part.cell for part in plan.template}:
                    raise ValueError(f"a given cell {told.cell} that the plan does not have")
                report.given[told.cell] = told.error
            case JudgedCheck():
                if told.cell in checks:
                    raise ValueError(f"a check {told.cell} a second time")
                checks[told.cell] = _checked(told, plan, contract)
            case _Recorded():
                report.contract = _recorded(told, plan, contract or report.contract)
            case End():
                ended = True
            case _:
                trials.append(told)
    missing = {part.cell for part in plan.checks} - checks.keys()
    there = {"the end": ended, "the contract": contract or report.contract}
    there[f"of the checks {sorted(missing)}"] = not missing
    if lacks := [what for what, found in there.items() if not found]:
        raise ValueError(f"missing: {', '.join(lacks)}")
    report.checks = tuple(checks[part.cell] for part in plan.checks)
    report.rehearsal = _rehearsal(trials, contract)
    return report


def _checked(told: JudgedCheck, plan: GradingPlan, contract: Contract | None) -> JudgedCheck:
    part = next((part for part in plan.checks if part.cell == told.cell), None)
    facts = None if part is None else part.check
    if part is None or facts is None:
        raise ValueError(f"a check {told.cell} that the plan does not have")
    if (told.line, told.hidden) != (part.line, facts.hidden):
        raise ValueError(f"another check than the plan's {told.cell}")
    for label in told.labels:
        if label.earned > label.total and not math.isclose(label.earned, label.total):
            raise ValueError(f"more than the total of {label.label!r}")
        if told.state != "judged" and label.earned:
            raise ValueError(f"weight of {label.label!r}, which was not judged")
    if contract is not None:
        _compare(told, contract)
    return told


def _recorded(told: _Recorded, plan: GradingPlan, known: object) -> Contract:
    if known:
        raise ValueError("a contract that was not asked for")
    contract = parse_contract(TypeAdapter(dict[str, Any]).dump_json(told.model_extra or {}))
    if contract.source_sha256 != plan.source_sha256:
        raise ValueError("a contract of another source")
    return contract


def _compare(told: JudgedCheck, contract: Contract) -> None:
    """Raise ``ValueError`` unless a check has the labels and weights of the contract."""
    wanted = {each.label: each for each in contract.labels if each.cell == told.cell}
    if Counter(each.label for each in told.labels) != Counter(wanted.keys()):
        raise ValueError(f"other labels of check {told.cell} than in the contract")
    for label in told.labels:
        expected = wanted[label.label]
        close = math.isclose(label.total, expected.total, rel_tol=1e-6, abs_tol=1e-9)
        if label.key != expected.key or not close:
            raise ValueError(f"another key or weight of {label.label!r} than in the contract")


def _rehearsal(told: Sequence[_Trial], contract: Contract | None) -> RehearsalReport | None:
    if not told:
        return None
    if contract is not None:
        raise ValueError("trials that were not asked for")
    end = told[-1]
    if not isinstance(end, _TrialsEnd):
        raise ValueError("the end of the rehearsal is missing")
    answers = [pair for each in told if isinstance(each, _Answers) for pair in each.answers]
    return RehearsalReport(
        dict(answers),
        _those(told, UnsteadyLabel),
        _those(told, PassedJunk),
        _those(told, NeverFailed),
        end.done,
        end.trials,
        end.missed,
        _those(told, CrashedCheck),
    )


def _those(told: Iterable[_Trial], kind: type[T]) -> tuple[T, ...]:
    return tuple(each for each in told if isinstance(each, kind))
