"""Comparison of results with their signatures, their files, and the gradebook.

Nothing is run or changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.grading.batch.autograded_files import AutogradedFiles, SignedResult
from mograder.grading.submissions.graded_assignment import AssignmentFiles
from mograder.grading.submissions.submitted_text import read_submission
from mograder.store.gradebook import Gradebook
from mograder.store.submitted_files import SubmittedFile


@dataclass(frozen=True, slots=True)
class Verified:
    """A student's result, and sentences about what does not fit."""

    student: str
    problems: tuple[str, ...] = ()


def verify_results(
    files: AutogradedFiles,
    assignment: AssignmentFiles,
    submissions: Sequence[SubmittedFile],
    gradebook: Gradebook | None,
) -> tuple[Verified, ...]:
    """Return the results of these students, with what does not fit."""
    known = {each.student: each for each in submissions}
    source, release = _digest(assignment.source), _digest(assignment.release)
    found = []
    for student in files.students():
        if student not in known:
            continue
        try:
            signed = files.read(student)
        except MograderError as error:
            found.append(Verified(student, (error.message,)))
            continue
        problems = [
            *_differences(signed, known[student], source, release),
            *_in_gradebook(signed, gradebook),
        ]
        found.append(Verified(student, tuple(problems)))
    return tuple(found)


def _differences(
    signed: SignedResult, file: SubmittedFile, source: str, release: str
) -> Iterator[str]:
    result = signed.result
    try:
        submission = file.problem or hashlib.sha256(read_submission(file.path)).hexdigest()
    except MograderError as error:
        submission = str(error)
    if submission != result.submission_sha256:
        yield "the submission is another one than the graded one"
    if result.source_sha256 != source:
        yield "the source has changed since"
    if result.release_sha256 and result.release_sha256 != release:
        yield "the release has changed since"


def _in_gradebook(signed: SignedResult, gradebook: Gradebook | None) -> Iterator[str]:
    result = signed.result
    if gradebook is None:
        yield "there is no gradebook"
        return
    runs = gradebook.runs(result.assignment, result.student)
    if not runs or runs[-1].signature != signed.signature:
        yield "the gradebook has another result"


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
