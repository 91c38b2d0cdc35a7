"""The files of graded submissions, ``autograded/<assignment>/<student>.{py,html,json}``.

The ``.json`` is the signed result. It is written last, so that it exists only for a submission
whose other files and whose entry in the gradebook are complete. ``.py`` and ``.html`` are those of
0.3.16 (compatibility-0.3.16.md 9). All of them are private to their owner.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mograder.auth.signing import read_record
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.name_lookup import nfc
from mograder.grading.batch.grading_cells import grading_copy
from mograder.grading.results.grading_result import GradingResult, is_signed, sign_result
from mograder.grading.submissions.grade_submission import GradedNotebook
from mograder.store.filesystem.files import atomic_write

SOURCE_HASH = ".mograder_source_hash"
"""The file in which 0.3.16 keeps the SHA-256 of the source that results were made with."""

_MODE = 0o600
_MOST_BYTES = 64_000_000


class SignedResult(BaseModel):
    """A result and its signature, the content of ``<student>.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    result: GradingResult
    signature: str


class AutogradedFiles:
    """The files of one assignment's graded submissions; ``key`` signs and verifies results."""

    def __init__(self, directory: Path, assignment: str, key: bytes) -> None:
        self.directory = directory
        self._assignment = assignment
        self._key = key

    def write_copy(self, graded: GradedNotebook, page: str) -> tuple[str, ...]:
        """Write ``.py``, and ``.html`` with a page; return sentences about changes of the text.

        Raises:
            Busy: The disk is full.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        student = graded.result.student
        copy = grading_copy(graded.text, graded.result)
        self._write(f"{student}.py", copy.text)
        self._write(f"{student}.html", page)
        if not copy.removed:
            return ()
        removed = ", ".join(each.strip("# =") for each in copy.removed)
        return (f"text that only grading writes was taken out of the copy: {removed}",)

    def sign(self, result: GradingResult) -> SignedResult:
        """Return a result with its signature."""
        return SignedResult(result=result, signature=sign_result(self._key, result))

    def write_result(self, signed: SignedResult) -> None:
        """Write ``.json``, after which the submission counts as graded.

        Raises:
            Busy: The disk is full.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write(f"{signed.result.student}.json", signed.model_dump_json(indent=1) + "\n")

    def write_source_hash(self, sha256: str) -> None:
        """Write the source's SHA-256 for 0.3.16, which compares it to find out what is up to date.

        Raises:
            Busy: The disk is full.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write(SOURCE_HASH, f"{sha256}\n")

    def read(self, student: str) -> SignedResult:
        """Return a student's result whose signature and names are right.

        Raises:
            NotFound: There is none.
            InvalidInput: It cannot be read, was changed since it was signed, or is another
                student's.
        """
        path = self.directory / f"{student}.json"
        signed = _read(path)
        if not is_signed(self._key, signed.result, signed.signature):
            raise _unusable(path, "it was changed after it was signed, or signed in another course")
        if signed.result.student != student:
            raise _unusable(path, f"it is the result of {signed.result.student}")
        if signed.result.assignment != self._assignment:
            raise _unusable(path, f"it is a result of {signed.result.assignment}")
        return signed

    def complete(self, student: str) -> bool:
        """Return whether ``.py`` and ``.html`` exist; 0.3.16 counts an empty page as missing."""
        paths = (self.directory / f"{student}{suffix}" for suffix in (".py", ".html"))
        return all(path.is_file() and path.stat().st_size > 0 for path in paths)

    def students(self) -> tuple[str, ...]:
        """Return the students that have a ``.json``, sorted."""
        found = (path.stem for path in self.directory.glob("*.json") if path.name[0] != ".")
        return tuple(sorted(map(nfc, found)))

    def _write(self, name: str, text: str) -> None:
        atomic_write(self.directory / name, text.encode("utf-8", "replace"), _MODE)


def _read(path: Path) -> SignedResult:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"There is no result {path}.") from error
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from error
    with suppress(ValueError):
        if len(data) <= _MOST_BYTES:
            read_record(data)  # no member twice: another reader would take the other value
            return SignedResult.model_validate_json(data)
    raise _unusable(path, "it is no result of grading")


def _unusable(path: Path, why: str) -> InvalidInput:
    hint = "Grade the submission again."
    return InvalidInput(f"{path.name} is not used: {why}.", hint=hint)
