"""The runs of a rehearsal of grading: a source with its solutions, then its release."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.single_flight import Progress
from mograder.grading.author_runs import AuthorTrial, Judge, RunReport
from mograder.grading.rehearsal import Solution, judge_empty, judge_solution
from mograder.notebook.findings import Finding
from mograder.notebook.grading_plan import GradingPlan, Role, render_plan
from mograder.notebook.grading_split import plan_source
from mograder.sandbox.execution.judging import JudgeFiles


@dataclass(frozen=True, slots=True)
class Version:
    """A source or its release: the text, the name, the files beside it, and its plain run."""

    text: str
    name: str
    folder: Path
    report: RunReport


@dataclass(frozen=True, slots=True)
class Subject:
    """What is rehearsed; ``filename`` is the source's for messages."""

    filename: str
    plan: GradingPlan
    source: Version
    release: Version


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Findings of a rehearsal, what the answers are, and the contract that was recorded."""

    errors: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    contract: str = ""


async def rehearse(subject: Subject, judge: Judge, progress: Progress) -> Rehearsed:
    """Rehearse the grading of a source by its own solution, by junk, and by its empty release.

    If it cannot be judged at all, that is advice.
    """
    try:
        return await _rehearse(subject, judge, progress)
    except MograderError as error:
        message = f"grading was not rehearsed: {error}"
        return Rehearsed(advice=(Finding(subject.filename, 1, message),))


async def _rehearse(subject: Subject, judge: Judge, progress: Progress) -> Rehearsed:
    plan = subject.plan
    own = await judge(await asyncio.to_thread(_trial, subject, subject.source), progress)
    solution = Solution(subject.filename, plan, subject.source.report)
    found = await asyncio.to_thread(judge_solution, solution, own)
    answers = own.rehearsal.answers if own.rehearsal is not None else {}
    if found.errors or not own.contract:
        return Rehearsed(found.errors, found.advice, answers)
    trial = await asyncio.to_thread(_trial, subject, subject.release, own.contract)
    empty = judge_empty(solution, subject.release.report, await judge(trial, progress))
    advice = tuple(sorted((*found.advice, *empty.advice)))
    return Rehearsed(empty.errors, advice, answers, own.contract)


def _trial(subject: Subject, version: Version, contract: str | None = None) -> AuthorTrial:
    plan = subject.plan
    own = plan if contract is None else plan_source(version.text, version.name).plan
    return AuthorTrial(
        text=version.text,
        name=version.name,
        folder=version.folder,
        files=JudgeFiles(render_plan(plan), contract, subject.source.folder),
        interface=tuple(each.name for each in plan.answers),
        skip=tuple(cell.index for cell in own.cells if cell.role is Role.CHECK),
    )
