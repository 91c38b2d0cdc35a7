"""Instructors' verdicts on two similar submissions. The newest row counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select

from mograder.core.errors import InvalidInput
from mograder.store.database.database import add_row
from mograder.store.gradebook.gradebook import OfBook
from mograder.store.gradebook.gradebook_tables import similarity_verdicts
from mograder.store.gradebook.grading_records import utc_iso

LONGEST_NOTE = 2000
"""The longest note, in characters."""


class Verdict(StrEnum):
    """Explanations of a similarity; ``OPEN`` takes an earlier verdict back."""

    COPIED = "copied"
    ALLOWED = "allowed"
    CHANCE = "chance"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """A verdict with its note; ``at`` is ISO 8601 in UTC."""

    verdict: Verdict
    note: str
    by: str
    at: str


class SimilarityVerdicts(OfBook):
    def of(self, assignment: str) -> Mapping[tuple[str, str], tuple[GivenVerdict, ...]]:
        table = similarity_verdicts.c
        columns = (table.one, table.other, table.verdict, table.note, table.by, table.at)
        wanted = select(*columns).where(table.assignment == assignment).order_by(table.id)
        found: dict[tuple[str, str], tuple[GivenVerdict, ...]] = {}
        with self._book.reading() as connection:
            for one, other, verdict, note, by, at in connection.execute(wanted):
                given = GivenVerdict(Verdict(verdict), note, by, at)
                found[one, other] = (*found.get((one, other), ()), given)
        return found

    def give(
        self,
        assignment: str,
        pair: tuple[str, str],
        verdict: str,
        *,
        note: str,
        by: str,
        at: datetime,
    ) -> None:
        """Raise InvalidInput if there is no such verdict, or the note is too long."""
        if verdict not in set(Verdict):
            raise InvalidInput(f"verdict: it must be one of {', '.join(Verdict)}.")
        if len(note) > LONGEST_NOTE:
            raise InvalidInput(f"note: it has at most {LONGEST_NOTE} characters.")
        one, other = sorted(pair)
        said = {"assignment": assignment, "one": one, "other": other, "verdict": verdict}
        made = {"note": note, "by": by, "at": utc_iso(at)}
        with self._book.writing() as connection:
            add_row(connection, similarity_verdicts, **said, **made)


def last_verdict(given: tuple[GivenVerdict, ...]) -> GivenVerdict | None:
    return given[-1] if given and given[-1].verdict is not Verdict.OPEN else None
