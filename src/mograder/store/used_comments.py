"""The saved comments that students' marks use, for the pages that students read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mograder.store.answer_states import last_given
from mograder.store.gradebook import Gradebook
from mograder.store.rubrics import read_details, read_rubric


@dataclass(frozen=True, slots=True)
class UsedComment:
    """A saved comment of a mark; ``points`` is None if the mark was given as a number."""

    text: str
    points: float | None


def used_comments(
    book: Gradebook, assignment: str, question: str
) -> Mapping[str, tuple[UsedComment, ...]]:
    """Return the saved comments of each student's last mark by a person, in the rubric's order."""
    with book.reading() as connection:
        given = last_given(connection, assignment, question)
        marks = {student: mark.number for student, mark in given.items() if mark.points is not None}
        details = read_details(connection, marks.values())
        rubric = read_rubric(connection, assignment, question)
    found: dict[str, tuple[UsedComment, ...]] = {}
    for student, number in marks.items():
        used = details.get(number)
        if used is None or not used.saved:
            continue
        counts = used.adjustment is not None
        found[student] = tuple(
            UsedComment(each.text, each.points if counts else None)
            for name, each in rubric.comments.items()
            if name in used.saved
        )
    return found
