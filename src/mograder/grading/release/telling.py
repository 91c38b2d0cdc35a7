"""When students are told marks that tell results of hidden tests.

Such marks wait for the last due date of any student (``hidden_tests_after``), which an extension
moves. What a student was told before that stays told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from mograder.grading.late.course_late import CourseLate
from mograder.grading.late.late_work import DueDates
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.feedback_view import Disclosure
from mograder.grading.release.releasing import readable_marks
from mograder.store.gradebook.late_work import Change, LateFacts, LateWork, Membership
from mograder.store.gradebook.mark_release import MarkReleases, ReleaseRow, standing

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Telling:
    """What students are told of an assignment's marks at the time of ``feedback``.

    Attributes:
        ahead: Of marks that are released now, to a student who was told none before.
        due: The due dates in force.
        steps: The last due date of any student, as recorded from a time on; oldest first. Empty
            where ``ahead`` holds nothing back.
    """

    feedback: CourseFeedback
    ahead: Disclosure
    due: DueDates
    steps: Sequence[tuple[datetime, datetime | None]] = ()

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
        is_over = own is None or own <= self.feedback.now
        if is_over or shown is told[-1] or self._is_same_work(shown, told[-1]):
            return replace(self.ahead, later=None)
        return self.ahead

    def anew(self, rows: Sequence[ReleaseRow], marks: str) -> Disclosure:
        """Return what a student would be told of marks (their JSON) that are released now."""
        if not rows:
            return self.ahead
        now = self.feedback.now
        return self.of((*rows, replace(rows[-1], visible_from=now, at=now, grade=marks)))

    def held_until(self, row: ReleaseRow) -> datetime | None:
        """Return until when marks that a row released were held back; None if they were not."""
        marks = readable_marks(row)
        if marks is None or not marks.hidden_tests:
            return None
        settings, name = self.feedback.loaded.settings, self.feedback.assignment
        return Disclosure.of(settings, name, due=self.due.last, now=row.at).later

    def _is_same_work(self, row: ReleaseRow, other: ReleaseRow) -> bool:
        one, two, same = readable_marks(row), readable_marks(other), self.feedback.is_same_work
        return one is not None and two is not None and same(row.student, one.run, two.run)

    def _was_told(self, row: ReleaseRow, rows: Sequence[ReleaseRow]) -> bool:
        """Return whether a release was shown at a time when nothing was held back."""
        if row.visible_from is None:
            return False
        ends = [*(since for since, _ in self.steps[1:]), None]
        for (since, last), end in zip(self.steps, ends, strict=True):
            first = max(row.visible_from, since, last or _BEGINNING)
            if end is None or first < end:
                before = [each for each in rows if each.at <= first]
                return first <= self.feedback.now and standing(before, first).shown is row
        return False


def telling(feedback: CourseFeedback, facts: LateFacts | None = None) -> Telling:
    """Return what students are told of an assignment's marks now; blocks.

    ``facts`` are those in force, read if they are not given.
    """
    work, name = LateWork(feedback.book), feedback.assignment
    late = CourseLate(feedback.loaded)
    due = late.terms(name, work.facts() if facts is None else facts).due
    ahead = Disclosure.of(feedback.loaded.settings, name, due=due.last, now=feedback.now)
    if ahead.later is None:
        return Telling(feedback, ahead, due)
    return Telling(feedback, ahead, due, _steps(late, name, work.changes()))


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


def _steps(
    late: CourseLate, assignment: str, changes: Iterable[tuple[datetime, Change]]
) -> Sequence[tuple[datetime, datetime | None]]:
    facts = LateFacts()
    steps = [(_BEGINNING, late.terms(assignment, facts).due.last)]
    own = (
        (at, each)
        for at, each in changes
        if isinstance(each, Membership) or each.assignment == assignment
    )
    for at, group in groupby(own, key=itemgetter(0)):
        facts = facts.after(each for _, each in group)
        steps.append((at, late.terms(assignment, facts).due.last))
    return steps
