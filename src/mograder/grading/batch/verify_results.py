"""Comparison of recorded results with their signatures, and with the files that they were made of.

Nothing is run or changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.grading.grading_result import GradingResult, result_of_run
from mograder.grading.submissions.graded_assignment import AssignmentFiles, digest_beside
from mograder.grading.submissions.submitted_text import read_submission
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.submissions.submitted_files import SubmittedFile

_CHANGED = {
    "source_sha256": "the source has changed since",
    "source_files_sha256": "the files beside the source have changed since",
    "release_sha256": "the release has changed since",
    "release_files_sha256": "the files beside the release have changed since",
}
"""What is said of each digest of a result that is another one now."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A student's result, and sentences about what does not fit."""

    student: str
    problems: tuple[str, ...] = ()


def verify_results(
    book: Gradebook, key: bytes, assignment: AssignmentFiles, submissions: Sequence[SubmittedFile]
) -> tuple[Verified, ...]:
    """Return the newest results of these submissions' students, with what does not fit."""
    source, release = assignment.source, assignment.release
    now = {
        "source_sha256": _digest(source),
        "source_files_sha256": digest_beside(source),
        "release_sha256": _digest(release),
        "release_files_sha256": digest_beside(release),
    }
    found = []
    for file in submissions:
        run = book.last_run(assignment.name, file.student)
        if run is None:
            continue
        last = result_of_run(key, run)
        problems = [last.problem] if last.result is None else _differences(last.result, file, now)
        found.append(Verified(file.student, tuple(problems)))
    return tuple(found)


def _differences(
    result: GradingResult, file: SubmittedFile, now: Mapping[str, str]
) -> Iterator[str]:
    try:
        submission = file.problem or hashlib.sha256(read_submission(file.path)).hexdigest()
    except MograderError as error:
        submission = str(error)
    if submission != result.submission_sha256:
        yield "the submission is another one than the graded one"
    for name, said in _CHANGED.items():
        # A release that does not belong to the source has no part in a result.
        is_unused = name == "release_sha256" and not result.release_sha256
        if getattr(result, name) != now[name] and not is_unused:
            yield said


def _digest(path: Path | None) -> str:
    try:
        return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
