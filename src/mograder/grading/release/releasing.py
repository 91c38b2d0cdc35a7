"""Releasing marks to students, and taking them back.

A release keeps the marks as they are then, as JSON in the gradebook. Later changes are visible only
after the next release.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import DueDates
from mograder.core.names import nfc
from mograder.grading.course_late import CourseLate
from mograder.grading.late_work import NO_DEDUCTION, Deduction
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.feedback_view import Disclosure, GradedWork
from mograder.grading.submissions.grading_result import LastResult
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import ALL_ASSIGNMENTS, LateWork
from mograder.store.gradebook.mark_counting import waiting_for
from mograder.store.gradebook.mark_release import (
    MarkReleases,
    NewRelease,
    ReleaseRow,
    Standing,
    standing,
)
from mograder.store.marking.annotations import MarkReasons, read_mark_reasons

LONGEST_NOTE = 1000
_LATEST = 20


@dataclass(frozen=True, slots=True)
class ReleasedMarks:
    """A student's marks with what explains them.

    ``run`` is the number of the run whose result explains the marks, None without one.
    ``hidden_tests`` is whether hidden tests are part of a mark, which may not be told before the
    last due date. ``told``: the release held nothing back, so that the student has seen it,
    whatever the settings say later. ``reasons`` are what people said about their marks.
    """

    grade: StudentGrade
    run: int | None = None
    deduction: Deduction = NO_DEDUCTION
    hidden_tests: bool = False
    told: bool = False
    reasons: Mapping[str, MarkReasons] = field(default_factory=dict)

    def work(self, last: LastResult) -> GradedWork:
        return GradedWork(self.grade, last, self.deduction, self.reasons)


_FORM = TypeAdapter(ReleasedMarks)


def marks_now(work: GradedWork) -> ReleasedMarks:
    checks = () if work.last.result is None else work.last.result.checks
    return ReleasedMarks(
        grade=work.grade,
        run=work.last.run,
        deduction=work.deduction,
        hidden_tests=any(label.hidden for check in checks for label in check.labels),
        reasons=work.reasons,
    )


def told_now(feedback: CourseFeedback, due: DueDates) -> Disclosure:
    """Return the disclosure of marks that are released now to a student without earlier ones."""
    settings = feedback.loaded.settings
    return Disclosure.of(settings, feedback.assignment, due=due.last, now=feedback.now)


def _is_told_now(feedback: CourseFeedback) -> bool:
    late, facts = CourseLate(feedback.loaded), LateWork(feedback.book).facts()
    return told_now(feedback, late.terms(feedback.assignment, facts).due).later is None


def render_marks(marks: ReleasedMarks) -> str:
    """Return the JSON of marks; ASCII, since labels may have code points that UTF-8 has not."""
    return json.dumps(_FORM.dump_python(marks, mode="json"))


def parse_marks(text: str) -> ReleasedMarks:
    """Raise InvalidInput if the text is damaged."""
    try:  # pydantic's own parser refuses a label with a surrogate code point
        return _FORM.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "The released marks in the gradebook are damaged.", hint="Release them again."
        ) from error


def readable_marks(row: ReleaseRow | None) -> ReleasedMarks | None:
    """Return the marks of a release; None without one, or if they are damaged."""
    try:
        return None if row is None else parse_marks(row.grade)
    except InvalidInput:
        return None


def differ(one: StudentGrade, other: StudentGrade) -> bool:
    return _seen(one) != _seen(other)


def _seen(grade: StudentGrade) -> object:
    questions = [(each.key, each.points, each.available, each.comment) for each in grade.questions]
    marks = grade.total, grade.penalty_pct, grade.final, grade.max_mark
    return questions, marks, grade.comment


class ReleaseState(StrEnum):
    NO_MARK = "no mark yet"
    NOT_RELEASED = "not released"
    WAITING = "will be released"
    RELEASED = "released"
    CHANGED = "changed since the release"
    TAKEN_BACK = "taken back"


@dataclass(frozen=True, slots=True)
class StudentRelease:
    """One student: the present marks, the releases at a time, and the marks of the newest of these.

    ``newest`` is None without a release, and for a damaged one. ``reasons`` has the comments of
    markers on the present marks, by question.
    """

    grade: StudentGrade
    standing: Standing
    newest: ReleasedMarks | None = None
    reasons: Mapping[str, MarkReasons] = field(default_factory=dict)

    @property
    def state(self) -> ReleaseState:
        last = self.standing.waiting or self.standing.shown
        if last is not None:
            before = self.newest
            if before is None or differ(before.grade, self.grade) or before.reasons != self.reasons:
                return ReleaseState.CHANGED
            return ReleaseState.WAITING if last is self.standing.waiting else ReleaseState.RELEASED
        if self.standing.taken_back is not None:
            return ReleaseState.TAKEN_BACK
        return ReleaseState.NO_MARK if self.grade.final is None else ReleaseState.NOT_RELEASED


@dataclass(frozen=True, slots=True)
class Released:
    """The result of a release: the students with a new row, and those left out with the reasons.

    ``unchanged`` are those whose newest release is the same already.
    """

    students: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    unchanged: tuple[str, ...] = ()


def chosen_students(
    book: Gradebook, assignment: str, students: Collection[str], groups: Collection[str]
) -> frozenset[str] | None:
    """Return the students who are named, and the groups' members with work; None for all.

    Raises: NotFound if there is no such group.
    """
    if not students and not groups:
        return None
    spelled = {nfc(grade.student): grade.student for grade in book.grades(assignment)}
    known = LateWork(book).facts().groups() if groups else {}
    for group in groups:
        if nfc(group) not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise NotFound(f"There is no group {group[:100]!r}.", hint=f"The groups: {listed}.")
    members = {student for group in groups for student in known[nfc(group)]} & spelled.keys()
    return frozenset(
        spelled.get(name, name) for name in members.union(nfc(each) for each in students)
    )


def release_states(
    feedback: CourseFeedback, students: Collection[str] | None = None
) -> tuple[StudentRelease, ...]:
    """Return students of an assignment, or all, with what they see, ordered by username.

    Raises: NotFound if the gradebook does not have one of them.
    """
    if students is not None and not students:
        return ()
    rows = MarkReleases(feedback.book).rows(feedback.assignment)
    reasons = read_mark_reasons(feedback.book, feedback.assignment) if rows else {}
    found = []
    for grade in feedback.grades(students):
        stands = standing(rows.get(grade.student, ()), feedback.now)
        newest, said = readable_marks(stands.waiting or stands.shown), reasons.get(grade.student)
        found.append(StudentRelease(grade, stands, newest, said or {}))
    return tuple(found)


def changed_marks(feedback: CourseFeedback, known: Collection[StudentRelease]) -> int:
    """Return how many marks of an assignment changed since their release.

    ``known`` are students who were looked at already; those whose work came last are looked at in
    any case, since rules for late work concern them. If marks of theirs changed without a change in
    the gradebook, the settings did, or times of submission: then all students are looked at. So are
    they where other work of a student may use late days of the term.
    """
    works = feedback.book.last_works(feedback.assignment)
    latest = sorted(works, key=lambda student: works[student][1])[-_LATEST:]
    unseen = set(latest).difference(each.grade.student for each in known)
    known = [*known, *release_states(feedback, unseen)]
    changed, facts = _changed(known), LateWork(feedback.book).facts()
    touched = MarkReleases(feedback.book).changed_since(feedback.assignment)
    late_days = CourseLate(feedback.loaded).rule(ALL_ASSIGNMENTS, facts).late_days
    if late_days or not changed <= touched:
        return len(_changed(release_states(feedback)))
    others = touched.difference(each.grade.student for each in known)
    return len(changed | _changed(release_states(feedback, others)))


def _changed(found: Iterable[StudentRelease]) -> set[str]:
    return {each.grade.student for each in found if each.state is ReleaseState.CHANGED}


def release(
    feedback: CourseFeedback,
    students: Collection[str] | None,
    *,
    at: datetime | None,
    by: str,
    note: str = "",
    dry_run: bool = False,
) -> Released:
    """Release the present marks of students, or of all, from a time on (None: now).

    A student without a mark is left out, and one whose newest release has the same marks of the
    same work, and the same time.
    ``dry_run`` returns what would be done.

    Raises:
        NotFound: The gradebook does not have one of the students.
        InvalidInput: The time has passed, or the note is too long.
        Conflict: Marks of the assignment were released or taken back meanwhile.
    """
    check_note(note)
    now = feedback.now
    if at is not None and at < now:
        raise InvalidInput(f"{at.isoformat()} has passed.", hint="Leave it out to release now.")
    releases = MarkReleases(feedback.book)
    # Before the rows are read: one that is added meanwhile counts as not seen.
    seen = releases.newest().get(feedback.assignment, 0)
    known = releases.rows(feedback.assignment)
    told = at is None and _is_told_now(feedback)
    news: list[NewRelease] = []
    left_out: list[tuple[str, str]] = []
    unchanged: list[str] = []
    for each in feedback.works(students):
        grade = each.grade
        why = each.last.problem
        if not why and grade.final is None:
            why = ", ".join(waiting_for(grade)) or "there is no mark yet"
        if why:
            left_out.append((grade.student, why))
            continue
        marks = replace(marks_now(each), told=told)
        stands = standing(known.get(grade.student, ()), now)
        if _is_same(feedback, stands, marks, at):
            unchanged.append(grade.student)
        else:
            news.append(NewRelease(grade.student, at or now, render_marks(marks)))
    if news and not dry_run:
        releases.add(feedback.assignment, news, seen=seen, by=by, at=now, note=note)
    return Released(tuple(each.student for each in news), tuple(left_out), tuple(unchanged))


def take_back(
    feedback: CourseFeedback,
    students: Collection[str] | None,
    *,
    by: str,
    note: str,
    dry_run: bool = False,
) -> Released:
    """Take the marks of students, or of all, back; they read the note in their place.

    Students without a release are left out.

    Raises: as :func:`release`, and InvalidInput without a note.
    """
    if not note.strip():
        raise InvalidInput("Write a note, which students read in place of their marks.")
    check_note(note)
    if students is not None:
        feedback.grades(students)
    releases, now = MarkReleases(feedback.book), feedback.now
    seen = releases.newest().get(feedback.assignment, 0)
    rows = releases.rows(feedback.assignment)
    news = []
    for student in sorted(rows if students is None else students):
        stands = standing(rows.get(student, ()), now)
        if stands.shown is not None or stands.waiting is not None:
            news.append(NewRelease(student, None))
    if news and not dry_run:
        releases.add(feedback.assignment, news, seen=seen, by=by, at=now, note=note)
    return Released(tuple(each.student for each in news))


def new_release(
    feedback: CourseFeedback, student: str, at: datetime | None = None
) -> NewRelease | None:
    """Return a row that releases a student's present marks, None while there is no mark.

    They are visible from ``at`` on, now without it.

    Raises: as :func:`release`.
    """
    (each,) = feedback.works((student,))
    if each.grade.final is None or each.last.problem:
        return None
    marks = replace(marks_now(each), told=at is None and _is_told_now(feedback))
    return NewRelease(student, at or feedback.now, render_marks(marks))


def check_note(note: str) -> None:
    if len(note) > LONGEST_NOTE:
        raise InvalidInput(f"The note may have at most {LONGEST_NOTE} characters.")


def _is_same(
    feedback: CourseFeedback, stands: Standing, marks: ReleasedMarks, at: datetime | None
) -> bool:
    """Return whether these marks of this work are visible, or will be from this time on."""
    last = stands.waiting or stands.shown
    before = readable_marks(last)
    if last is None or before is None or differ(before.grade, marks.grade):
        return False
    same_work = feedback.is_same_work(marks.grade.student, before.run, marks.run)
    if before.reasons != marks.reasons or not same_work:
        return False
    return stands.waiting is None or (at is not None and last.visible_from == at)
