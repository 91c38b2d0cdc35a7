"""Findings from judging the source apart from its checks, as grading does: junk that passes."""

from __future__ import annotations

import asyncio

from mograder.core.errors import MograderError
from mograder.grading.author.author_runs import AuthorRuns, RunReport, run_report
from mograder.grading.author.rehearsal import (
    Subject,
    Version,
    judge_empty,
    judged_otherwise,
    junk_passes,
    trial_of,
    unsteady_labels,
)
from mograder.grading.author.release_checks import judge_release
from mograder.grading.quality.quality_report import QualityReport
from mograder.grading.quality.trials import ExaminedSource, Trial
from mograder.notebook.quality.quality_finding import Fault, in_cell
from mograder.sandbox.execution.judging import JudgingResult


def report_of(text: str, filename: str, trial: Trial, seconds: float) -> RunReport:
    if trial.result is None:
        return RunReport(problem=trial.problem)
    return run_report(text, filename, trial.result, seconds)


def tell_release(source: ExaminedSource, run: RunReport, report: QualityReport) -> None:
    """Add what is wrong with the release's own run, in which nothing is answered."""
    found = judge_release(source.notebook.text, source.release, source.filename, run)
    faults = [(Fault.SOLUTION, each) for each in found.failures]
    faults += [(Fault.EMPTY, each) for each in (*found.early, *found.partly)]
    faults += [
        (Fault.GIVEN_AWAY if "hidden test" in each.message else Fault.MACHINE, each)
        for each in found.leaks
    ]
    for fault, finding in faults:
        report.add(in_cell(source.notebook, fault, finding))


async def judge_apart(
    source: ExaminedSource,
    plain: tuple[RunReport, RunReport],
    runs: AuthorRuns,
    report: QualityReport,
) -> str:
    """Judge the solution, junk and the release; return the contract, empty if there is none.

    ``plain`` are the plain runs of the source and its release.
    """
    text = source.notebook.text
    subject = Subject(
        source.filename,
        source.plan,
        Version(text, source.name, source.folder, plain[0]),
        Version(source.release, source.name, source.folder, plain[1]),
    )
    try:
        trial = await asyncio.to_thread(trial_of, subject, subject.source)
        own = await runs.judge(trial, lambda _: None)
        await asyncio.to_thread(_tell_solution, source, subject, own, report)
        if not own.contract:
            return ""
        empty = await asyncio.to_thread(trial_of, subject, subject.release, own.contract)
        result = await runs.judge(empty, lambda _: None)
    except MograderError as error:
        report.notes.append(f"Junk was not tried: {error}")
        return ""
    found = await asyncio.to_thread(judge_empty, subject, result)
    for finding in (*found.errors, *found.advice):
        report.add(in_cell(source.notebook, Fault.EMPTY, finding))
    return own.contract


def _tell_solution(
    source: ExaminedSource, subject: Subject, own: JudgingResult, report: QualityReport
) -> None:
    if own.problem:
        why = own.problem.splitlines()[0]
        report.notes.append(f"Junk was not tried: {why}")
        return
    for _, finding in judged_otherwise(subject, own):
        report.add(in_cell(source.notebook, Fault.SOLUTION, finding))
    if own.rehearsal is None:
        report.notes.append("Junk was not tried.")
        return
    for _, finding in unsteady_labels(subject, own.rehearsal):
        report.add(in_cell(source.notebook, Fault.RANDOM, finding))
    for finding in junk_passes(subject, own.rehearsal):
        report.add(in_cell(source.notebook, Fault.JUNK, finding))
    done, trials = own.rehearsal.done, own.rehearsal.trials
    if done < trials:
        report.notes.append(f"Only {done} of {trials} kinds of junk were tried; time was over.")
