"""People's explanations of the marks of a question: saved comments, annotations, a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_tables import answer_annotations, question_marks
from mograder.store.gradebook.grading_records import MACHINE
from mograder.store.gradebook.rubrics import Rubric, StartsAt, read_details, read_rubric
from mograder.store.marking.annotations import Annotations, annotation_text
from mograder.store.marking.question_marking import last_given


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
    """Return the reasons of all marks by people, by student and question."""
    found: defaultdict[str, dict[str, MarkReasons]] = defaultdict(dict)
    with book.reading() as connection:
        questions = sorted(_questions(connection, assignment))
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


def _questions(connection: Connection, assignment: str) -> set[str]:
    """Return the questions that people said something about."""
    marks, notes = question_marks.c, answer_annotations.c
    own = (marks.assignment == assignment) & (marks.marker != MACHINE)
    marked = select(marks.question).distinct().where(own)
    noted = select(notes.question).distinct().where(notes.assignment == assignment)
    return {key for wanted in (marked, noted) for key in connection.execute(wanted).scalars()}


def _of_marks(
    connection: Connection, assignment: str, question: str, rubric: Rubric
) -> Iterator[tuple[str, MarkReasons]]:
    last = last_given(connection, assignment, question)
    details = read_details(connection, (mark.number for mark in last.values()))
    for student, mark in last.items():
        told = details.get(mark.number)
        if told is None or mark.points is None:
            continue
        counts = told.adjustment is not None
        texts = (rubric.comments[each] for each in told.saved if each in rubric.comments)
        yield (
            student,
            MarkReasons(
                tuple(SavedText(each.text, each.points if counts else None) for each in texts),
                told.adjustment,
                counts and rubric.starts_at is StartsAt.FULL,
                told.reason,
            ),
        )
