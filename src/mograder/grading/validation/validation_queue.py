"""Validation for a hub: a few notebooks at a time, and one for each student.

Two requests of a student for the same text share one run. A request for another text during that
run is refused as busy, so that no student takes the others' turns. So are more than a few for the
same text, since each holds it in memory until the run has ended.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from mograder.core.closing import under_way
from mograder.core.errors import Busy
from mograder.core.tasks import Progress, SingleFlight
from mograder.grading.validation.report import ValidationReport
from mograder.grading.validation.validate import Submission, validate
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.report import Executes

_MOST_WAITING = 200
_OF_ONE_STUDENT = 4
_RETRY_SECONDS = 5


class Validations:
    """Validates students' notebooks that are requested concurrently.

    Mutable state: ``_last``, the key of the validation in progress by student, and ``_waiting``,
    how many requests wait for it.
    """

    def __init__(self, runs: Executes) -> None:
        """``runs`` limits how many run at a time."""
        self._runs = runs
        self._apart = IsolatedCall()
        self._last: dict[str, str] = {}
        self._waiting: Counter[str] = Counter()
        self._shared: SingleFlight[str, ValidationReport] = SingleFlight()

    async def validate(
        self, student: str, submission: Submission, progress: Progress
    ) -> ValidationReport:
        """Validate a student's notebook.

        Raises:
            Busy: Another text of this student is being validated, or too many requests wait.
            MograderError: As :func:`~mograder.grading.validation.validate.validate`.
        """
        if self._waiting[student] >= _OF_ONE_STUDENT:
            raise Busy("Your notebook is being validated.", retry_after=_RETRY_SECONDS)
        with under_way(self._waiting, student):
            key = f"{student} {_digest(submission)}"
            self._take_turn(student, key)

            async def run(tell: Progress) -> ValidationReport:
                tell("Running the notebook")
                return await validate(submission, self._runs, self._apart)

            return await self._shared.get(key, run, progress)

    def _take_turn(self, student: str, key: str) -> None:
        self._last = {each: of for each, of in self._last.items() if self._shared.busy(of)}
        if self._last.get(student, key) != key:
            raise Busy("A notebook of yours is being validated.", retry_after=_RETRY_SECONDS)
        if len(self._shared) >= _MOST_WAITING and not self._shared.busy(key):
            raise Busy("Too many notebooks are being validated.", retry_after=_RETRY_SECONDS)
        self._last[student] = key

    async def close(self) -> None:
        """Cancel all validations in progress."""
        await self._shared.close()


def _digest(submission: Submission) -> str:
    text = f"{submission.filename}\0{submission.text}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
