"""What markers say beside a comment: saved comments, and comments at places of the notebook."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mograder.store.annotations import Annotation, Annotations, annotation_text
from mograder.store.gradebook import Gradebook
from mograder.store.grading_records import WHOLE, StudentGrade
from mograder.store.saved_comments import SavedComments
from mograder.store.used_comments import UsedComment, used_comments


@dataclass(frozen=True, slots=True)
class MarkerNote:
    """Words of a marker, as Markdown; ``points`` and ``place`` are in words, or empty."""

    text: str
    points: str = ""
    place: str = ""


Notes = Mapping[str, tuple[MarkerNote, ...]]
"""The notes of a student by the key of the question."""


def marker_notes(
    book: Gradebook, assignment: str, grades: Collection[StudentGrade], works: Mapping[str, str]
) -> Mapping[str, Notes]:
    """Return the notes on students' answers, by student.

    ``works`` are the SHA-256 of the submissions that were marked, by student: comments at places of
    another submission are left out.
    """
    found: defaultdict[str, defaultdict[str, list[MarkerNote]]]
    found = defaultdict(lambda: defaultdict(list))
    annotated = Annotations(book).of_assignment(assignment)
    keys = dict.fromkeys([*(each.key for grade in grades for each in grade.questions), WHOLE])
    for key in keys:
        for student, comments in used_comments(book, assignment, key).items():
            found[student][key] += map(_saved, comments)
    rubrics = {
        key: SavedComments(book).rubric(assignment, key)
        for key in {each.place.question for own in annotated.values() for each in own}
    }
    for student, own in annotated.items():
        for each in own:
            if each.submission_sha256 == works.get(student, ""):
                text = annotation_text(each, rubrics[each.place.question])
                found[student][each.place.question].append(MarkerNote(text, place=_place(each)))
    return {
        student: {key: tuple(notes) for key, notes in own.items()} for student, own in found.items()
    }


def _saved(comment: UsedComment) -> MarkerNote:
    return MarkerNote(comment.text, "" if comment.points is None else f"{comment.points:+g}")


def _place(annotation: Annotation) -> str:
    place = annotation.place
    cell = f"cell {place.cell + 1}"
    if place.first_line is None:
        return cell
    if place.last_line in (None, place.first_line):
        return f"{cell}, line {place.first_line}"
    return f"{cell}, lines {place.first_line} to {place.last_line}"
