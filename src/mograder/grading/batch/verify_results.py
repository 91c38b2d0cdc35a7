"""Comparison of results with their signatures, their files, and the gradebook.

Nothing is run or changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mograder.core.errors import MograderError
from mograder.grading.batch.autograded_files import AutogradedFiles, SignedResult
from mograder.grading.submissions.graded_assignment import AssignmentFiles, digest_beside
from mograder.grading.submissions.submitted_text import read_submission
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.submissions.submitted_files import SubmittedFile


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
    now = _Digests.of(assignment)
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
            *_differences(signed, known[student], now),
            *_in_gradebook(signed, gradebook),
        ]
        found.append(Verified(student, tuple(problems)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Digests:
    """Digests of an assignment's files as they are now, empty for what there is not."""

    source: str
    release: str
    beside_source: str
    beside_release: str

    @classmethod
    def of(cls, files: AssignmentFiles) -> Self:
        return cls(
            _digest(files.source),
            _digest(files.release),
            digest_beside(files.source),
            digest_beside(files.release),
        )


def _differences(signed: SignedResult, file: SubmittedFile, now: _Digests) -> Iterator[str]:
    result = signed.result
    try:
        submission = file.problem or hashlib.sha256(read_submission(file.path)).hexdigest()
    except MograderError as error:
        submission = str(error)
    if submission != result.submission_sha256:
        yield "the submission is another one than the graded one"
    if result.source_sha256 != now.source:
        yield "the source has changed since"
    if result.source_files_sha256 != now.beside_source:
        yield "the files beside the source have changed since"
    if result.release_sha256 and result.release_sha256 != now.release:
        yield "the release has changed since"
    if result.release_files_sha256 != now.beside_release:
        yield "the files beside the release have changed since"


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
