"""A course with submissions, and judges that decide by the text of a submission, without a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.sections.settings_model import Settings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.runs.grading_tools import GradingTools
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.sandbox.execution.judging import (
    JudgedCheck,
    JudgedLabel,
    Judges,
    JudgingRequest,
    JudgingResult,
)
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.inside.grading_contract import Contract, ExpectedLabel, render_contract
from mograder.store.course.contracts import ContractStore
from tests.support.graded_notebook import UNANSWERED, with_answer

KEY = b"k" * 32
SOURCE = with_answer("x = 6").replace("    # YOUR CODE HERE\n", "    ### BEGIN SOLUTION\n")
SOURCE = SOURCE.replace("    x = 6\n", "    x = 6\n    ### END SOLUTION\n")
RIGHT, HALF, WRONG = (with_answer(f"x = {value}") for value in (6, 1, 0))


def make_course(root: Path, submissions: Mapping[str, str]) -> Path:
    """Write the source, the release and the submissions, by student, of an assignment ``hw1``."""
    for name, text in {"source": SOURCE, "release": UNANSWERED}.items():
        (root / name / "hw1").mkdir(parents=True)
        (root / name / "hw1" / "hw1.py").write_text(text)
    submitted = root / "submitted" / "hw1"
    submitted.mkdir(parents=True)
    for student, text in submissions.items():
        (submitted / f"{student}.py").write_text(text)
    return root


@dataclass
class TextJudges:
    """Judges that give all points for ``x = 6``, half of them for ``x = 1``.

    ``asked`` are the texts that were judged, ``most`` is how many were at the same time. Each
    judging waits until ``gate`` is set. ``broken`` is a text that cannot be judged.
    """

    asked: list[str] = field(default_factory=list)
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    broken: str = "cannot be judged"
    _running: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def reached(self, running: int) -> None:
        """Return when so many are judged at the same time."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._running >= running)

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        recording = request.files.contract is None
        if not recording:
            self.asked.append(request.text)
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            async with self._changed:
                self._changed.notify_all()
            if not recording:
                await self.gate.wait()
            if self.broken in request.text:
                raise MograderError("No sandbox runs.")
            return _result(request)
        finally:
            self._running -= 1


def _result(request: JudgingRequest) -> JudgingResult:
    earned = 2.0 if "x = 6" in request.text else 1.0 if "x = 1" in request.text else 0.0
    plan = parse_plan(request.files.plan)
    parts = [(part, part.check) for part in plan.checks if part.check is not None]
    named = [
        (part, label.label or "", label.key or "")
        for part, check in parts
        for label in check.labels
    ]
    checks = tuple(
        JudgedCheck(
            cell=part.cell,
            line=part.line,
            hidden=False,
            state="judged",
            reason="",
            labels=(JudgedLabel(label, key, earned, 2.0, passed=earned == 2.0),),
            claims=(),
            calls=(),
        )
        for part, label, key in named
    )
    labels = tuple(ExpectedLabel(part.cell, label, key, 2.0, 2) for part, label, key in named)
    return JudgingResult(
        problem="",
        checks=checks,
        worker=ExecutionResult(Outcome.FINISHED),
        protected=True,
        contract=render_contract(Contract(plan.source_sha256, (), labels)),
    )


class NoRuns:
    """Runs nothing: all checks of the course are judged."""

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        raise AssertionError(f"{request.name} was run beside its answers")


def tools_with(judges: Judges, root: Path, *, refusal: str = "") -> GradingTools:
    """Return the tools of grading with these judges; ``refusal`` is why nothing can be built."""

    async def environment(_: str, __: Progress) -> Path:
        if refusal:
            raise InvalidInput(refusal)
        return root / "environments" / "e1"

    return GradingTools(
        judges=judges,
        executor=NoRuns(),
        environment=environment,
        settings=Settings(),
        contracts=ContractStore(root / "contracts"),
        key=KEY,
    )
