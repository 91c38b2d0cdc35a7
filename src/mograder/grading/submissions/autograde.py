"""Grading of an assignment's submissions: those that are not up to date, into files and gradebook.

A result is up to date if it was made of the same submission, source, contract and release, of the
same files beside these, in the same environment, and by the same mograder. So a run that was
interrupted goes on where it was.

``autograded/<assignment>/<student>.py`` and ``.html`` are the files of 0.3.16
(compatibility-0.3.16.md 9), private to their owner. Those before are removed, then the result is
recorded, then they are written: wherever this ends, none is of other work than the last result.

A few submissions are graded at a time. Each is read when its turn comes, and ends in a row; its
result is handed on and dropped, so that memory does not grow with their number.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from mograder.core.clock import from_unix_or_none, is_after
from mograder.core.errors import Busy, Conflict, InvalidInput, MograderError, TooLarge
from mograder.core.log import get_logger
from mograder.grading.pages.notebook_page import render_notebook_page, render_text_page
from mograder.grading.submissions.grade_submission import (
    GradedNotebook,
    SubmittedNotebook,
    grade_submission,
)
from mograder.grading.submissions.graded_assignment import (
    AssignmentFiles,
    GradedAssignment,
    prepare_assignment,
    source_name,
)
from mograder.grading.submissions.grading_result import (
    Basis,
    GradingResult,
    GradingState,
    render_result,
    result_of_run,
    sign_result,
)
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.grading.submissions.result_forms import (
    Column,
    ResultRow,
    columns_of,
    grading_copy,
    row_of,
    status_of,
    unread_row,
)
from mograder.grading.submissions.submitted_text import read_submission
from mograder.grading.validation_report import CheckStatus
from mograder.notebook.denied_code import Denied
from mograder.notebook.parsing import decode_notebook
from mograder.processes.isolated_call import IsolatedCall
from mograder.processes.notebook_calls import screen
from mograder.sandbox.protocol import Deadlines, Limits
from mograder.store.filesystem.files import atomic_write
from mograder.store.gradebook.grading_records import (
    CheckResult,
    GradingRun,
    RecordedMark,
    RecordedRun,
)
from mograder.store.submissions.submitted_files import SubmittedFile, read_numbers, submitted_files

_log = get_logger(__name__)

SOURCE_HASH = ".mograder_source_hash"
"""The file in which 0.3.16 keeps the SHA-256 of the source that results were made with."""

_PRIVATE = 0o600

_Keep = Callable[[SubmittedFile, GradedNotebook, str], Sequence[str]]
"""Keeps a result and its page, and returns sentences for the grader.

Raises :class:`Conflict` for a result that must not be kept; another error ends the run.
"""

_Screen = Callable[[SubmittedNotebook], Awaitable[str]]
"""Returns why a submission must not run, empty if it may."""


@dataclass(frozen=True, slots=True)
class AutogradeRequest:
    """The submissions of one assignment to grade, and how.

    With ``force`` results that are up to date are made again, with the times of submission that
    are known now; with ``failed`` only those that need attention, were not run, or do not exist.
    ``whole`` is whether these are all submissions of the assignment. ``denied`` is code for which a
    submission is not run. ``limits`` and ``deadlines`` are derived from those of the assignment.
    """

    files: AssignmentFiles
    submissions: tuple[SubmittedFile, ...]
    output: Path
    jobs: int
    force: bool = False
    failed: bool = False
    whole: bool = True
    denied: Denied | None = None
    limits: Callable[[Limits], Limits] = field(default=lambda limits: limits)
    deadlines: Callable[[Deadlines], Deadlines] = field(default=lambda deadlines: deadlines)


@dataclass(frozen=True, slots=True)
class Autograded:
    """The results of grading an assignment: a row for each submission, graded now or before."""

    assignment: GradedAssignment
    rows: tuple[ResultRow, ...]
    output: Path

    @property
    def columns(self) -> tuple[Column, ...]:
        expected = (Column(each.label, each.key) for each in self.assignment.labels)
        return tuple(dict.fromkeys(expected)) or columns_of(self.rows)


class AutogradeWatch(Protocol):
    """Is told how grading goes on."""

    def progress(self, message: str, /) -> None:
        """Take a sentence about the preparation."""

    def begins(self, assignment: GradedAssignment, total: int, skipped: int, /) -> None:
        """Take the numbers of submissions that are graded now, and that are up to date."""

    def ended(self, row: ResultRow, completed: int, total: int, /) -> None:
        """Take the row of a submission that was graded now."""

    def warn(self, message: str, /) -> None:
        """Take a sentence about something that the grader should know."""


class Results(Protocol):
    """Keeps results as :class:`~mograder.store.gradebook.gradebook.Gradebook` does."""

    def record_run(self, run: GradingRun, /) -> object:
        """Keep the result of a submission."""

    def last_run(self, assignment: str, student: str, work: str = "", /) -> RecordedRun | None:
        """Return the newest result of a student's submissions, or of one; None without any.

        ``work`` is that one's SHA-256.
        """


async def autograde(
    request: AutogradeRequest, tools: GradingTools, results: Results, watch: AutogradeWatch
) -> Autograded:
    """Grade an assignment's submissions, and keep their results.

    Raises:
        MograderError: The assignment cannot be prepared, so nothing was graded; or a result could
            not be kept, which ended the run: those before are complete.
    """
    prepared = await prepare_assignment(request.files, tools, watch.progress)
    assignment = replace(
        prepared,
        limits=request.limits(prepared.limits),
        deadlines=request.deadlines(prepared.deadlines),
    )
    for warning in assignment.warnings:
        watch.warn(warning)

    def known(student: str) -> GradingResult | None:
        run = results.last_run(assignment.name, student)
        if run is None:
            return None
        last = result_of_run(tools.key, run)
        if last.problem:
            watch.warn(f"{student} is graded again: {last.problem}.")
        return last.result

    waiting, current = await asyncio.to_thread(_divide, request, assignment, known)
    watch.begins(assignment, len(waiting), len(current))

    def keep(file: SubmittedFile, graded: GradedNotebook, page: str) -> Sequence[str]:
        run = results.last_run(assignment.name, file.student)
        _refuse_earlier(file, graded.result, run)
        result = graded.result
        if not (request.force and result.received):  # with it, a wrong early time can be corrected
            result = _first_received(result, results, tools.key)
        for path in _copy(request.output, result.student):
            path.unlink(missing_ok=True)
        results.record_run(run_of(result, tools.key))
        return write_copy(request.output, graded, page)

    grade = partial(_grade_one, assignment, tools, keep, _screen(assignment, request.denied))
    rows = await _grade_batch(waiting, grade, watch.ended, request.jobs)
    source = assignment.basis.source_sha256
    every = request.whole and not request.failed  # else older results may be of another source
    if every and source and any(not row.problem for row in rows):
        await asyncio.to_thread(_write, request.output / SOURCE_HASH, f"{source}\n")
    ordered = sorted([*rows, *current], key=lambda row: (row.student.casefold(), row.student))
    return Autograded(assignment, tuple(ordered), request.output)


async def _grade_batch(
    submissions: Sequence[SubmittedFile],
    grade: Callable[[SubmittedFile], Awaitable[ResultRow]],
    ended: Callable[[ResultRow, int, int], None],
    jobs: int,
) -> list[ResultRow]:
    """Grade submissions, ``jobs`` at a time; return their rows.

    If it is cancelled, results that are being kept are kept completely, and the others dropped.

    Raises: MograderError if a result could not be kept.
    """
    rows: list[ResultRow] = []
    waiting = iter(submissions)

    async def work() -> None:
        for file in waiting:
            row = await grade(file)
            rows.append(row)
            ended(row, len(rows), len(submissions))

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(jobs, len(submissions))):
                tasks.create_task(work())
    except ExceptionGroup as group:
        told = group.subgroup(MograderError)
        raise (told or group).exceptions[0] from None
    return rows


def _refuse_earlier(file: SubmittedFile, result: GradingResult, last: RecordedRun | None) -> None:
    """Refuse a result if other work counts by now, and that was graded meanwhile."""
    if file.counts_as is None or last is None or last.submission_sha256 == result.submission_sha256:
        return
    try:
        (now,) = submitted_files(file.counts_as.parent, named=[file.counts_as])
        is_last = not now.problem and _is_of(now.path, last.submission_sha256)
    except InvalidInput:  # the directory is gone
        return
    if is_last:
        raise Conflict("A newer submission was graded meanwhile. Its result stays.")


def _is_of(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(read_submission(path)).hexdigest() == sha256
    except MograderError:
        return False


def _copy(directory: Path, student: str) -> tuple[Path, Path]:
    return directory / f"{student}.py", directory / f"{student}.html"


def write_copy(directory: Path, graded: GradedNotebook, page: str) -> tuple[str, ...]:
    """Write ``.py``, and ``.html`` with a page; return sentences about changes of the text."""
    text, taken_out = grading_copy(graded.text, graded.result)
    notebook, shown = _copy(directory, graded.result.student)
    _write(notebook, text)
    _write(shown, page)
    if not taken_out:
        return ()
    removed = ", ".join(each.strip("# =") for each in taken_out)
    return (f"text that only grading writes was taken out of the copy: {removed}",)


def _first_received(result: GradingResult, results: Results, key: bytes) -> GradingResult:
    """Return the result, with the time of the last one of the same work if that is an earlier one.

    The same file may be uploaded again: what it is fetched with then is the time of that.
    """
    run = results.last_run(result.assignment, result.student, result.submission_sha256)
    last = result_of_run(key, run).result
    if last is None or not last.received:
        return result
    earlier = datetime.fromisoformat(last.received)
    if result.received and not is_after(datetime.fromisoformat(result.received), earlier):
        return result
    return result.model_copy(update={"received": last.received, "receipt": last.receipt})


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
            RecordedMark(0, each.key, each.earned, each.available, str(each.state), each.reason)
            for each in result.questions
        ),
        checks=tuple(
            # 0.3.16 has no word for a check that was not run.
            CheckResult(
                label.label,
                CheckStatus.WARN if status is CheckStatus.NOT_RUN else status,
                label.hidden,
            )
            for check in result.checks
            for label in check.labels
            for status in [status_of(check, label)]
        ),
        cell_errors=len(result.cell_errors),
        tampered=result.tampered,
        marks=available or None,
        max_mark=result.max_mark,
        problem=result.problem,
        received=datetime.fromisoformat(result.received) if result.received else None,
        receipt=result.receipt,
    )


def _divide(
    request: AutogradeRequest,
    assignment: GradedAssignment,
    known: Callable[[str], GradingResult | None],
) -> tuple[list[SubmittedFile], list[ResultRow]]:
    waiting: list[SubmittedFile] = []
    current: list[ResultRow] = []
    for file in request.submissions:
        kept = None if file.problem or request.force else known(file.student)
        if kept is None:
            waiting.append(file)
        elif request.failed:
            if kept.state is GradingState.NOT_RUN or kept.needs_attention:
                waiting.append(file)
        elif _is_current(file, kept, assignment.basis, request.output):
            current.append(row_of(kept, fresh=False))
        else:
            waiting.append(file)
    return waiting, current


def _is_current(file: SubmittedFile, known: GradingResult, basis: Basis, directory: Path) -> bool:
    """Return whether a result is of this submission on this basis, with its other files.

    One that needs attention never is: the cause may be gone. 0.3.16 counts an empty page as
    missing.
    """
    copy = _copy(directory, file.student)
    is_complete = all(path.is_file() and path.stat().st_size > 0 for path in copy)
    if known.needs_attention or known.basis != basis or not is_complete:
        return False
    return _is_of(file.path, known.submission_sha256)


def _screen(assignment: GradedAssignment, denied: Denied | None) -> _Screen | None:
    """Return how to find denied code; a text that is no Python has none, and grading reports it."""
    if denied is None:
        return None
    apart, release = IsolatedCall(), assignment.release

    async def told(submitted: SubmittedNotebook) -> str:
        name = submitted.path.name
        try:
            text = decode_notebook(submitted.data, name)
            look = partial(screen, text, name, release=release, denied=denied)
            found = await apart.call(look, size=len(text) + len(release or ""))
        except (InvalidInput, TooLarge):
            return ""
        said = "; ".join(f"{each.message} (line {each.line})" for each in found.denied)
        return f"safety check failed: {said}" if said else ""

    return told


async def _grade_one(
    assignment: GradedAssignment,
    tools: GradingTools,
    keep: _Keep,
    screen: _Screen | None,
    file: SubmittedFile,
) -> ResultRow:
    if file.problem:
        return unread_row(file.student, file.problem)
    try:
        data = await asyncio.to_thread(read_submission, file.path)
        if await asyncio.to_thread(_is_fetched_again, file):
            return unread_row(file.student, "was fetched again meanwhile: grade it again")
        submitted = SubmittedNotebook(file.student, file.path, data, file.received, file.receipt)
        refusal = "" if screen is None else await screen(submitted)
        graded = await grade_submission(assignment, submitted, tools, refusal)
        page = await _page(graded, tools.apart)
    except MograderError as error:
        return unread_row(file.student, str(error))
    except Exception as error:  # noqa: BLE001  # a fault of ours is one row, and the others go on
        _log.exception("%s of %s cannot be graded", file.student, assignment.name)
        return unread_row(file.student, f"a fault of mograder: {type(error).__name__}: {error}")
    try:
        row = row_of(graded.result, notes=await _kept(partial(keep, file, graded, page)))
    except Conflict as error:
        return unread_row(file.student, str(error))
    # The reason is kept without the student's name, and told here with it.
    authors, own = source_name(assignment), graded.result.filename
    of_file = row.problem.startswith(authors)
    return replace(row, problem=own + row.problem.removeprefix(authors)) if of_file else row


def _is_fetched_again(file: SubmittedFile) -> bool:
    """Return whether a fetched file, after it was read, has another time than when it was listed.

    Collecting drops the time of a file before it replaces the file.
    """
    if file.receipt is not None or file.received is None or file.path != file.counts_as:
        return False
    return from_unix_or_none(read_numbers(file.path.parent).get(file.student)) != file.received


async def _page(graded: GradedNotebook, apart: IsolatedCall) -> str:
    """Return the page of the notebook as it ran.

    A student's markup can be such that reading it takes hours, so it is read apart, and the page
    has no outputs if that takes too long.
    """
    text, name, problem = graded.text, graded.result.filename, ""
    bare = tuple(
        replace(cell, outputs=tuple(replace(each, data="") for each in cell.outputs))
        for cell in graded.cells
    )
    for cells in (graded.cells, bare):
        size = len(text) + sum(len(cell.shown) for cell in cells)
        try:
            return await apart.call(partial(render_notebook_page, text, name, cells), size=size)
        except (InvalidInput, Busy) as error:
            problem = error.message
    return render_text_page(text, name, problem)


async def _kept(keep: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Keep a result in a thread, which is waited for even if the batch is cancelled meanwhile."""
    writing = asyncio.create_task(asyncio.to_thread(keep))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text.encode("utf-8", "replace"), _PRIVATE)
