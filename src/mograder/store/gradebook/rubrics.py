"""The points of saved comments, which are a question's rubric, and their sum.

Private to ``store``; :mod:`mograder.store.marking.saved_comments` changes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from mograder.core.errors import InvalidInput
from mograder.marks import sum_of_marks
from mograder.store.database.row_tables import columns_of
from mograder.store.gradebook.gradebook_tables import mark_details, rubrics, saved_comments
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry

_AT_ONCE = 500
"""Marks whose details are read by one statement: SQLite bounds the number of its parameters."""


class StartsAt(StrEnum):
    """From where the points of a question's saved comments count."""

    ZERO = "zero"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class SavedComment:
    """A comment to use again for answers to a question; one with points is an item of the rubric.

    ``version`` changes with every change. A ``retired`` one is not offered any more, and stays in
    the marks that have it.
    """

    comment: str
    text: str
    points: float | None
    position: int
    version: int
    by: str
    at: str
    retired: bool = False


_COMMENTS = select(*columns_of(saved_comments, SavedComment, version="id"))


@dataclass(frozen=True, slots=True)
class Rubric:
    """A question's saved comments by their identifiers, also retired ones, in their order."""

    starts_at: StartsAt = StartsAt.ZERO
    comments: Mapping[str, SavedComment] = field(default_factory=dict)

    def points(self, details: MarkDetails, available: float) -> float | None:
        """Return the points of a mark by saved comments; None for one given as a number."""
        if details.adjustment is None:
            return None
        items = (self.comments[each].points or 0.0 for each in details.saved)
        return rubric_points(self.starts_at, [*items, details.adjustment], available)


def rubric_points(starts_at: StartsAt, items: Iterable[float], available: float) -> float:
    """Return the sum of a rubric's items, within 0 and the marks available."""
    start = available if starts_at is StartsAt.FULL else 0.0
    return min(max(sum_of_marks([start, *items]), 0.0), available)


def rubric_entry(rubric: Rubric, question: str, entry: MarkEntry, available: float) -> MarkEntry:
    """Return an entry with the points of its saved comments, if these count.

    Raises:
        InvalidInput: A saved comment does not exist, or the adjustment is no number.
    """
    details = entry.details
    if details is None:
        return entry
    unknown = [each for each in details.saved if each not in rubric.comments]
    if unknown:
        raise InvalidInput(f"saved: {question or 'The submission'} has no saved comment {unknown}.")
    if len(set(details.saved)) < len(details.saved):
        raise InvalidInput("saved: a saved comment is there twice.")
    if details.adjustment is None:
        return entry
    if not math.isfinite(details.adjustment):
        raise InvalidInput("adjustment: this is no number of marks.")
    return MarkEntry(rubric.points(details, available), entry.comment, details)


def read_rubric(connection: Connection, assignment: str, question: str) -> Rubric:
    """Return the saved comments of a question."""
    starts, c = rubrics.c, saved_comments.c
    start = select(starts.starts_at).where(
        starts.assignment == assignment, starts.question == question
    )
    starts_at = connection.execute(start.order_by(starts.id.desc()).limit(1)).scalar()
    own = (c.assignment == assignment) & (c.question == question)
    last = select(func.max(c.id)).where(own).group_by(c.comment)
    found = [SavedComment(*row) for row in connection.execute(_COMMENTS.where(c.id.in_(last)))]
    found.sort(key=lambda each: (each.position, each.comment))
    return Rubric(StartsAt(starts_at or StartsAt.ZERO), {each.comment: each for each in found})


def insert_details(connection: Connection, mark: int, details: MarkDetails) -> None:
    """Record how a person's mark came about."""
    saved = json.dumps(details.saved)
    values = {"mark": mark, "adjustment": details.adjustment, "reason": details.reason}
    connection.execute(insert(mark_details), {**values, "saved_comments": saved})


def read_details(connection: Connection, marks: Iterable[int]) -> Mapping[int, MarkDetails]:
    """Return how marks came about, by their numbers; those without details are left out."""
    numbers = sorted(set(marks))
    found: dict[int, MarkDetails] = {}
    for begin in range(0, len(numbers), _AT_ONCE):
        some = mark_details.c.mark.in_(numbers[begin : begin + _AT_ONCE])
        for row in connection.execute(select(mark_details).where(some)):
            saved = tuple(map(str, json.loads(row.saved_comments)))
            found[row.mark] = MarkDetails(row.adjustment, saved, row.reason)
    return found
