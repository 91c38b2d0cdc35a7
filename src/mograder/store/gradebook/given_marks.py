"""Recording marks that a person gives: their range, and changes by others meanwhile.

Private to the gradebook and to ``store.marking``, which open the transactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from shlex import quote

from sqlalchemy import Connection

from mograder.core.clock import utc_iso
from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.store.gradebook.gradebook_marks import insert_mark, put_work
from mograder.store.gradebook.gradebook_rows import AssignmentRow
from mograder.store.gradebook.grading_records import (
    MANUAL,
    WHOLE,
    MarkDetails,
    MarkEntry,
    RecordedMark,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import (
    StudentRows,
    available_to_people,
    grade_of,
    latest_by_question,
    replaces_automatic,
    row_for_comment,
)
from mograder.store.gradebook.rubrics import insert_details, read_details

_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class GivenMarks:
    """Marks by question, and the comment on the submission; as ``Gradebook.record_marks``."""

    marks: Mapping[str, MarkEntry]
    marker: str
    at: datetime
    comment: str | None = None
    version: int | None = None


def record_given(connection: Connection, rows: StudentRows, given: GivenMarks) -> StudentGrade:
    """Record marks of a student; return all marks that count then."""
    if rows.work is None:
        raise NotFound(
            f"The gradebook has no submission of {rows.student} for {rows.assignment.name}.",
            hint=f"Grade it first: mograder autograde {quote(rows.assignment.name)}",
        )
    grade = grade_of(rows)
    known = markable(grade, rows.assignment)
    _refuse_invalid(given, grade, known)
    for key, entry in given.marks.items():
        if entry.details is not None:
            _demand_reason(grade, key, entry.points, entry.details)
    _refuse_changed(given, rows)
    run = rows.runs[-1].number if rows.runs else None
    entries = tuple(_entries(given))
    held = _held_details(connection, rows, entries)
    for key, entry in entries:
        if key in given.marks:
            details = _with_saved(entry, held.get(key))
            mark = RecordedMark(0, key, entry.points, known.get(key), MANUAL, "", "", run, "")
        else:
            details = held.get(key) if grade.whole is not None else None
            mark = row_for_comment(rows)
        said = replace(mark, comment=entry.comment, marker=given.marker, at=utc_iso(given.at))
        rows = insert_mark(connection, rows, said)
        if details is not None:
            insert_details(connection, rows.marks[-1].number, details)
    return put_work(connection, rows)


def _entries(given: GivenMarks) -> Iterable[tuple[str, MarkEntry]]:
    """Yield the rows to add; a comment alone is one of the whole."""
    entries = dict(given.marks)
    if given.comment is not None:
        entries[WHOLE] = MarkEntry(entries.get(WHOLE, MarkEntry(None)).points, given.comment)
    # The mark for the whole comes first, so that those by question are the newer ones.
    yield from sorted(entries.items(), key=lambda entry: entry[0] != WHOLE)


def _held_details(
    connection: Connection, rows: StudentRows, entries: Iterable[tuple[str, MarkEntry]]
) -> Mapping[str, MarkDetails]:
    """Return the details of the marks before, by question, of which an entry may keep something."""
    last = latest_by_question(rows.marks)[1]
    keep = (key for key, entry in entries if entry.details is None or entry.keeps_saved)
    numbers = {key: last[key].number for key in keep if key in last}
    found = read_details(connection, numbers.values())
    return {key: found[number] for key, number in numbers.items() if number in found}


def _with_saved(entry: MarkEntry, held: MarkDetails | None) -> MarkDetails | None:
    """Return an entry's details, with the saved comments that a number keeps."""
    if held is None or not held.saved or entry.points is None:
        return entry.details
    return replace(entry.details or MarkDetails(), saved=held.saved)


def _demand_reason(
    grade: StudentGrade, key: str, points: float | None, details: MarkDetails
) -> None:
    """Refuse another mark than grading's without a reason."""
    question = next((each for each in grade.questions if each.key == key), None)
    if question is None or points is None or details.reason.strip():
        return
    if replaces_automatic(question) and points != question.graded:
        raise InvalidInput(
            f"reason: grading gave {question.graded:g} marks for {key}.",
            hint="Say why the mark is another one.",
        )


def markable(grade: StudentGrade, assignment: AssignmentRow) -> Mapping[str, float]:
    """Return the marks available by key: of each question, and of the whole without checks."""
    whole = available_to_people(assignment)
    questions = {each.key: each.available for each in grade.questions if each.available is not None}
    return questions | ({WHOLE: whole} if whole > 0 else {})


def _refuse_invalid(given: GivenMarks, grade: StudentGrade, known: Mapping[str, float]) -> None:
    """Refuse marks that are out of their range, or of no question that can be marked."""
    if not given.marker.strip() or not given.marker.isprintable():
        raise InvalidInput("The marker has no name.")
    for key, entry in given.marks.items():
        if not known:
            # 0.3.16 counts all questions as automatic if the source's run made no check.
            raise InvalidInput(
                f"mograder 0.3.16 left no question of {grade.assignment} to people.",
                hint=f"Grade it again here: mograder autograde {quote(grade.assignment)}",
            )
        if key not in known:
            listed = ", ".join(filter(None, known)) or "none"
            raise InvalidInput(
                f"{grade.assignment} has no question {key!r} that can be marked.",
                hint=f"Its questions: {listed}.",
            )
        if entry.points is not None and not 0 <= entry.points <= known[key]:
            raise InvalidInput(
                f"{key or 'The mark'} can have 0 to {known[key]:g} marks, not {entry.points:g}."
            )
    if any(len(text) > _LONGEST for text in _texts(given)):
        raise InvalidInput(f"A comment has at most {_LONGEST} characters.")


def _texts(given: GivenMarks) -> Iterable[str]:
    yield given.comment or ""
    for entry in given.marks.values():
        yield entry.comment


def _refuse_changed(given: GivenMarks, rows: StudentRows) -> None:
    """Refuse marks of questions that were marked since, and a comment if anything was."""
    if given.version is None:
        return
    newer = {mark.question for mark in rows.marks if mark.number > given.version}
    if given.marks.keys() & newer or (newer and given.comment is not None):
        raise Conflict(
            f"The marks of {rows.student} were changed meanwhile.",
            hint="Look at them, then give yours again.",
        )
