"""The hub's own bounds of a run's report: a node may send more than its supervisor should."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mograder.core.sections.settings_model import LimitsSettings
from mograder.notebook.grading.grading_plan import render_plan
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.execution.judge_runner import JudgeRunner
from mograder.sandbox.execution.judging import JudgeFiles, JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import (
    JUDGE_BOUNDS,
    BoundedLines,
    ExecutionRequest,
    Outcome,
    ReportBounds,
    bounds_of,
)
from mograder.sandbox.execution.runner import Executor
from mograder.sandbox.inside.grading_contract import render_contract
from mograder.sandbox.protocol import (
    CancelCall,
    Deadlines,
    Done,
    Execute,
    Failed,
    JudgeSubmission,
    Output,
)
from mograder.store.database.database import open_engine, upgrade
from tests.support.fake_node import FakeNode
from tests.support.node_rig import KEY, NodeRig
from tests.unit.sandbox.execution.test_judge_report import CONTRACT, END, PLAN, judged

LIMITS = limits_of(LimitsSettings())
ENVIRONMENT = Path("/environments") / KEY
WORKER_END = 'worker {"kind":"end"}'


@dataclass(eq=False)
class FloodingNode(FakeNode):
    """A node that reports ``before``, then ``line`` until it is cancelled or has sent ``most``."""

    before: tuple[str, ...] = ()
    line: str = ""
    most: int = 0

    @property
    def cancelled(self) -> bool:
        """Whether the hub has ended the run."""
        return any(isinstance(call, CancelCall) for call in self.calls)

    async def _run(self, call_id: int, operation: Execute | JudgeSubmission) -> Done | Failed:
        sent = 0
        for line in self.before:
            self.tell(Output(id=call_id, line=line))
        while sent < self.most and not self.cancelled:
            self.tell(Output(id=call_id, line=self.line))
            sent += len(self.line) + 1
            await asyncio.sleep(0)
        return await super()._run(call_id, operation)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NodeRig]:
    engine = open_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    upgrade(engine)
    made = NodeRig(engine, tmp_path)
    yield made
    await made.close()
    engine.dispose()


async def executed(rig: NodeRig, node: FakeNode, *, outputs: bool = False) -> Outcome:
    await rig.connect(node)
    executor = Executor(rig.launcher, rig.place / "copies", shutil.rmtree)
    request = ExecutionRequest("", "A1.py", ENVIRONMENT, LIMITS, 60, outputs=outputs)
    return (await executor.execute(request)).outcome


async def judging(rig: NodeRig, node: FakeNode) -> JudgingResult:
    await rig.connect(node)
    runner = JudgeRunner(rig.launcher, rig.place / "judging", shutil.rmtree)
    contract = render_contract(CONTRACT)
    request = JudgingRequest(
        text="",
        name="A1.py",
        files=JudgeFiles(render_plan(PLAN), contract, None),
        environment=ENVIRONMENT,
        limits=LIMITS,
        deadlines=Deadlines(60, 60, 60, 60),
        interface=(),
        skip=(),
        seed="1",
    )
    return await runner.judge(request)


@pytest.mark.parametrize("outputs", [False, True])
async def test_a_report_without_end_ends_the_run(rig: NodeRig, *, outputs: bool) -> None:
    most = 3 * bounds_of(outputs=outputs).report
    node = FloodingNode("one", line="x" * 100_000, most=most)
    assert await executed(rig, node, outputs=outputs) is Outcome.UNREADABLE
    assert node.cancelled


async def test_a_line_that_is_too_long_ends_the_run(rig: NodeRig) -> None:
    node = FloodingNode("one", line="x" * 200_000, most=2 << 20)
    assert await executed(rig, node) is Outcome.UNREADABLE
    assert node.cancelled


async def test_a_judges_report_without_end_gives_no_marks(rig: NodeRig) -> None:
    node = FloodingNode("one", line="judge " + "x" * 300_000, most=3 * JUDGE_BOUNDS.report)
    result = await judging(rig, node)
    assert (result.problem, result.checks) == ("The judge's report is too long.", ())
    assert node.cancelled


async def test_a_workers_report_without_end_has_no_effect_on_the_judges(rig: NodeRig) -> None:
    lines = ["judge " + json.dumps(each) for each in (judged(0), judged(1), END)]
    most = 3 * bounds_of(outputs=False).report
    before = (*lines, WORKER_END)
    node = FloodingNode("one", before=before, line="worker " + "x" * 100_000, most=most)
    result = await judging(rig, node)
    assert (result.problem, len(result.checks)) == ("", 2)
    assert result.worker.outcome is Outcome.UNREADABLE


async def test_what_a_supervisor_may_send_passes() -> None:
    bounds = ReportBounds(report=20, line=10)
    report = BoundedLines(bounds, "judge ")
    for _ in range(2):
        report.add("judge " + "é" * 4 + "x")  # nine bytes and the end of the line
    assert len(report.lines) == 2
    assert not report.overflow.done()
    report.add("judge ")
    assert report.overflow.done()
    assert not report.lines
