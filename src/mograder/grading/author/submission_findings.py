"""Checks that nearly everybody or nobody passes, from submissions that are judged as grading does.

Submissions are strangers' programs, so they run in sandboxes only, and their text is not parsed
here. Nothing is kept: these results are no marks.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.grading.author.author_runs import AuthorRuns, AuthorTrial
from mograder.grading.author.quality_trials import ExaminedSource, QualityReport, Submissions
from mograder.grading.item_statistics import CheckStatistics
from mograder.grading.submissions.contract_recording import check_digests, interface_of
from mograder.grading.submissions.grading_result import GradingState
from mograder.grading.submissions.submitted_text import decode_submission, read_submission
from mograder.notebook.grading.checks_advice import Fault, QualityFinding
from mograder.notebook.grading.grading_plan import answers_of_labels
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import JudgeFiles
from mograder.sandbox.inside.grading_contract import Contract
from mograder.store.submissions.submitted_files import SubmittedFile, submitted_files

assert sys.platform == "linux"  # submissions are opened without following links

_REMEDIES = {
    Fault.NOBODY: "Ask whether the task is clear, and the check right.",
    Fault.EVERYBODY: "Add a case that tells apart who has understood it, if that is wanted.",
}


def submissions_in(directory: Path, folder: Path) -> Submissions:
    """``folder`` is the release's. Raises: InvalidInput if the directory cannot be read."""
    return Submissions(submitted_files(directory), folder)


async def tell_submissions(
    source: ExaminedSource,
    submissions: Submissions,
    contract: Contract,
    runs: AuthorRuns,
    report: QualityReport,
    done: Callable[[], None],
) -> None:
    """Judge submissions, and add the checks that nearly all or hardly any of them pass."""
    digests = await asyncio.to_thread(_skipped, source)
    passed: Counter[str] = Counter()
    judged: Counter[str] = Counter()

    async def judge(file: SubmittedFile) -> None:
        try:
            labels = await _judged(source, submissions, file, contract, digests, runs)
        except MograderError as error:
            report.notes.append(f"The submission of {file.student} was not judged: {error}")
            labels = {}
        for label, holds in labels.items():
            judged[label] += 1
            passed[label] += holds
        done()

    async with asyncio.TaskGroup() as group:  # the judge takes so many at a time as it is told
        for file in submissions.files:
            group.create_task(judge(file))
    counts = [CheckStatistics(label, number, passed[label]) for label, number in judged.items()]
    for finding in facts(source, counts):
        report.add(finding)


def facts(source: ExaminedSource, counts: Sequence[CheckStatistics]) -> list[QualityFinding]:
    labels = answers_of_labels(source.plan)
    places = {label: (info.line, cell) for (cell, label), info in labels.items()}
    found = []
    for each in counts:
        if not each.advice:
            continue
        line, cell = places.get(each.label, (1, None))
        fault = Fault.EVERYBODY if 2 * each.passed > each.students else Fault.NOBODY
        told = f"{each.label!r}: {each.passed} of {each.students} submissions pass."
        index = None if cell is None else cell + 1
        found.append(
            QualityFinding(source.filename, line, fault, told, _REMEDIES[fault], "", index)
        )
    return found


def _skipped(source: ExaminedSource) -> tuple[str, ...]:
    released = plan_source(source.release, source.filename).plan
    checks = check_digests(source.notebook.text, source.plan)
    return tuple(sorted(checks | check_digests(source.release, released)))


async def _judged(
    source: ExaminedSource,
    submissions: Submissions,
    file: SubmittedFile,
    contract: Contract,
    skip: tuple[str, ...],
    runs: AuthorRuns,
) -> Mapping[str, bool]:
    """Return which labels with a result pass. Raises: MograderError if not to be read or judged."""
    if file.problem:
        raise InvalidInput(file.problem)
    data = await asyncio.to_thread(read_submission, file.path)
    trial = AuthorTrial(
        text=decode_submission(data, file.path.name),
        name=source.name,
        folder=submissions.folder,
        files=JudgeFiles(source.plan, contract, source.folder),
        interface=interface_of(source.plan),
        skip=skip,
        header=source.notebook.text,
    )
    result = await runs.judge(trial, lambda _: None)
    lost = GradingState.NEEDS_ATTENTION
    known = (check for check in result.checks if GradingState(check.state) is not lost)
    return {each.label: each.passed for check in known for each in check.labels}
