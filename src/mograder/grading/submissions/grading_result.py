"""The signed result of grading a submission: a mark for each question, a reason for each point.

It is kept in the gradebook as signed JSON, whose signature is checked where it is used. Pages, CSV
files and uploads are made from it and from marks that people gave.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mograder.auth.signing import derived_key, is_signature_of, signature_of
from mograder.core.errors import InvalidInput
from mograder.core.settings import LoadedSettings
from mograder.sandbox.execution.judging import JudgedCall, JudgedCondition
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret, read_secret
from mograder.store.gradebook import grading_records
from mograder.store.gradebook.grading_records import RecordedRun

if TYPE_CHECKING:  # `mograder quality` has results where SQLAlchemy is not installed
    from mograder.store.gradebook.gradebook import Gradebook

VERSION: Literal[1] = 1
_PURPOSE = "grading"
_SECRET = "grading-secret"  # noqa: S105 - a file's name


class GradingState(StrEnum):
    """How a mark of the machine came about; the later of two states is the weaker one."""

    JUDGED = "judged"
    CLAIMED = "claimed"
    """Judged, but it rests on structure, time or identity that the notebook itself says."""
    UNPROTECTED = grading_records.UNPROTECTED
    """The checks ran beside the answer, which could have forged them: a marker has to confirm."""
    NOT_RUN = "not run"
    """No marks, for a reason that is the student's, such as a name that is not defined."""
    MANUAL = grading_records.MANUAL
    """The question has no checks: people mark it."""
    NEEDS_ATTENTION = grading_records.NEEDS_ATTENTION
    """There is no result, for a reason that is not the student's: neither 0 nor full marks."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GradedLabel(_Record):
    """The result of one label.

    ``hidden``: it has hidden tests, so that students see what the assignment's setting allows, and
    how the conditions with the messages ``visible`` came out, which they can read in the release.
    """

    label: str
    key: str
    earned: float
    total: float
    passed: bool
    hidden: bool = False
    visible: tuple[str, ...] = ()
    conditions: tuple[JudgedCondition, ...] = ()


class GradedCheck(_Record):
    """One check cell of the source; ``line`` is its line there.

    ``beside``: it ran beside the answer, or was to run there, and was not judged.
    """

    cell: int
    line: int
    hidden: bool
    state: GradingState
    reason: str = ""
    claims: tuple[str, ...] = ()
    labels: tuple[GradedLabel, ...] = ()
    calls: tuple[JudgedCall, ...] = ()
    beside: Annotated[bool, Field(exclude_if=lambda beside: not beside)] = False
    """Left out of the JSON if false, so that signatures of results without it remain valid."""


class GradedQuestion(_Record):
    """One question: its key, its marks, and the labels of its checks.

    ``available`` is None for a question without marks of its own, as all are in an assignment
    without marks. ``earned`` is None there, for a question that people mark, and where there is no
    result. ``reason`` is for graders: it may repeat what a hidden test says.
    """

    key: str
    available: float | None
    earned: float | None
    state: GradingState
    reason: str = ""
    labels: tuple[str, ...] = ()


class GradedCellError(_Record):
    """A cell of the submission that failed, as its own process reports it; it has no marks."""

    index: int
    line: int | None
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Basis:
    """The inputs of a result beside the submission, by digests and names.

    The digest of a missing input is empty. ``source_files_sha256`` and ``release_files_sha256``
    are those of the files beside source and release, which the judge and the submission read.
    """

    environment: str
    mograder: str
    source_sha256: str = ""
    contract_sha256: str = ""
    release_sha256: str = ""
    source_files_sha256: str = ""
    release_files_sha256: str = ""


class GradingResult(_Record):
    """The result of grading one submission.

    ``problem`` is the sentence about the whole submission if it was not judged at all. ``tampered``
    are the findings of comparing it with the release, in 0.3.16's words. ``auto_mark`` and
    ``auto_available`` are the marks of the questions with checks (None without marks, or while one
    of them has no result), ``max_mark`` all marks of the assignment. ``received`` is the time of
    submission and ``at`` that of grading, as ISO 8601 in UTC; ``receipt`` is the receipt's number.
    """

    version: Literal[1] = VERSION
    assignment: str
    student: str
    filename: str
    submission_sha256: str
    submission_bytes: int
    received: str = ""
    receipt: int | None = None
    source_sha256: str
    contract_sha256: str = ""
    release_sha256: str = ""
    source_files_sha256: str = ""
    release_files_sha256: str = ""
    environment: str = ""
    mograder: str
    protected: bool
    state: GradingState
    problem: str = ""
    questions: tuple[GradedQuestion, ...] = ()
    checks: tuple[GradedCheck, ...] = ()
    cell_errors: tuple[GradedCellError, ...] = ()
    tampered: tuple[str, ...] = ()
    auto_mark: float | None = None
    auto_available: float | None = None
    max_mark: float = 100.0
    at: str
    seconds: float = 0.0

    @property
    def basis(self) -> Basis:
        return Basis(**{each.name: getattr(self, each.name) for each in fields(Basis)})

    @property
    def needs_attention(self) -> bool:
        """Whether the submission, or a question of it, has no result that counts."""
        return GradingState.NEEDS_ATTENTION in {self.state, *(q.state for q in self.questions)}


def render_result(result: GradingResult) -> str:
    """Return a result as JSON; equal results give equal texts."""
    return result.model_dump_json(indent=1) + "\n"


def parse_result(text: str | bytes) -> GradingResult:
    """Raise InvalidInput if :func:`render_result` did not write the text."""
    try:
        return GradingResult.model_validate_json(text)
    except ValueError as error:
        hint = "Grade the submission again with `mograder autograde --force`."
        raise InvalidInput("This is not a result of grading.", hint=hint) from error


def grading_key(loaded: LoadedSettings) -> bytes:
    """Return the key of a course's signatures.

    It is derived from a secret in the state directory, which is made (mode 0600) if missing: a copy
    of the secret of the course's assignment server, if there is one. Once it exists it is used even
    if a server comes later, or gets another secret, so that old signatures remain valid.

    Raises:
        InvalidInput: The secret cannot be read or written, or is empty.
        Busy: The disk is full.
    """
    own, server = loaded.state_dir / _SECRET, loaded.course_dir / SECRET_FILE
    known = read_secret(server) if server.exists() and not own.exists() else ""
    own.parent.mkdir(parents=True, exist_ok=True)
    return derived_key(ensure_secret(own, known), _PURPOSE)


def sign_result(key: bytes, result: GradingResult) -> str:
    return signature_of(key, result.model_dump(mode="json"))


def is_signed(key: bytes, result: GradingResult, signature: str) -> bool:
    return is_signature_of(key, result.model_dump(mode="json"), signature)


@dataclass(frozen=True, slots=True)
class LastResult:
    """The result that explains a student's marks; ``problem`` says why it is not to be used.

    ``run`` is the number of its run, None without a result.
    """

    result: GradingResult | None = None
    signature: str = ""
    problem: str = ""
    run: int | None = None


NO_RESULT = LastResult()


def last_results(
    key: bytes, book: Gradebook, assignment: str, students: Collection[str] | None = None
) -> Mapping[str, LastResult]:
    """Return the result that explains the marks of each student, of all or of some; blocks.

    A damaged or forged result is not replaced by an older one, which may not explain the marks.
    Students without any run are left out.
    """
    runs = book.explaining_runs(assignment, students)
    return {run.student: result_of_run(key, run) for run in runs}


def result_of_run(key: bytes, run: RecordedRun | None) -> LastResult:
    """Return the result of a run; None for one that is not in the gradebook."""
    if run is None:
        return LastResult(problem="its result is not in the gradebook")
    try:
        result = parse_result(run.result)
    except InvalidInput:
        return LastResult(problem="its result in the gradebook is damaged")
    of_row = (result.assignment, result.student) == (run.assignment, run.student)
    if not of_row or not is_signed(key, result, run.signature):
        why = "its result was changed after it was signed, or signed in another course"
        return LastResult(problem=why)
    return LastResult(result, run.signature, run=run.number)
