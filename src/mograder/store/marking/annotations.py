"""People's explanations of marks: annotations of a submission, and with them all other reasons.

An annotation is a comment at a cell of a submission, or at lines of it. A change is a new row of
the same annotation, and so is its removal. An annotation belongs to the submission that was graded
last when it was written, by its SHA-256.

The reasons of a question's mark are its annotations, its saved comments, and why it replaces
grading's mark.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, union

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.store.database.database import add_row, values_of
from mograder.store.gradebook.gradebook import Gradebook, OfBook
from mograder.store.gradebook.gradebook_marks import demand_work, read_details, rows_of
from mograder.store.gradebook.gradebook_tables import (
    answer_annotations,
    grading_runs,
    question_marks,
)
from mograder.store.gradebook.grading_records import MACHINE, utc_iso
from mograder.store.marking.question_marking import Rubric, StartsAt, last_given, read_rubric

MOST_ANNOTATIONS = 500
"""The largest number of annotations of a submission."""

_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """A cell by its index, and lines of it from 1, None for all; ``question`` is the key."""

    question: str
    cell: int
    first_line: int | None = None
    last_line: int | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """``version`` changes with each change; ``saved_comment``'s text is shown before ``text``."""

    annotation: str
    place: Place
    text: str
    saved_comment: str | None
    submission_sha256: str
    version: int
    by: str
    at: str


class AnnotationChanged(Conflict):
    """Raised when an annotation was changed meanwhile; ``now`` is what it is."""

    def __init__(self, now: Annotation) -> None:
        super().__init__(
            f"This annotation was changed meanwhile by {now.by}.",
            hint="Look at it, then save yours again.",
        )
        self.now = now


@dataclass(frozen=True, slots=True)
class AnnotationWish:
    """``version`` is that looked at, ``submission`` the SHA-256 of the one a new one is for."""

    place: Place
    text: str
    saved_comment: str | None
    by: str
    at: datetime
    version: int | None = None
    submission: str | None = None


class Annotations(OfBook):
    def of(self, assignment: str, student: str) -> tuple[Annotation, ...]:
        with self._book.reading() as connection:
            found = (_annotation(row) for row in _rows(connection, assignment, student))
            return tuple(sorted(found, key=_order))

    def of_assignment(self, assignment: str) -> Mapping[str, tuple[Annotation, ...]]:
        found: dict[str, list[Annotation]] = {}
        with self._book.reading() as connection:
            for row in _rows(connection, assignment, None):
                found.setdefault(row.student, []).append(_annotation(row))
        return {student: tuple(sorted(each, key=_order)) for student, each in found.items()}

    def add(self, assignment: str, student: str, wish: AnnotationWish) -> Annotation:
        """Add an annotation to the submission that was graded last.

        Raises:
            InvalidInput: It has no text, its lines or its saved comment do not exist, or there are
                too many.
            NotFound: The student has no graded work.
            Conflict: Another submission was graded since.
        """
        with self._book.writing() as connection:
            _refuse(connection, assignment, wish)
            if len(_rows(connection, assignment, student)) >= MOST_ANNOTATIONS:
                raise InvalidInput(f"A submission has at most {MOST_ANNOTATIONS} annotations.")
            demand_work(connection, assignment, student)
            runs = grading_runs.c
            graded = select(runs.submission_sha256).where(
                rows_of(grading_runs, assignment, student)
            )
            work = connection.execute(graded.order_by(runs.id.desc()).limit(1)).scalar() or ""
            if wish.submission not in (None, work):  # its cells and lines may be other ones
                raise Conflict(
                    "A newer submission was graded since you opened this answer.",
                    hint="Reload the page, and comment there.",
                )
            news = _made(secrets.token_hex(8), wish, work)
            return _insert(connection, (assignment, student), news)

    def change(
        self, assignment: str, student: str, annotation: str, wish: AnnotationWish
    ) -> Annotation:
        """Record another version. Raises: AnnotationChanged (an older one), and as :meth:`add`."""
        with self._book.writing() as connection:
            _refuse(connection, assignment, wish)
            now = _find(connection, (assignment, student), annotation, wish.version)
            news = _made(annotation, wish, now.submission_sha256)
            return _insert(connection, (assignment, student), news)

    def remove(
        self,
        assignment: str,
        student: str,
        annotation: str,
        *,
        by: str,
        at: datetime,
        version: int | None = None,
    ) -> None:
        """Remove an annotation; its rows stay. Raises: AnnotationChanged, NotFound."""
        with self._book.writing() as connection:
            now = _find(connection, (assignment, student), annotation, version)
            gone = replace(now, by=by, at=utc_iso(at))
            _insert(connection, (assignment, student), gone, removed=True)


def annotation_text(annotation: Annotation, rubric: Rubric) -> str:
    """Return the whole text of an annotation: that of its saved comment, then its own."""
    saved = rubric.comments.get(annotation.saved_comment or "")
    return "\n\n".join(filter(None, [saved.text if saved else "", annotation.text]))


def _refuse(connection: Connection, assignment: str, wish: AnnotationWish) -> None:
    first, last = wish.place.first_line, wish.place.last_line
    if (first is None) != (last is None) or (first or 0) > (last or 0):
        raise InvalidInput("last_line: give the first and the last line, or neither.")
    if not wish.text.strip() and wish.saved_comment is None:
        raise InvalidInput("text: an annotation needs a text.")
    if len(wish.text) > _LONGEST:
        raise InvalidInput(f"text: a comment has at most {_LONGEST} characters.")
    if wish.saved_comment is not None:
        rubric = read_rubric(connection, assignment, wish.place.question)
        if wish.saved_comment not in rubric.comments:
            raise InvalidInput("saved_comment: the question has no such comment.")


def _made(annotation: str, wish: AnnotationWish, work: str) -> Annotation:
    at = utc_iso(wish.at)
    return Annotation(annotation, wish.place, wish.text, wish.saved_comment, work, 0, wish.by, at)


def _find(
    connection: Connection, owner: tuple[str, str], annotation: str, version: int | None
) -> Annotation:
    for row in _rows(connection, *owner):
        if row.annotation == annotation:
            found = _annotation(row)
            if version is not None and found.version != version:
                raise AnnotationChanged(found)
            return found
    raise NotFound("There is no such annotation.")


def _rows(connection: Connection, assignment: str, student: str | None) -> list[Row[Any]]:
    """Return the newest row of each annotation that is not removed."""
    table, own = answer_annotations.c, rows_of(answer_annotations, assignment, student)
    last = select(func.max(table.id)).where(own).group_by(table.annotation)
    wanted = select(answer_annotations).where(table.id.in_(last), ~table.removed)
    return list(connection.execute(wanted.order_by(table.id)))


def _annotation(row: Row[Any]) -> Annotation:
    return Annotation(
        row.annotation,
        Place(row.question, row.cell, row.first_line, row.last_line),
        row.text,
        row.saved_comment,
        row.submission_sha256,
        row.id,
        row.by,
        row.at,
    )


def _insert(
    connection: Connection, owner: tuple[str, str], news: Annotation, *, removed: bool = False
) -> Annotation:
    values = values_of(news, "place", "version") | values_of(news.place)
    owned = {"assignment": owner[0], "student": owner[1], "removed": removed}
    number = add_row(connection, answer_annotations, **owned, **values)
    return replace(news, version=number)


def _order(annotation: Annotation) -> tuple[int, int, int]:
    return annotation.place.cell, annotation.place.first_line or 0, annotation.version


@dataclass(frozen=True, slots=True)
class SavedText:
    """A saved comment of a mark; ``points`` is None if it has none, or if they do not count."""

    text: str
    points: float | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation at a cell (its index from 0), or at lines of it (from 1), of a submission."""

    cell: int
    first_line: int | None
    last_line: int | None
    text: str
    submission_sha256: str


@dataclass(frozen=True, slots=True)
class MarkReasons:
    """The reasons of a question's mark by a person.

    ``from_full`` is whether the points are deductions from all marks. ``adjustment`` are points
    beside those of the saved comments, None where they do not make the mark. ``reason`` is why the
    mark replaces grading's.
    """

    saved: tuple[SavedText, ...] = ()
    adjustment: float | None = None
    from_full: bool = False
    reason: str = ""
    notes: tuple[Note, ...] = ()


NO_REASONS = MarkReasons()


def read_mark_reasons(book: Gradebook, assignment: str) -> Mapping[str, Mapping[str, MarkReasons]]:
    found: defaultdict[str, dict[str, MarkReasons]] = defaultdict(dict)
    with book.reading() as connection:
        marks, notes = question_marks.c, answer_annotations.c
        own = (marks.assignment == assignment) & (marks.marker != MACHINE)
        noted = select(notes.question).where(notes.assignment == assignment)
        told = union(select(marks.question).where(own), noted)
        questions = sorted(connection.execute(told).scalars())
        rubrics = {each: read_rubric(connection, assignment, each) for each in questions}
        for question, rubric in rubrics.items():
            for student, reasons in _of_marks(connection, assignment, question, rubric):
                found[student][question] = reasons
    for student, annotated in Annotations(book).of_assignment(assignment).items():
        for each in annotated:
            place = each.place
            text = annotation_text(each, rubrics.get(place.question, Rubric()))
            note = Note(place.cell, place.first_line, place.last_line, text, each.submission_sha256)
            known = found[student].get(place.question, NO_REASONS)
            found[student][place.question] = replace(known, notes=(*known.notes, note))
    return found


def _of_marks(
    connection: Connection, assignment: str, question: str, rubric: Rubric
) -> Iterator[tuple[str, MarkReasons]]:
    last = last_given(connection, assignment, question)
    details = read_details(connection, (mark.number for mark in last.values()))
    for student, mark in last.items():
        told = details.get(mark.number)
        is_marked = mark.points is not None
        if told is None or not (is_marked or told.saved):
            continue  # saved comments without points count beside grading's mark, as a comment does
        counts = told.adjustment is not None
        texts = (rubric.comments[each] for each in told.saved if each in rubric.comments)
        yield (
            student,
            MarkReasons(
                tuple(SavedText(each.text, each.points if counts else None) for each in texts),
                told.adjustment,
                counts and rubric.starts_at is StartsAt.FULL,
                told.reason if is_marked else "",
            ),
        )
