"""Released marks as students are told them: in short, as pages, and as other systems have them.

Marks that tell results of hidden tests wait for the last due date of any student
(``hidden_tests_after``), which an extension moves. What a student was told before that stays told.
A page is made from the marks of the release, and from the result that explained them then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.item_dates import DueDates, course_zone
from mograder.core.log import get_logger
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import CourseLate
from mograder.grading.late_work import late_sentence, moment
from mograder.grading.release.feedback import (
    CourseFeedback,
    ShownNotebook,
    page_name,
    render_feedback_page,
    shown_notebook,
)
from mograder.grading.release.feedback_view import Disclosure, FeedbackView, Level, view_feedback
from mograder.grading.release.releasing import ReleasedMarks, parse_marks, readable_marks, told_now
from mograder.grading.submissions.grading_result import NO_RESULT, LastResult, result_of_run
from mograder.store.filesystem.files import atomic_write
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import LateFacts, LateWork, Membership
from mograder.store.gradebook.mark_release import MarkReleases, ReleaseRow, standing
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests, RequestState

_log = get_logger(__name__)
_PRIVATE = 0o600
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Telling:
    """What students are told of an assignment's marks at the time of ``feedback``.

    Attributes:
        ahead: Of marks that are released now, to a student who was told none before.
        due: The due dates in force.
    """

    feedback: CourseFeedback
    ahead: Disclosure
    due: DueDates

    @property
    def is_extended(self) -> bool:
        """Whether the general due date has passed, so that only extensions still run."""
        return self.due.general is not None and self.due.general <= self.feedback.now

    def of(self, rows: Sequence[ReleaseRow]) -> Disclosure:
        """Return what a student is told of the marks that are shown; ``rows`` are the student's.

        A student who was told marks before is told later ones, too: of the same work at once, of
        other work when the student's own due date has passed.
        """
        if self.ahead.later is None:
            return self.ahead
        shown = standing(rows, self.feedback.now).shown
        told = [row for row in rows if self._was_told(row, rows)]
        if shown is None or not told:
            return self.ahead
        own = self.due.of(shown.student)
        if own is None or own <= self.feedback.now or shown is told[-1]:
            return replace(self.ahead, later=None)
        one, two = readable_marks(shown), readable_marks(told[-1])
        same = one and two and self.feedback.is_same_work(shown.student, one.run, two.run)
        return replace(self.ahead, later=None) if same else self.ahead

    def anew(self, rows: Sequence[ReleaseRow], marks: str) -> Disclosure:
        """Return what a student would be told of marks (their JSON) that are released now."""
        if not rows:
            return self.ahead
        now = self.feedback.now
        return self.of((*rows, replace(rows[-1], visible_from=now, at=now, grade=marks)))

    def held_until(self, row: ReleaseRow) -> datetime | None:
        """Return until when marks that a row released were held back; None if they were not.

        An extension that was withdrawn since, or a due date that was moved, counts until then.
        """
        marks = readable_marks(row)
        if marks is None or marks.told or not marks.hidden_tests:
            return None
        settings, name = self.feedback.loaded.settings, self.feedback.assignment
        begin = row.visible_from or row.at
        return Disclosure.of(settings, name, due=self._told_from(begin), now=begin).later

    def _was_told(self, row: ReleaseRow, rows: Sequence[ReleaseRow]) -> bool:
        """Return whether a release was shown at a time when nothing was held back."""
        if row.visible_from is None:
            return False
        marks = readable_marks(row)
        if marks is not None and marks.told:
            return True
        first = self._told_from(row.visible_from)
        before = [each for each in rows if each.at <= first]
        return first <= self.feedback.now and standing(before, first).shown is row

    def _told_from(self, begin: datetime) -> datetime:
        """Return the first moment since a time at which no due date was to come, as recorded."""
        ends = [*(since for since, _ in self._steps[1:]), _END]
        firsts = (max(begin, since, last or _BEGINNING) for since, last in self._steps)
        return next(first for first, end in zip(firsts, ends, strict=True) if first < end)

    @cached_property
    def _steps(self) -> Sequence[tuple[datetime, datetime | None]]:
        """The last due date of any student, as recorded from a time on; oldest first; blocks."""
        late, name, facts = CourseLate(self.feedback.loaded), self.feedback.assignment, LateFacts()
        steps = [(_BEGINNING, late.terms(name, facts).due.last)]
        own = (
            (at, each)
            for at, each in LateWork(self.feedback.book).changes()
            if isinstance(each, Membership) or each.assignment == name
        )
        for at, group in groupby(own, key=itemgetter(0)):
            facts = facts.after(each for _, each in group)
            steps.append((at, late.terms(name, facts).due.last))
        return steps


def telling(feedback: CourseFeedback, facts: LateFacts | None = None) -> Telling:
    """Return what students are told now; blocks. ``facts`` are read if they are not given."""
    work, name = LateWork(feedback.book), feedback.assignment
    late = CourseLate(feedback.loaded)
    due = late.terms(name, work.facts() if facts is None else facts).due
    return Telling(feedback, told_now(feedback, due), due)


def untold_students(feedback: CourseFeedback, tells: Telling) -> Sequence[str]:
    """Return the students who do not see their released marks yet, sorted; blocks."""
    if tells.ahead.later is None:
        return ()
    found = shown_with_hidden_tests(feedback)
    return tuple(each for each, rows in found.items() if tells.of(rows).later is not None)


def shown_with_hidden_tests(feedback: CourseFeedback) -> Mapping[str, Sequence[ReleaseRow]]:
    """Return the releases of students whose released marks tell results of hidden tests, sorted.

    Damaged marks are left out: no page shows them. Blocks.
    """
    found = MarkReleases(feedback.book).rows(feedback.assignment)
    marks = {each: readable_marks(standing(found[each], feedback.now).shown) for each in found}
    with_tests = (each for each, shown in marks.items() if shown and shown.hidden_tests)
    return {each: found[each] for each in sorted(with_tests, key=str.casefold)}


@dataclass(frozen=True, slots=True)
class StudentMark:
    """A released mark in short.

    ``mark`` is empty while it may not be told; ``status`` says so, or what was taken back. ``late``
    is the deduction as a sum. ``answered`` counts requests with an answer that asks for more, and
    ``decided`` those with a decision, ``waiting`` those without an answer.
    """

    mark: str = ""
    most: str = ""
    late: str = ""
    status: str = ""
    waiting: int = 0
    answered: int = 0
    decided: int = 0


@dataclass(frozen=True, slots=True)
class DueMark:
    """A released mark; ``late`` is the deduction as a sum, "" without one."""

    grade: StudentGrade
    late: str = ""


@dataclass(frozen=True, slots=True)
class DueMarks:
    """The marks of an assignment by username; None for one that was taken back.

    Marks that students are not told yet, and damaged ones, are left out. ``changes_at`` is when the
    next mark becomes visible without anybody's doing, None if none does.
    """

    marks: dict[str, DueMark | None]
    changes_at: datetime | None = None


def marks_of_student(
    loaded: LoadedSettings, book: Gradebook, key: bytes, student: str, now: datetime
) -> Mapping[str, StudentMark]:
    """Return what a student sees, by assignment; blocks.

    Assignments of which the student never saw a mark are left out, and damaged ones logged.
    """
    requests: defaultdict[str, list[RegradeRequest]] = defaultdict(list)
    found: dict[str, StudentMark] = {}
    releases = MarkReleases(book).rows_of(student)
    if not releases:
        return found
    facts = LateWork(book).facts()
    for request in RegradeRequests(book).of(student=student):
        requests[request.assignment].append(request)
    for assignment, rows in releases.items():
        feedback = CourseFeedback(loaded, book, assignment, key, now)
        try:
            told = _told(feedback, facts, rows)
        except MograderError as error:
            _log.error("the released marks of %s for %s: %s", student, assignment, error)
            continue
        if told is not None:
            states = [each.state for each in requests[assignment]]
            found[assignment] = replace(
                told,
                waiting=states.count(RequestState.OPEN),
                answered=states.count(RequestState.ANSWERED),
                decided=states.count(RequestState.DECIDED),
            )
    return found


def view_marks(
    feedback: CourseFeedback, marks: ReleasedMarks, disclosure: Disclosure
) -> FeedbackView:
    """Raise InvalidInput if the result that explains the marks is not to be used."""
    return view_feedback(marks.work(_explained(feedback, marks)), disclosure)


def render_marks_page(
    feedback: CourseFeedback, marks: ReleasedMarks, disclosure: Disclosure
) -> str:
    """Return the page of feedback with the notebook, if that is still the one of these marks.

    Raises: as :func:`view_marks`.
    """
    work, notebook = marks.work(_explained(feedback, marks)), ShownNotebook()
    student = marks.grade.student
    last = feedback.book.last_run(feedback.assignment, student)  # no other's files are there
    newest = None if last is None else last.number
    if marks.run is None or feedback.is_same_work(student, marks.run, newest):
        notebook = shown_notebook(feedback.autograded, student)
    return render_feedback_page(work, disclosure, notebook)


def released_marks(feedback: CourseFeedback) -> Mapping[str, ReleasedMarks] | None:
    """Return the marks of an assignment that students see now, by username.

    None if none of them was ever released.

    Raises: :class:`InvalidInput` if a release is damaged.
    """
    rows = MarkReleases(feedback.book).rows(feedback.assignment)
    found = {each: standing(rows[each], feedback.now).shown for each in rows}
    shown = {each: parse_marks(row.grade) for each, row in found.items() if row is not None}
    return shown if rows else None


def write_released_pages(
    feedback: CourseFeedback, released: Iterable[ReleasedMarks], directory: Path
) -> Iterator[tuple[str, str]]:
    """Write ``USER.html`` for each; yield whose page could not be written, with the reason."""
    tells, rows = telling(feedback), MarkReleases(feedback.book).rows(feedback.assignment)
    for marks in released:
        student = marks.grade.student
        try:
            path = directory / page_name(student)
            page = render_marks_page(feedback, marks, tells.of(rows.get(student, ())))
            atomic_write(path, page.encode("utf-8", "replace"), _PRIVATE)
        except (MograderError, OSError) as error:
            yield student, str(error)


def due_marks(feedback: CourseFeedback) -> DueMarks:
    """Return the marks that other systems may have: those that students see now; blocks."""
    tells = telling(feedback)
    found: dict[str, DueMark | None] = {}
    moments = [] if tells.ahead.later is None else [tells.ahead.later]
    for student, rows in MarkReleases(feedback.book).rows(feedback.assignment).items():
        stands = standing(rows, feedback.now)
        if stands.waiting is not None and stands.waiting.visible_from is not None:
            moments.append(stands.waiting.visible_from)
        if stands.shown is None:
            if stands.taken_back is not None:
                found[student] = None
            continue
        try:
            marks = parse_marks(stands.shown.grade)
        except MograderError as error:
            _log.error("the marks of %s for %s: %s", student, feedback.assignment, error)
            continue
        if marks.grade.final is None or (marks.hidden_tests and tells.of(rows).later is not None):
            continue
        is_late, zone = marks.deduction.percent, tells.ahead.zone
        late = late_sentence(marks.grade, marks.deduction, zone) if is_late else ""
        found[student] = DueMark(marks.grade, late)
    return DueMarks(found, min(moments, default=None))


def _told(
    feedback: CourseFeedback, facts: LateFacts, rows: Sequence[ReleaseRow]
) -> StudentMark | None:
    stands = standing(rows, feedback.now)
    if stands.shown is not None:
        marks = parse_marks(stands.shown.grade)
        later = telling(feedback, facts).of(rows).later if marks.hidden_tests else None
        zone = course_zone(feedback.loaded.settings)
        if later is not None:
            return StudentMark(status=f"will be told after {moment(later, zone)}")
        view = view_feedback(marks.work(NO_RESULT), Disclosure(Level.NOTHING, zone=zone))
        return StudentMark(view.mark, view.most, view.late)
    if stands.taken_back is not None:
        return StudentMark(status=f"was taken back: {stands.taken_back.note}")
    return None


def _explained(feedback: CourseFeedback, marks: ReleasedMarks) -> LastResult:
    if marks.run is None:
        return NO_RESULT
    grade = marks.grade
    run = feedback.book.run(grade.assignment, grade.student, marks.run)
    found = result_of_run(feedback.key, run)
    if found.problem:
        raise InvalidInput(
            f"The reasons for these marks cannot be shown: {found.problem}.",
            hint="Tell your instructor.",
        )
    return found
