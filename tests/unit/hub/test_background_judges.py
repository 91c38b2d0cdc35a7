"""Grading beside sessions: each run has its memory first, and a small share of the processors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mograder.core.sections.settings_model import LimitsSettings
from mograder.hub.grading import BackgroundRunner
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.execution.judging import JudgeFiles, JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.protocol import Deadlines
from mograder.sessions.capacity import UNKNOWN

RAN = ExecutionResult(Outcome.FINISHED)
PLAN = GradingPlan(source_sha256="", cells=(), answers=(), template=(), judged=())


@dataclass
class Rig:
    """Runs nothing; notes what was asked, and how much memory was reserved then."""

    reserved: int = 0
    weights: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def reserve(self, expected: int) -> AsyncIterator[None]:
        self.reserved += expected
        yield
        self.reserved -= expected

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        self.note(request)
        return JudgingResult("", (), RAN, protected=True)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        self.note(request)
        return RAN

    def note(self, request: JudgingRequest | ExecutionRequest) -> None:
        self.weights.append(request.limits.cpu_weight)
        self.memory.append(self.reserved)


@pytest.mark.parametrize(("weight", "given"), [(100, 10), (5, 5)])
async def test_a_submission_is_judged_in_reserved_memory_with_a_low_weight(
    weight: int, given: int
) -> None:
    rig = Rig()
    limits = limits_of(LimitsSettings(cpu_weight=weight))
    files = JudgeFiles(PLAN, None, None)
    request = JudgingRequest("", "A1.py", files, Path("/env"), limits, Deadlines(), (), (), "seed")
    await BackgroundRunner(rig, rig.reserve).judge(request)
    assert (rig.weights, rig.memory, rig.reserved) == ([given], [2 * UNKNOWN], 0)


async def test_a_notebook_runs_in_reserved_memory_with_a_low_weight() -> None:
    rig = Rig()
    limits = limits_of(LimitsSettings())
    request = ExecutionRequest("", "A1.py", Path("/env"), limits, 10.0)
    assert await BackgroundRunner(rig, rig.reserve).execute(request) is RAN
    assert (rig.weights, rig.memory, rig.reserved) == ([10], [UNKNOWN], 0)
