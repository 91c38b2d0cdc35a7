"""Grading of an assignment's submissions: those that are not up to date, into files and gradebook.

A result is up to date if it was made of the same submission, source, contract and release, of the
same files beside these, in the same environment, and by the same mograder. So a run that was
interrupted goes on where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.grading.batch.autograded_files import AutogradedFiles
from mograder.grading.batch.grading_batch import Screen, grade_batch, run_of
from mograder.grading.results.grading_result import Basis, GradingResult, GradingState
from mograder.grading.results.result_row import Column, ResultRow, columns_of, row_of
from mograder.grading.runs.grading_tools import GradingTools
from mograder.grading.submissions.grade_submission import GradedNotebook, SubmittedNotebook
from mograder.grading.submissions.graded_assignment import (
    AssignmentFiles,
    GradedAssignment,
    prepare_assignment,
)
from mograder.grading.submissions.submitted_text import read_submission
from mograder.notebook.decoding import decode_notebook
from mograder.notebook.integrity.denied_code import Denied
from mograder.processes.isolated_call import IsolatedCall
from mograder.processes.notebook_calls import screen
from mograder.sandbox.protocol import Deadlines, Limits
from mograder.store.gradebook.grading_records import GradingRun
from mograder.store.submissions.submitted_files import SubmittedFile


@dataclass(frozen=True, slots=True)
class AutogradeRequest:
    """The submissions of one assignment to grade, and how.

    With ``force`` results that are up to date are made again; with ``failed`` only those that
    need attention, were not run, or do not exist. ``whole`` is whether these are all submissions
    of the assignment. ``denied`` is code for which a submission is not run. ``limits`` and
    ``deadlines`` are derived from those of the assignment.
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
        """The labels of the source, else those of the results."""
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


async def autograde(
    request: AutogradeRequest,
    tools: GradingTools,
    record: Callable[[GradingRun], object],
    watch: AutogradeWatch,
) -> Autograded:
    """Grade an assignment's submissions; ``record`` puts a result into the gradebook.

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
    files = AutogradedFiles(request.output, assignment.name, tools.key)
    waiting, current = await _divide(request, assignment, files, watch.warn)
    watch.begins(assignment, len(waiting), len(current))

    def keep(graded: GradedNotebook, page: str) -> Sequence[str]:
        notes = files.write_copy(graded, page)
        signed = files.sign(graded.result)
        record(run_of(signed))
        files.write_result(signed)
        return notes

    screen = _screen(assignment, request.denied)
    rows = await grade_batch(
        assignment, waiting, tools, keep, watch.ended, jobs=request.jobs, screen=screen
    )
    source = assignment.basis.source_sha256
    if request.whole and source and any(not row.problem for row in rows):
        await asyncio.to_thread(files.write_source_hash, source)
    return Autograded(assignment, _ordered([*rows, *current]), request.output)


def _ordered(rows: Sequence[ResultRow]) -> tuple[ResultRow, ...]:
    return tuple(sorted(rows, key=lambda row: row.student.casefold()))


async def _divide(
    request: AutogradeRequest,
    assignment: GradedAssignment,
    files: AutogradedFiles,
    warn: Callable[[str], None],
) -> tuple[list[SubmittedFile], list[ResultRow]]:
    """Return the submissions to grade, and the rows of those whose result is up to date."""
    waiting: list[SubmittedFile] = []
    current: list[ResultRow] = []
    basis = assignment.basis
    for file in request.submissions:
        known = None if file.problem else await asyncio.to_thread(_known, file, files, warn)
        if request.failed and known is not None and not _has_failed(known):
            continue
        kept = None if request.force or request.failed else known
        if kept is not None and await asyncio.to_thread(_is_current, file, kept, basis, files):
            current.append(row_of(kept, fresh=False))
            continue
        waiting.append(file)
    return waiting, current


def _known(
    file: SubmittedFile, files: AutogradedFiles, warn: Callable[[str], None]
) -> GradingResult | None:
    try:
        return files.read(file.student).result
    except NotFound:
        return None
    except InvalidInput as error:
        warn(error.message)
        return None


def _has_failed(known: GradingResult) -> bool:
    return known.state is GradingState.NOT_RUN or known.needs_attention


def _is_current(
    file: SubmittedFile, known: GradingResult, basis: Basis, files: AutogradedFiles
) -> bool:
    """Return whether a result is of this submission on this basis, with its other files.

    One that needs attention never is: the cause may be gone.
    """
    if known.needs_attention or known.basis != basis or not files.complete(file.student):
        return False
    try:
        return hashlib.sha256(read_submission(file.path)).hexdigest() == known.submission_sha256
    except MograderError:
        return False


def _screen(assignment: GradedAssignment, denied: Denied | None) -> Screen | None:
    """Return how to find code for which a submission is not run, None if no code is denied.

    A text that cannot be parsed has no such code; grading reports it.
    """
    if denied is None:
        return None
    apart, release = IsolatedCall(), assignment.release

    async def told(submitted: SubmittedNotebook) -> str:
        name = submitted.path.name
        try:
            text = decode_notebook(submitted.data, name)
            look = partial(screen, text, name, release=release, denied=denied)
            found = await apart.call(look, size=len(text) + len(release or ""))
        except MograderError:
            return ""
        said = "; ".join(f"{each.message} (line {each.line})" for each in found.denied)
        return f"safety check failed: {said}" if said else ""

    return told
