"""Grading of many submissions, a few at a time; each of them ends in a row.

A submission is read when its turn comes, and its result is handed on and dropped, so that memory
does not grow with their number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.grading.pages.notebook_page import render_notebook_page, render_text_page
from mograder.grading.results.grading_result import GradingResult, render_result, sign_result
from mograder.grading.results.result_row import ResultRow, row_of, status_of, unread_row
from mograder.grading.runs.grading_tools import GradingTools
from mograder.grading.submissions.grade_submission import (
    GradedNotebook,
    SubmittedNotebook,
    grade_submission,
)
from mograder.grading.submissions.graded_assignment import GradedAssignment
from mograder.grading.submissions.submitted_text import read_submission
from mograder.grading.validation.report import CheckStatus
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.report import CellResult
from mograder.store.gradebook.grading_records import CheckResult, GradingRun, RunQuestion
from mograder.store.submissions.submitted_files import SubmittedFile

_log = get_logger(__name__)

Keep = Callable[[GradedNotebook, str], Sequence[str]]
"""Keeps a result and its page on the disk, and returns sentences for the grader; it may block.

Raises :class:`MograderError` where nothing can be kept, which ends the batch.
"""

Screen = Callable[[SubmittedNotebook], Awaitable[str]]
"""Returns why a submission must not run, empty if it may."""

Watch = Callable[[ResultRow, int, int], None]
"""Is called for each submission that has ended: its row, how many have, and how many there are."""


async def grade_batch(  # the parts of one batch
    assignment: GradedAssignment,
    submissions: Sequence[SubmittedFile],
    tools: GradingTools,
    keep: Keep,
    watch: Watch,
    *,
    jobs: int,
    screen: Screen | None = None,
) -> tuple[ResultRow, ...]:
    """Grade submissions, ``jobs`` at a time; return their rows in the same order.

    If it is cancelled, results that are being kept are kept completely, and the others dropped.

    Raises:
        MograderError: A result could not be kept.
    """
    rows: dict[int, ResultRow] = {}
    waiting = iter(enumerate(submissions))

    async def work(waiting: Iterator[tuple[int, SubmittedFile]]) -> None:
        for number, file in waiting:
            rows[number] = row = await _grade_one(assignment, file, tools, keep, screen)
            watch(row, len(rows), len(submissions))

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(jobs, len(submissions))):
                tasks.create_task(work(waiting))
    except ExceptionGroup as group:
        told = group.subgroup(MograderError)
        raise (told or group).exceptions[0] from None
    return tuple(rows[number] for number in range(len(submissions)))


async def _grade_one(
    assignment: GradedAssignment,
    file: SubmittedFile,
    tools: GradingTools,
    keep: Keep,
    screen: Screen | None,
) -> ResultRow:
    if file.problem:
        return unread_row(file.student, file.problem)
    try:
        data = await asyncio.to_thread(read_submission, file.path)
        submitted = SubmittedNotebook(file.student, file.path, data, file.received, file.receipt)
        refusal = "" if screen is None else await screen(submitted)
        graded = await grade_submission(assignment, submitted, tools, refusal)
        page = await _page(graded, tools.apart)
    except MograderError as error:
        return unread_row(file.student, str(error))
    except Exception as error:  # noqa: BLE001  # a fault of ours is one row, and the others go on
        _log.exception("%s of %s cannot be graded", file.student, assignment.name)
        return unread_row(file.student, f"a fault of mograder: {type(error).__name__}: {error}")
    return row_of(graded.result, notes=await _kept(keep, graded, page))


async def _page(graded: GradedNotebook, apart: IsolatedCall) -> str:
    """Return the page of the notebook as it ran.

    A student's markup can be such that reading it takes hours, so it is read apart, and the page
    has no outputs if that takes too long.
    """
    text, name, problem = graded.text, graded.result.filename, ""
    for cells in (graded.cells, tuple(map(_without_outputs, graded.cells))):
        size = len(text) + sum(len(cell.shown) for cell in cells)
        try:
            return await apart.call(partial(render_notebook_page, text, name, cells), size=size)
        except InvalidInput as error:
            problem = error.message
    return render_text_page(text, name, problem)


def _without_outputs(cell: CellResult) -> CellResult:
    return replace(cell, outputs=tuple(replace(each, data="") for each in cell.outputs))


async def _kept(keep: Keep, graded: GradedNotebook, page: str) -> Sequence[str]:
    """Keep a result in a thread, which is waited for even if the batch is cancelled meanwhile."""
    writing = asyncio.create_task(asyncio.to_thread(keep, graded, page))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def run_of(result: GradingResult, key: bytes) -> GradingRun:
    """Return the signed record of a result, in the words of 0.3.16 where its tables hold it."""
    available = {q.key: q.available for q in result.questions if q.available is not None}
    return GradingRun(
        assignment=result.assignment,
        student=result.student,
        submission_sha256=result.submission_sha256,
        state=result.state,
        result=render_result(result),
        signature=sign_result(key, result),
        at=datetime.fromisoformat(result.at),
        questions=tuple(
            RunQuestion(each.key, each.earned, each.available, each.state, each.reason)
            for each in result.questions
        ),
        checks=tuple(
            CheckResult(label.label, _word(status_of(check, label)), label.hidden)
            for check in result.checks
            for label in check.labels
        ),
        cell_errors=len(result.cell_errors),
        tampered=result.tampered,
        marks=available or None,
        max_mark=result.max_mark,
        problem=result.problem,
        received=datetime.fromisoformat(result.received) if result.received else None,
        receipt=result.receipt,
    )


def _word(status: CheckStatus) -> str:
    """Return 0.3.16's word, which has none for a check that was not run."""
    return CheckStatus.WARN if status is CheckStatus.NOT_RUN else status
