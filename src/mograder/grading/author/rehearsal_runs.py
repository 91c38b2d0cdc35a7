"""The runs of a rehearsal of grading: a source with its solutions, then its release."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.single_flight import Progress
from mograder.grading.author.author_runs import AuthorJudging, AuthorTrial, RunReport
from mograder.grading.author.rehearsal import Solution, judge_empty, judge_solution
from mograder.grading.submissions.contract_recording import (
    check_digests,
    contract_problems,
    interface_of,
)
from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan, render_plan
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.source.author_advice import without_mark
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
    """A source and its release to rehearse; ``filename`` is the source's for messages."""

    filename: str
    plan: GradingPlan
    source: Version
    release: Version


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Findings of a rehearsal, and what the answers are in words."""

    errors: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


async def rehearse(subject: Subject, judging: AuthorJudging, progress: Progress) -> Rehearsed:
    """Rehearse the grading of a source by its own solution, by junk, and by its empty release.

    The contract that the solution shows is kept, so that grading needs not record it, unless
    grading would refuse it. If the solution cannot be judged at all, that is advice.
    """
    try:
        return await _rehearse(subject, judging, progress)
    except MograderError as error:
        message = f"grading was not rehearsed: {error}"
        return Rehearsed(advice=(Finding(subject.filename, 1, message),))


async def _rehearse(subject: Subject, judging: AuthorJudging, progress: Progress) -> Rehearsed:
    plan = subject.plan
    trial = await asyncio.to_thread(trial_of, subject, subject.source)
    own = await judging.judge(trial, progress)
    solution = Solution(subject.filename, plan, subject.source.report)
    found = await asyncio.to_thread(judge_solution, solution, own)
    answers = own.rehearsal.answers if own.rehearsal is not None else {}
    if found.errors or not own.contract:
        return Rehearsed(found.errors, found.advice, answers)
    release = await asyncio.to_thread(trial_of, subject, subject.release, own.contract)
    result = await judging.judge(release, progress)
    empty = judge_empty(solution, subject.release.report, result)
    if not empty.errors and not contract_problems(subject.filename, plan, own):
        await judging.keep(trial, own.contract)
    advice = tuple(sorted((*found.advice, *empty.advice)))
    return Rehearsed(empty.errors, advice, answers)


def trial_of(subject: Subject, version: Version, contract: str | None = None) -> AuthorTrial:
    """Return a version of an item to judge; without a contract, the solution is recorded."""
    plan, checks = subject.plan, check_digests(subject.source.text, subject.plan)
    if contract is not None:  # a form to submit may have been added, so cells have other indexes
        checks |= check_digests(version.text, plan_source(version.text, version.name).plan)
    return AuthorTrial(
        text=without_mark(version.text),
        name=version.name,
        folder=version.folder,
        files=JudgeFiles(render_plan(plan), contract, subject.source.folder),
        interface=interface_of(plan),
        skip=tuple(sorted(checks)),
    )
