"""Comments to use again for answers to a question, and what a change of their points does.

A saved comment with points is an item of the question's rubric. When its points change, every mark
that was given by it is computed again, in the same transaction; a mark that was given as a number
stays. A change is a new row, and so is each mark that it changes: the person who made the change is
in the first, the marker who gave the mark stays in the other.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from mograder.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from mograder.core.names import is_same_person
from mograder.store.database.database import add_row, values_of
from mograder.store.gradebook.gradebook import OfBook
from mograder.store.gradebook.gradebook_marks import read_details, read_rows
from mograder.store.gradebook.gradebook_tables import rubrics, saved_comments
from mograder.store.gradebook.grading_records import utc_iso
from mograder.store.gradebook.mark_counting import StudentRows, is_superseded
from mograder.store.marking.question_marking import (
    NO_DETAILS,
    GivenMark,
    Rubric,
    SavedComment,
    StartsAt,
    last_given,
    read_rubric,
    write_mark,
)

MOST_COMMENTS = 500
"""The largest number of saved comments of a question."""

_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Author:
    """``own`` is the student whose marks the person must not change; "" for an instructor."""

    name: str
    at: datetime
    own: str = ""


@dataclass(frozen=True, slots=True)
class CommentWish:
    """The content of a saved comment; ``position`` None puts a new one last."""

    text: str
    points: float | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ChangedPoints:
    student: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class CommentBank:
    """A question's saved comments in their order; those ``retired`` are in earlier marks only."""

    starts_at: StartsAt
    comments: tuple[SavedComment, ...]
    retired: tuple[SavedComment, ...] = ()


class SavedCommentChanged(Conflict):
    """Raised when a saved comment was changed meanwhile; ``now`` is what it is."""

    def __init__(self, now: SavedComment) -> None:
        super().__init__(
            f"This comment was changed meanwhile by {now.by}.",
            hint="Look at it, then save yours again.",
        )
        self.now = now


class SavedComments(OfBook):
    def of(self, assignment: str, question: str) -> CommentBank:
        rubric = self.rubric(assignment, question)
        every = rubric.comments.values()
        kept = tuple(each for each in every if not each.retired)
        return CommentBank(rubric.starts_at, kept, tuple(each for each in every if each.retired))

    def rubric(self, assignment: str, question: str) -> Rubric:
        with self._book.reading() as connection:
            return read_rubric(connection, assignment, question)

    def add(
        self, assignment: str, question: str, wish: CommentWish, author: Author
    ) -> SavedComment:
        """Add a comment; equal ones are one. Raises: InvalidInput (empty, too long, too many)."""
        _refuse(wish)
        with self._book.writing() as connection:
            rubric = read_rubric(connection, assignment, question)
            kept = [each for each in rubric.comments.values() if not each.retired]
            for each in kept:
                if (each.text, each.points) == (wish.text, wish.points):
                    return each
            if len(kept) >= MOST_COMMENTS:
                raise InvalidInput(f"A question has at most {MOST_COMMENTS} saved comments.")
            last = max((each.position for each in kept), default=-1) + 1
            place = last if wish.position is None else wish.position
            news = SavedComment(secrets.token_hex(8), wish.text, wish.points, place, 0, "", "")
            return _insert(connection, assignment, question, news, author)

    def change(
        self,
        assignment: str,
        question: str,
        comment: str,
        wish: CommentWish,
        author: Author,
        version: int,
    ) -> tuple[SavedComment, int]:
        """Change a comment; return it, and the number of marks that were computed again.

        Raises:
            SavedCommentChanged: It was changed since that version.
            InvalidInput: As :meth:`add`.
            NotFound: There is no such comment.
            Forbidden: The mark of the author's own answer would change.
        """
        _refuse(wish)
        with self._book.writing() as connection:
            rubric = read_rubric(connection, assignment, question)
            now = _find(rubric, comment)
            place = now.position if wish.position is None else wish.position
            wanted = replace(now, text=wish.text, points=wish.points, position=place)
            if wanted == now:
                return now, 0
            _refuse_changed(now, version)
            made = _insert(connection, assignment, question, wanted, author)
            return made, _recalculate(connection, assignment, question, author)

    def retire(
        self, assignment: str, question: str, comment: str, author: Author, version: int
    ) -> None:
        """Take a comment from the bank; marks keep it and its points. Raises: as :meth:`change`."""
        with self._book.writing() as connection:
            now = _find(read_rubric(connection, assignment, question), comment)
            _refuse_changed(now, version)
            _insert(connection, assignment, question, replace(now, retired=True), author)

    def start(self, assignment: str, question: str, starts_at: StartsAt, author: Author) -> int:
        """Set where points start; return how many marks were computed again. Raises: Forbidden."""
        with self._book.writing() as connection:
            if read_rubric(connection, assignment, question).starts_at is starts_at:
                return 0
            row = {"assignment": assignment, "question": question, "starts_at": str(starts_at)}
            add_row(connection, rubrics, **row, by=author.name, at=utc_iso(author.at))
            return _recalculate(connection, assignment, question, author)

    def preview(
        self, assignment: str, question: str, comment: str, points: float | None
    ) -> tuple[SavedComment, tuple[ChangedPoints, ...]]:
        """Return the marks that other points would change. Raises: NotFound without the comment."""
        with self._book.reading() as connection:
            rubric = read_rubric(connection, assignment, question)
            now = _find(rubric, comment)
            changed = {**rubric.comments, comment: replace(now, points=points)}
            news = replace(rubric, comments=changed)
            found = _outdated(connection, assignment, question, news)
            return now, tuple(
                ChangedPoints(rows.student, given.mark.points, after)
                for rows, given, after in found
            )


def _refuse(wish: CommentWish) -> None:
    if not wish.text.strip():
        raise InvalidInput("text: a saved comment needs a text.")
    if len(wish.text) > _LONGEST:
        raise InvalidInput(f"text: a comment has at most {_LONGEST} characters.")
    if wish.points is not None and not math.isfinite(wish.points):
        raise InvalidInput("points: this is no number of marks.")


def _find(rubric: Rubric, comment: str) -> SavedComment:
    found = rubric.comments.get(comment)
    if found is None or found.retired:
        raise NotFound("There is no such comment.")
    return found


def _refuse_changed(now: SavedComment, version: int) -> None:
    if now.version != version:
        raise SavedCommentChanged(now)


def _insert(
    connection: Connection, assignment: str, question: str, news: SavedComment, author: Author
) -> SavedComment:
    made = replace(news, by=author.name, at=utc_iso(author.at))
    owner = {"assignment": assignment, "question": question}
    number = add_row(connection, saved_comments, **owner, **values_of(made, "version"))
    return replace(made, version=number)


def _recalculate(connection: Connection, assignment: str, question: str, author: Author) -> int:
    """Compute the marks by saved comments again; return how many changed."""
    rubric = read_rubric(connection, assignment, question)
    changed = tuple(_outdated(connection, assignment, question, rubric))
    if author.own and any(is_same_person(rows.student, author.own) for rows, _, _ in changed):
        raise Forbidden(
            "This would change the mark of your own answer.",
            hint="Another marker or an instructor changes it.",
        )
    for rows, given, points in changed:
        mark = replace(given.mark, points=points)
        write_mark(connection, rows, replace(given, mark=mark), author.at)
    return len(changed)


def _outdated(
    connection: Connection, assignment: str, question: str, rubric: Rubric
) -> Iterator[tuple[StudentRows, GivenMark, float]]:
    """Yield the marks whose points are not those of their saved comments, and what these are.

    One that newer marks have replaced stays as it is: a new row would count before these.
    """
    last, outdated = last_given(connection, assignment, question), {}
    details = read_details(connection, (mark.number for mark in last.values()))
    for student, mark in last.items():
        given = GivenMark(mark, details.get(mark.number, NO_DETAILS))
        points = rubric.points(given.details, given.mark.available or 0.0)
        if points is not None and points != given.mark.points:
            outdated[student] = given, points
    for rows in read_rows(connection, assignment) if outdated else ():
        if rows.student in outdated and not is_superseded(rows, question):
            yield rows, *outdated[rows.student]
