"""What changes of extensions, groups and rules would do, before they are recorded.

They move due dates, and with the last of these the time from which students are told marks that
tell results of hidden tests; and they change marks. What students see already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from mograder.core.name_lookup import listed
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import CourseLate, Preview
from mograder.grading.late.late_work import moment
from mograder.grading.release.feedback import NO_KEY, CourseFeedback
from mograder.grading.release.telling import shown_with_hidden_tests, telling
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import Change, LateFacts, LateWork, PolicyChange
from mograder.store.gradebook.mark_release import MarkReleases


def preview_late(
    loaded: LoadedSettings, book: Gradebook, changes: Sequence[Change], now: datetime
) -> Preview:
    """Return what changes would do; blocks.

    Raises:
        InvalidInput: A stored policy is damaged.
    """
    late, facts = CourseLate(loaded), LateWork(book).facts()
    found = late.preview(book, changes)
    after = facts.after(changes)
    extended = (
        each.assignment
        for known in (facts, after)
        for each in known.extensions.values()
        if each.until is not None
    )
    dated = (each.assignment for each in changes if isinstance(each, PolicyChange))
    names = sorted(filter(None, (*extended, *dated)))
    dues: list[str] = []
    told: list[str] = []
    for name in dict.fromkeys(names):
        dues.extend(_dues(late, name, facts, after))
        told.extend(_told(CourseFeedback(loaded, book, name, NO_KEY, now), facts, after))
    changed = {each.after.grade.assignment for each in found.differing}
    is_released = not changed.isdisjoint(MarkReleases(book).newest())
    return replace(found, dues=tuple(dues), told=tuple(told), is_released=is_released)


def _dues(late: CourseLate, assignment: str, facts: LateFacts, after: LateFacts) -> Iterator[str]:
    one, other = late.terms(assignment, facts).due, late.terms(assignment, after).due
    for student in sorted({*one.extensions, *other.extensions}):
        was, becomes = one.of(student), other.of(student)
        if was is not None and becomes is not None and was != becomes:
            yield f"{assignment}, {student}: due {moment(becomes)}; before: {moment(was)}"


def _told(feedback: CourseFeedback, facts: LateFacts, after: LateFacts) -> Iterator[str]:
    """Yield from when on marks are told, and of whom: who sees them already goes on seeing them."""
    was, other = telling(feedback, facts).ahead.later, telling(feedback, after)
    then = other.ahead.later
    if was == then or not _has_hidden_tests(feedback):
        return
    shown = shown_with_hidden_tests(feedback)
    waiting = [each for each, rows in shown.items() if other.of(rows).later is not None]
    seen = [each for each in shown if each not in waiting]
    tell = f"{feedback.assignment}: marks that tell results of hidden tests are told {_from(then)}"
    words = f"{tell}; before: {_from(was)}."
    if waiting:
        words += f" Released, and told then: the marks of {listed(waiting)}."
    if seen and then is not None:
        words += f" Seen already, and so not hidden again: the marks of {listed(seen)}."
    yield words


def _has_hidden_tests(feedback: CourseFeedback) -> bool:
    grades = feedback.book.grades(feedback.assignment)
    return any(check.hidden for grade in grades for check in grade.checks)


def _from(time: datetime | None) -> str:
    return "at once" if time is None else f"after {moment(time)}"
