"""Releasing marks to students, and taking them back.

A release keeps the marks as they are then. Later changes are visible only after the next release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.grading.feedback.feedback import FeedbackRequest, record_deductions, works_of
from mograder.grading.release.released_marks import (
    ReleasedMarks,
    differ,
    marks_now,
    parse_marks,
    render_marks,
)
from mograder.store.gradebook import Gradebook
from mograder.store.grading_records import StudentGrade
from mograder.store.mark_counting import waiting_for
from mograder.store.mark_release import MarkReleases, NewRelease, ReleaseRow, Standing, standing

LONGEST_NOTE = 1000


class ReleaseState(StrEnum):
    """What a student sees of an assignment's marks."""

    NO_MARK = "no mark yet"
    NOT_RELEASED = "not released"
    WAITING = "will be released"
    RELEASED = "released"
    CHANGED = "changed since the release"
    TAKEN_BACK = "taken back"


@dataclass(frozen=True, slots=True)
class StudentRelease:
    """One student: the present marks, the releases at a time, and the marks of the newest of these.

    ``newest`` is None if there is none, or if it is damaged.
    """

    grade: StudentGrade
    standing: Standing
    newest: ReleasedMarks | None = None

    @property
    def state(self) -> ReleaseState:
        """What the student sees."""
        last = self.standing.waiting or self.standing.shown
        if last is not None:
            if self.newest is None or differ(self.newest.grade, self.grade):
                return ReleaseState.CHANGED
            return ReleaseState.WAITING if last is self.standing.waiting else ReleaseState.RELEASED
        if self.standing.taken_back is not None:
            return ReleaseState.TAKEN_BACK
        return ReleaseState.NO_MARK if self.grade.final is None else ReleaseState.NOT_RELEASED


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did: the students with a new row, and those left out with the reasons."""

    students: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def release_states(book: Gradebook, assignment: str, now: datetime) -> tuple[StudentRelease, ...]:
    """Return all students of an assignment with what they see, ordered by username."""
    rows = MarkReleases(book).rows(assignment)
    found = []
    for grade in book.grades(assignment):
        stands = standing(rows.get(grade.student, ()), now)
        found.append(StudentRelease(grade, stands, _parsed(stands.waiting or stands.shown)))
    return tuple(found)


def release(
    request: FeedbackRequest,
    book: Gradebook,
    students: Collection[str] | None,
    *,
    at: datetime | None,
    by: str,
    note: str = "",
    dry_run: bool = False,
) -> Released:
    """Release the present marks of students, or of all, from a time on (None: now).

    A student without a mark is left out, and one whose newest release has the same marks and time.
    Deductions for lateness are recorded before. ``dry_run`` returns what would be done.

    Raises:
        NotFound: The gradebook does not have one of the students.
        InvalidInput: The time has passed, or the note is too long.
        Busy: The gradebook is locked, or the disk is full.
    """
    check_note(note)
    now = request.now
    if at is not None and at < now:
        raise InvalidInput(f"{at.isoformat()} has passed.", hint="Leave it out to release now.")
    if not dry_run:
        present = works_of(request, book, _chosen(book, request.assignment, students))
        record_deductions(request, book, present)
    grades = _chosen(book, request.assignment, students)
    known = MarkReleases(book).rows(request.assignment)
    news: list[NewRelease] = []
    left_out: list[tuple[str, str]] = []
    for each in works_of(request, book, grades):
        grade = each.work.grade
        why = each.recorded.problem or _why_none(grade)
        if why:
            left_out.append((grade.student, why))
            continue
        marks = marks_now(each)
        stands = standing(known.get(grade.student, ()), now)
        if not _is_same(stands, marks, at):
            news.append(NewRelease(grade.student, at or now, render_marks(marks)))
    if news and not dry_run:
        MarkReleases(book).add(request.assignment, news, by=by, at=now, note=note)
    return Released(tuple(each.student for each in news), tuple(left_out))


def take_back(
    book: Gradebook,
    assignment: str,
    students: Collection[str] | None,
    *,
    by: str,
    now: datetime,
    note: str,
    dry_run: bool = False,
) -> Released:
    """Take the marks of students, or of all, back; they read the note in their place.

    Students without a release are left out.

    Raises: as :func:`release`.
    """
    check_note(note)
    if students is not None:
        _chosen(book, assignment, students)
    rows = MarkReleases(book).rows(assignment)
    news = []
    for student in sorted(rows if students is None else students):
        stands = standing(rows.get(student, ()), now)
        if stands.shown is not None or stands.waiting is not None:
            news.append(NewRelease(student, None))
    if news and not dry_run:
        MarkReleases(book).add(assignment, news, by=by, at=now, note=note)
    return Released(tuple(each.student for each in news))


def new_release(request: FeedbackRequest, book: Gradebook, student: str) -> NewRelease | None:
    """Return a row that releases a student's present marks now, None while there is no mark.

    The deduction for lateness is recorded before.

    Raises: as :func:`release`.
    """
    chosen = _chosen(book, request.assignment, (student,))
    record_deductions(request, book, works_of(request, book, chosen))
    (each,) = works_of(request, book, _chosen(book, request.assignment, (student,)))
    if each.work.grade.final is None or each.recorded.problem:
        return None
    return NewRelease(student, request.now, render_marks(marks_now(each)))


def check_note(note: str) -> None:
    """Check the note of a release.

    Raises: :class:`InvalidInput` if it is too long.
    """
    if len(note) > LONGEST_NOTE:
        raise InvalidInput(f"The note may have at most {LONGEST_NOTE} characters.")


def _chosen(
    book: Gradebook, assignment: str, students: Collection[str] | None
) -> tuple[StudentGrade, ...]:
    grades = book.grades(assignment)
    if students is None:
        return grades
    known = {each.student: each for each in grades}
    missing = [each for each in students if each not in known]
    if missing:
        raise NotFound(
            f"The gradebook has no marks for {assignment} of: {', '.join(_short(missing))}.",
            hint="Grade first, or correct the names.",
        )
    return tuple(known[name] for name in sorted(set(students), key=str.casefold))


def _short(names: Iterable[str]) -> list[str]:
    found = [each[:100] for each in names]
    return [*found[:10], f"and {len(found) - 10} more"] if len(found) > 10 else found


def _why_none(grade: StudentGrade) -> str:
    """Return why a student has no mark; "" for one who has."""
    if grade.final is not None:
        return ""
    return ", ".join(waiting_for(grade)) or "there is no mark yet"


def _is_same(stands: Standing, marks: ReleasedMarks, at: datetime | None) -> bool:
    """Return whether these marks are visible already, or will be from this time on."""
    last = stands.waiting or stands.shown
    before = _parsed(last)
    if last is None or before is None or differ(before.grade, marks.grade):
        return False
    return stands.waiting is None or (at is not None and last.visible_from == at)


def _parsed(row: ReleaseRow | None) -> ReleasedMarks | None:
    try:
        return None if row is None else parse_marks(row.grade)
    except MograderError:
        return None
