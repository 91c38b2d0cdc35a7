"""A course with submissions, and judges that decide by the text of a submission, without a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.tasks import Progress
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.sandbox.execution.judging import (
    JudgedCheck,
    JudgedLabel,
    JudgingRequest,
    JudgingResult,
)
from tests.support.fake_judges import FINISHED, FakeJudges, Judges, fake_tools, hand_in, written
from tests.support.graded_notebook import UNANSWERED, with_answer

SOURCE = with_answer("x = 6").replace("    # YOUR CODE HERE\n", "    ### BEGIN SOLUTION\n")
SOURCE = SOURCE.replace("    x = 6\n", "    x = 6\n    ### END SOLUTION\n")
RIGHT, HALF, WRONG = (with_answer(f"x = {value}") for value in (6, 1, 0))


def make_course(root: Path, submissions: Mapping[str, str]) -> Path:
    """Write the source, the release and the submissions, by student, of an assignment ``hw1``."""
    written(root, SOURCE, UNANSWERED)
    hand_in(root, **submissions)
    return root


@dataclass
class TextJudges:
    """Judges that give all points for ``x = 6``, half of them for ``x = 1``.

    ``asked`` are the students' texts that were judged, ``most`` is how many were at the same time.
    Each judging waits until ``gate`` is set. ``broken`` is a text that cannot be judged.
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
        recording = request.seed == request.files.plan.source_sha256
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
            return await FakeJudges(_by_text).judge(request)
        finally:
            self._running -= 1


def _by_text(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
    earned = 2.0 if "x = 6" in request.text else 1.0 if "x = 1" in request.text else 0.0
    checks = tuple(
        JudgedCheck(
            *(part.cell, part.line, False, "judged", ""),
            (JudgedLabel(label.label or "", label.key or "", earned, 2.0, earned == 2.0),),
            *((), ()),
        )
        for part in plan.checks
        if part.check is not None
        for label in part.check.labels
    )
    return JudgingResult("", checks, FINISHED, protected=True)


def tools_with(judges: Judges, root: Path, *, refusal: str = "") -> GradingTools:
    """Return the tools of grading with these judges; ``refusal`` is why nothing can be built."""

    async def refused(_: str, __: Progress) -> Path:
        raise InvalidInput(refusal)

    tools = fake_tools(root, judges=judges)
    return replace(tools, environment=refused) if refusal else tools
