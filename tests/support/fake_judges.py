"""A small assignment for grading, and judges and runs with results that a test gives."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from mograder.core.sections.settings_model import Settings
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.grading.submissions.graded_assignment import (
    AssignmentFiles,
    GradedAssignment,
    prepare_assignment,
)
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.grading.workbench import Workbench, open_plain
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.source.release import make_release
from mograder.sandbox.execution.judging import (
    JudgedCheck,
    JudgedCondition,
    JudgedLabel,
    JudgedState,
    JudgingRequest,
    JudgingResult,
    Runner,
)
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, Outcome
from mograder.sandbox.inside.grading_contract import Contract, ExpectedLabel
from mograder.store.course.sources import ContractStore
from tests.support.notebooks import SCRIPT_HEAD, notebook

KEY = hashlib.sha256(b"a key").digest()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOURCE = notebook(
    """
    import marimo as mo
    from mograder.runtime import check
    """,
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5, "Essay": 5}
    """,
    """
    ### BEGIN SOLUTION
    def area(side):
        return side * side
    ### END SOLUTION
    """,
    """
    check("Q1: area", [(area(2) == 4, "two", 2), (area(3) == 9, "three", 2)])
    ### BEGIN HIDDEN TESTS
    check("Q1: more", [(area(10) == 100, "secret ten", 4)])
    ### END HIDDEN TESTS
    """,
    """
    ### BEGIN SOLUTION
    total = 6
    ### END SOLUTION
    """,
    'check("Q2: total", [(total == 6, "six")])',
    """
    @app.cell
    def written_analysis(mo):
        response_text = "Write here."
        ### BEGIN SOLUTION
        response_text = "A good answer."
        ### END SOLUTION
        mo.md(response_text)
        return
    """,
    head=SCRIPT_HEAD,
)
UNPROTECTED = SOURCE.replace(
    '    check("Q2: total"', '    # mograder: unprotected\n    check("Q2: total"'
).replace(
    '[(total == 6, "six")])\n',
    '[(total == 6, "six")])\n    ### BEGIN HIDDEN TESTS\n    check("Q2: secret", '
    '[(total % 2 == 0, "even"), (total > 0, "positive")])\n    ### END HIDDEN TESTS\n',
)


def release_of(source: str) -> str:
    """Return the release of a source."""
    made = make_release(source, filename="hw1.py", assignment="hw1")
    assert made is not None
    return made.text


def answered(source: str, *pairs: tuple[str, str]) -> str:
    """Return the release of a source with some of its text replaced, as a student does."""
    text = release_of(source)
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


SQUARE = ("area = ...", "def area(side):\n        return side ** 2")
SOLVED = answered(SOURCE, SQUARE, ("total = ...", "total = 6"))
"""A submission with right answers, of which none is the author's text."""

AUTHORS_LABELS = {
    "Q1: area": (("two", 2.0), ("three", 2.0)),
    "Q1: more": (("secret ten", 4.0),),
    "Q2: total": (("six", 1.0),),
}
"""The conditions and weights that the author's own run of ``SOURCE`` has."""


def judged_label(label: str, *failed: str) -> JudgedLabel:
    """Return the result of a label of ``SOURCE``; the named conditions do not hold."""
    conditions = tuple(
        JudgedCondition(message, weight, message not in failed)
        for message, weight in AUTHORS_LABELS[label]
    )
    earned = sum(each.weight for each in conditions if each.passed)
    total = sum(each.weight for each in conditions)
    return JudgedLabel(label, label[:2], earned, total, earned == total, conditions)


def judged_check(
    plan: GradingPlan,
    *labels: JudgedLabel,
    state: JudgedState = "judged",
    reason: str = "",
    claims: tuple[str, ...] = (),
) -> JudgedCheck:
    """Return a check of the plan with these labels."""
    part = next(
        part
        for part in plan.checks
        if part.check is not None
        and {label.label for label in labels} & {each.label for each in part.check.labels}
    )
    assert part.check is not None
    hidden = part.check.hidden
    return JudgedCheck(part.cell, part.line, hidden, state, reason, labels, claims, ())


def everything_passed(plan: GradingPlan) -> tuple[JudgedCheck, ...]:
    """Return the results of the author's own solution."""
    return tuple(
        judged_check(plan, *(judged_label(each.label) for each in part.check.labels if each.label))
        for part in plan.checks
        if part.check is not None
    )


FINISHED = ExecutionResult(Outcome.FINISHED)
Answer = Callable[[JudgingRequest, GradingPlan], JudgingResult]


def passing(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
    """Judge everything as right."""
    return JudgingResult("", everything_passed(plan), FINISHED, protected=True)


@dataclass
class FakeJudges:
    """Judges as a test says; a contract is recorded of what it says then."""

    answer: Answer = passing
    asked: list[JudgingRequest] = field(default_factory=list)

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        self.asked.append(request)
        plan = request.files.plan
        result = self.answer(request, plan)
        if request.files.contract is not None or result.problem:
            return result
        labels = tuple(
            ExpectedLabel(check.cell, each.label, each.key, each.total, len(each.conditions))
            for check in result.checks
            for each in check.labels
        )
        contract = Contract(plan.source_sha256, (), labels)
        return JudgingResult(
            "", result.checks, result.worker, result.protected, result.given, contract
        )


@dataclass
class FakeRuns:
    """Runs notebooks with results that a test gives."""

    result: ExecutionResult = FINISHED
    asked: list[ExecutionRequest] = field(default_factory=list)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        self.asked.append(request)
        return self.result


class Judges(Protocol):
    """Judges submissions."""

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Judge one submission."""


@dataclass
class FakeRunner(Runner):
    """Judges and runs with results that a test gives."""

    judges: Judges = field(default_factory=FakeJudges)
    executor: FakeRuns = field(default_factory=FakeRuns)

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        return await self.judges.judge(request)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        return await self.executor.execute(request)


@asynccontextmanager
async def fake_workbench(
    executor: FakeRuns, judges: FakeJudges, loaded: LoadedSettings, environ: Environ, **_: object
) -> AsyncIterator[Workbench]:
    """Yield a workbench with the limits of a course that builds and runs nothing."""
    async with open_plain(loaded, environ, own_python=True) as bench:
        yield replace(bench, runner=FakeRunner(judges, executor))


def fake_tools(
    place: Path,
    *,
    judges: Judges | None = None,
    executor: FakeRuns | None = None,
    **changes: object,
) -> GradingTools:
    """Return tools that run nothing."""
    place.mkdir(parents=True, exist_ok=True)

    async def environment(text: str, progress: Progress) -> Path:
        return place / ("e-" + hashlib.sha256(text[:200].encode()).hexdigest()[:8])

    values: dict[str, object] = {
        "runner": FakeRunner(judges or FakeJudges(), executor or FakeRuns()),
        "environment": environment,
        "settings": Settings(),
        "contracts": ContractStore(place / "contracts"),
        "key": KEY,
        "now": lambda: NOW,
    }
    return GradingTools(**{**values, **changes})  # type: ignore[arg-type]


def written(
    place: Path, source: str | None = SOURCE, release: str | Literal[True] | None = True
) -> AssignmentFiles:
    """Write an assignment's files; ``True`` is the release that belongs to the source."""
    if release is True:
        release = None if source is None else release_of(source)
    found: dict[str, Path | None] = {"source": None, "release": None}
    for kind, text in (("source", source), ("release", release)):
        if text is not None:
            path = place / kind / "hw1" / "hw1.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            found[kind] = path
    return AssignmentFiles("hw1", found["source"], found["release"])


def hand_in(course: Path, **texts: str) -> None:
    """Write submissions of the assignment, by student."""
    submitted = course / "submitted" / "hw1"
    submitted.mkdir(parents=True, exist_ok=True)
    for student, text in texts.items():
        (submitted / f"{student}.py").write_text(text)


async def prepared(
    place: Path, tools: GradingTools, source: str | None = SOURCE
) -> GradedAssignment:
    """Return an assignment with a release, ready for grading."""
    release = release_of(source or SOURCE)
    return await prepare_assignment(written(place, source, release), tools, lambda _: None)
