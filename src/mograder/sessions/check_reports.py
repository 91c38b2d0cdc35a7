"""What the checks of running notebooks say, as reported by the students' own code.

A report is a claim: student code can send any, so it is good for a teacher's board and never for a
mark. Reports are validated here, and concern the student's own session only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic import dataclasses as strict

from mograder.core.clock import Clock
from mograder.core.names import is_rehearsal
from mograder.sandbox.protocol import Checked, Mode
from mograder.sessions.session import LiveSession, SessionKey

LONGEST_LABEL = 200
"""The longest label of a check in characters; a report with a longer one is dropped."""
MOST_WEIGHT = 1_000_000.0

Status = Literal["success", "partial", "danger", "warn"]


_Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False)]


def _plain(label: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in label).strip()
    if not plain:
        raise ValueError("a label of blanks")
    return plain


@strict.dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore", strict=True))
class CheckReport:
    """The result of one run of a check; ``earned`` and ``total`` are sums of weights.

    ``label`` has no control characters, and at most :data:`LONGEST_LABEL` characters.
    """

    label: Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(_plain)]
    status: Status
    earned: _Weight
    total: _Weight

    def __post_init__(self) -> None:
        if self.earned > self.total:
            raise ValueError("more was earned than there is")


_REPORT = TypeAdapter(CheckReport)


class CheckReports:
    """Passes the valid reports of editors' sessions to ``listener``; for the event loop only.

    That is called with the new reports of one session, oldest first, and the time. It has to bound
    what it keeps of them: their labels may all be different.
    """

    def __init__(self, by_id: Callable[[str], LiveSession | None], clock: Clock) -> None:
        """``by_id`` returns the session with an id if it is known to run."""
        self.listener: Callable[[SessionKey, Sequence[CheckReport], datetime], None]
        self.listener = lambda _key, _reports, _now: None
        self._by_id = by_id
        self._clock = clock

    def hear(self, news: Checked) -> None:
        """Pass on a message's valid reports; those of other machines' sessions are dropped."""
        for each in news.sessions:
            live = self._by_id(each.session_id)
            if live is None or live.endpoint.node != news.node:
                continue
            if live.key.mode is not Mode.EDIT or is_rehearsal(live.key.user):
                continue
            reports = tuple(filter(None, map(report_of, each.reports)))
            if reports:
                self.listener(live.key, reports, self._clock.now())


def report_of(line: str) -> CheckReport | None:
    """Return the report in a line of JSON, or None if it is not valid."""
    try:
        return _REPORT.validate_json(line)
    except ValidationError:
        return None
