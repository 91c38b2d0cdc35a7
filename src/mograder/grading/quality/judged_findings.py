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
from mograder.grading.author.release_checks import passing_too_soon, shown_by_release
from mograder.grading.quality.quality_report import QualityReport
from mograder.grading.quality.trials import ExaminedSource, Trial
from mograder.notebook.findings import Finding
from mograder.notebook.quality.quality_finding import Fault, in_cell
from mograder.sandbox.execution.judging import JudgingResult


def report_of(text: str, filename: str, trial: Trial, seconds: float) -> RunReport:
    if trial.result is None:
        return RunReport(problem=trial.problem)
    return run_report(text, filename, trial.result, seconds)


def tell_release(source: ExaminedSource, run: RunReport, report: QualityReport) -> None:
    """Add what is wrong with the release's own run, in which nothing is answered."""
    text, release, filename = source.notebook.text, source.release, source.filename
    if run.problem:
        told = Finding(filename, 1, f"without its solutions it did not run: {run.problem}")
        report.add(in_cell(source.notebook, Fault.SOLUTION, told))
        return
    for error in run.cell_errors:
        message = f"without the solutions, a cell fails: {error.message}"
        told = Finding(filename, 1, message, error.hint)
        report.add(in_cell(source.notebook, Fault.SOLUTION, told))
    for finding in passing_too_soon(text, release, filename, run):
        report.add(in_cell(source.notebook, Fault.EMPTY, finding))
    for finding in shown_by_release(text, release, filename, run):
        fault = Fault.GIVEN_AWAY if "hidden test" in finding.message else Fault.MACHINE
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
