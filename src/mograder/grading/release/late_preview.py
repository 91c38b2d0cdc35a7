"""What changes of extensions, groups and rules would do, before they are recorded.

They move due dates, and with the last of these the time from which students are told marks that
tell results of hidden tests; and they change marks. What students see already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mograder.core.name_lookup import listed
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import CourseLate, Preview
from mograder.grading.late.explanation import moment
from mograder.grading.release.course_feedback import NO_KEY, CourseFeedback
from mograder.grading.release.telling import shown_with_hidden_tests, telling
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_facts import Change, LateFacts, PolicyChange
from mograder.store.gradebook.late_work import LateWork
from mograder.store.gradebook.mark_release import MarkReleases


@dataclass(frozen=True, slots=True)
class DueChange:
    """Another due date of a student."""

    assignment: str
    student: str
    before: datetime
    after: datetime


@dataclass(frozen=True, slots=True)
class ToldChange:
    """Another time from which marks that tell results of hidden tests are told; None: at once.

    ``waiting`` are the students whose released marks wait for it, ``seen`` those who see them
    already, and go on seeing them.
    """

    assignment: str
    before: datetime | None
    after: datetime | None
    waiting: tuple[str, ...]
    seen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LatePreview(Preview):
    """A preview with what follows for dates and for what students are told.

    ``is_released`` is whether marks that change are of an assignment with releases, which show the
    old ones until the next release.
    """

    dues: tuple[DueChange, ...]
    told: tuple[ToldChange, ...]
    is_released: bool


def preview_late(
    loaded: LoadedSettings, book: Gradebook, changes: Sequence[Change], now: datetime
) -> LatePreview:
    """Return what changes would do; blocks.

    Raises:
        InvalidInput: A stored policy is damaged.
    """
    late, facts = CourseLate(loaded), LateWork(book).facts()
    found = late.preview(book, changes)
    with_tests = {
        each.after.grade.assignment
        for each in found.grades
        if any(check.hidden for check in each.after.grade.checks)
    }
    after = facts.after(changes)
    extended = (
        each.assignment
        for known in (facts, after)
        for each in known.extensions.values()
        if each.until is not None
    )
    dated = (each.assignment for each in changes if isinstance(each, PolicyChange))
    names = sorted(filter(None, (*extended, *dated)))
    dues: list[DueChange] = []
    told: list[ToldChange] = []
    for name in dict.fromkeys(names):
        dues.extend(_dues(late, name, facts, after))
        if name in with_tests:
            feedback = CourseFeedback(loaded, book, name, NO_KEY, now)
            told.extend(_told(feedback, facts, after))
    changed = {each.after.grade.assignment for each in found.differing}
    is_released = not changed.isdisjoint(MarkReleases(book).newest())
    return LatePreview(found.grades, found.version, tuple(dues), tuple(told), is_released)


def due_sentence(change: DueChange) -> str:
    """Return another due date in words."""
    times = f"due {moment(change.after)}; before: {moment(change.before)}"
    return f"{change.assignment}, {change.student}: {times}"


def told_sentences(change: ToldChange) -> Iterator[str]:
    """Yield in words from when on marks are told, and of whom."""
    before = "at once" if change.before is None else f"after {moment(change.before)}"
    after = "at once" if change.after is None else f"after {moment(change.after)}"
    tell = f"{change.assignment}: marks that tell results of hidden tests are told {after}"
    yield f"{tell}; before: {before}."
    if change.waiting:
        yield f"  Released, and told then: the marks of {listed(change.waiting)}."
    if change.seen and change.after is not None:
        yield f"  Seen already, and so not hidden again: the marks of {listed(change.seen)}."


def _dues(
    late: CourseLate, assignment: str, facts: LateFacts, after: LateFacts
) -> Iterator[DueChange]:
    one, other = late.terms(assignment, facts).due, late.terms(assignment, after).due
    for student in sorted({*one.extensions, *other.extensions}):
        was, becomes = one.of(student), other.of(student)
        if was is not None and becomes is not None and was != becomes:
            yield DueChange(assignment, student, was, becomes)


def _told(feedback: CourseFeedback, facts: LateFacts, after: LateFacts) -> Iterator[ToldChange]:
    one, other = telling(feedback, facts), telling(feedback, after)
    if one.ahead.later == other.ahead.later:
        return
    shown = shown_with_hidden_tests(feedback)
    waiting = [each for each, rows in shown.items() if other.of(rows).later is not None]
    seen = [each for each in shown if each not in waiting]
    name = feedback.assignment
    yield ToldChange(name, one.ahead.later, other.ahead.later, tuple(waiting), tuple(seen))
