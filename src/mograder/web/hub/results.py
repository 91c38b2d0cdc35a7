"""The last validation of each copy, kept in memory for the pages that show it (B55).

The report that lies beside the notebook is the student's to change, so it is shown confined and
never read back. What the hub itself found is remembered here: bounded, and gone with a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from mograder.grading.report_json import ValidationAnswer

_MOST = 1000
_LONGEST = 64_000
"""Characters of one answer: a page shows no more anyway."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a validation found, and when."""

    at: datetime
    answer: ValidationAnswer


class Results:
    """The newest results, by user and item; of one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Result] = OrderedDict()

    def put(self, user: str, item: str, result: Result) -> None:
        """Remember the newest result of a copy."""
        self._known.pop((user, item), None)
        if len(result.answer.model_dump_json()) > _LONGEST:
            result = Result(result.at, _shortened(result.answer))
        self._known[user, item] = result
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def of(self, user: str, item: str) -> Result | None:
        """The last result of a copy, if this hub found one and it still counts."""
        return self._known.get((user, item))

    def forget(self, user: str, item: str) -> None:
        """Another notebook took the copy's place."""
        self._known.pop((user, item), None)


def _shortened(answer: ValidationAnswer) -> ValidationAnswer:
    """Without what cells printed, which is what grows; the whole is in the report."""
    errors = tuple(
        each.model_copy(update={"output": "", "message": each.message[:500]})
        for each in answer.errors[:50]
    )
    checks = tuple(
        each.model_copy(update={"details": tuple(text[:500] for text in each.details[:5])})
        for each in answer.checks[:50]
    )
    return answer.model_copy(update={"errors": errors, "checks": checks})
