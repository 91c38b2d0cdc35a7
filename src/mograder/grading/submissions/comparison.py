"""Comparison of recorded grading: marks with those of a new run, results with today's files.

A result is compared with its signature, too. Nothing is run or changed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.grading.submissions.graded_assignment import AssignmentFiles, digest_beside
from mograder.grading.submissions.grading_result import GradingResult, result_of_run
from mograder.grading.submissions.submitted_text import read_submission
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import (
    NEEDS_ATTENTION,
    GradingRun,
    QuestionGrade,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import kept_questions
from mograder.store.submissions.submitted_files import SubmittedFile

_CHANGED = {
    "source_sha256": "the source has changed since",
    "source_files_sha256": "the files beside the source have changed since",
    "release_sha256": "the release has changed since",
    "release_files_sha256": "the files beside the release have changed since",
}
"""The sentence for each digest of a result that is another one now."""


@dataclass(frozen=True, slots=True)
class MarkChange:
    """A question whose mark by grading would be another one; None for no mark.

    ``marker`` is the person who gave the mark that counts in its place, "" for no person. A
    question that would be removed is here with the mark that would not count any more, by grading
    or a person.
    """

    student: str
    question: str
    before: float | None
    after: float | None
    marker: str = ""

    @property
    def difference(self) -> float:
        """The marks that the student gains, negative for a loss; 0 where a person's mark counts."""
        return 0.0 if self.marker else round((self.after or 0.0) - (self.before or 0.0), 6)


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    changes: tuple[MarkChange, ...]
    judged: int
    without_result: tuple[str, ...]

    @property
    def gain(self) -> int:
        return sum(each > 0 for each in self._sums())

    @property
    def lose(self) -> int:
        return sum(each < 0 for each in self._sums())

    def _sums(self) -> Iterable[float]:
        students = {each.student for each in self.changes}
        for student in students:
            own = (each.difference for each in self.changes if each.student == student)
            yield round(sum(own), 6)


def compare_runs(
    grades: Iterable[StudentGrade], runs: Iterable[GradingRun], works: Mapping[str, str]
) -> ComparedRuns:
    """Return the changes of recorded marks by runs that are not recorded yet.

    ``works`` are the digests of the submissions that were graded last, by student. A run of the
    same one that needs attention changes no mark, unless a question lacked one before.
    """
    held = {grade.student: {each.key: each for each in grade.questions} for grade in grades}
    found = sorted(runs, key=lambda run: run.student.casefold())
    changes = []
    for run in found:
        known = held.get(run.student, {})
        is_same_work = works.get(run.student) == run.submission_sha256
        states = {key: each.state for key, each in known.items()} if is_same_work else {}
        kept = kept_questions(run, states)
        for mark in (each for each in run.questions if each.question not in kept):
            before = known.get(mark.question)
            graded = None if before is None else before.graded
            if graded != mark.points:
                marker = before.marker if before is not None else ""
                change = MarkChange(run.student, mark.question, graded, mark.points, marker)
                changes.append(change)
        changes += _removed(run, known.values())
    without = tuple(run.student for run in found if run.state == NEEDS_ATTENTION)
    return ComparedRuns(tuple(changes), len(found), without)


def _removed(run: GradingRun, known: Iterable[QuestionGrade]) -> Iterable[MarkChange]:
    """Yield the marks of questions that the assignment would not have any more."""
    keys = {each.question for each in run.questions}
    for question in known if keys else ():
        if question.key not in keys and question.points is not None:
            yield MarkChange(run.student, question.key, question.points, None)


@dataclass(frozen=True, slots=True)
class Verified:
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
