"""The gradebook as a table: the state and the mark of every student's work, and the totals.

Each source of it is read once for the whole class: a table of the gradebook, a directory of
submissions, the last count of copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mograder.core.name_lookup import nfc
from mograder.core.names import INSTRUCTOR, ItemName, Username, is_rehearsal
from mograder.grading.late.course_late import CountedGrade, CourseLate
from mograder.grading.late.late_work import DueDates
from mograder.grading.release.feedback import NO_KEY, CourseFeedback
from mograder.grading.release.telling import telling, untold_students
from mograder.store.copies.copy_facts import CopyFacts, CopyState
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateWork
from mograder.store.gradebook.mark_release import MarkReleases
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.items.grading import ungraded

_PERCENT = 100.0


class WorkState(StrEnum):
    """How far a student's work on an item is; the last that applies."""

    NOT_BEGUN = "not begun"
    WORKING = "working"
    HANDED_IN = "handed in"
    LATE = "late"
    """Handed in after the student's own due date, and without a mark."""
    MARKED = "marked"
    RELEASED = "released"
    """The student sees a mark."""
    REQUESTED = "requested"
    """The student asks to look at a mark again, and that is not decided."""


@dataclass(frozen=True, slots=True)
class Column:
    """One item; ``most`` is its full mark, None while nothing of it was graded."""

    item: str
    weight: float
    most: float | None
    due: DueDates


@dataclass(frozen=True, slots=True)
class Work:
    """A student's work on an item; ``late`` is whether it was received after its due date.

    Of work that was graded it is about the submission with the mark. ``received`` is when the
    newest one was; ``newer`` is whether that one waits, and one before is graded.
    """

    state: WorkState
    mark: float | None = None
    late: bool = False
    received: datetime | None = None
    newer: bool = False

    @property
    def text(self) -> str:
        """The state in words, as the page and the files have it."""
        late = self.late and self.state is not WorkState.LATE
        told = (self.state.value, "late" if late else "", "newer submission" if self.newer else "")
        return ", ".join(filter(None, told))


@dataclass(frozen=True, slots=True)
class Line:
    """One student. ``total`` and ``so_far`` are per cent, None where they say nothing.

    ``total`` counts an item without a mark as 0, ``so_far`` leaves it out.
    """

    student: str
    name: str
    works: tuple[Work, ...]
    total: float | None
    so_far: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """The lines are in alphabetical order, the columns by due date, those without one last."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts about all work on an item, by student: the marks, and the times of receipt.

    ``newer`` have handed in again since they were graded; ``begun`` have edited a copy.
    """

    marks: Mapping[str, CountedGrade]
    shown: Set[str]
    asked: Set[str]
    received: Mapping[str, datetime]
    newer: Set[str]
    begun: Set[str]


def read_table(
    app: HubApp, copies: Mapping[Username, Sequence[CopyFacts]], student: Username | None = None
) -> Table:
    """Return the table of the class, or of one student; blocks.

    ``copies`` are those of every student that are known.
    """
    book = app.book()
    columns = _columns(app, book)
    facts = _facts(app, columns, book, copies, student)
    names = book.students() if book else {}
    people = [student] if student is not None else _people(app, facts.values(), names, copies)
    works = [[_work(each, name, facts[each.item]) for name in people] for each in columns]
    lines = []
    for at, name in enumerate(people):
        own = tuple(each[at] for each in works)
        lines.append(Line(name, names.get(name, ""), own, *totals(columns, own)))
    return Table(columns, tuple(lines))


def totals(columns: Sequence[Column], works: Sequence[Work]) -> tuple[float | None, float | None]:
    """Return the weighted mean of all items in per cent, and that of those with a mark."""
    parts = [
        (column.weight, None if work.mark is None or not column.most else work.mark / column.most)
        for column, work in zip(columns, works, strict=True)
        if column.weight
    ]
    got = sum(weight * part for weight, part in parts if part is not None)
    everything = sum(weight for weight, _ in parts)
    marked = sum(weight for weight, part in parts if part is not None)
    return (
        _PERCENT * got / everything if everything else None,
        _PERCENT * got / marked if marked else None,
    )


def _columns(app: HubApp, book: Gradebook | None) -> tuple[Column, ...]:
    most = {each.name: each.max_mark for each in (book.assignments() if book else ())}
    published = {str(name) for name in app.services.releases.assignments()}
    settings = app.services.loaded.settings
    columns = (
        Column(each, settings.of_item(each).weight, most.get(each), app.dates.of(each))
        for each in published | most.keys()
    )
    return tuple(sorted(columns, key=_by_due))


def _by_due(column: Column) -> tuple[float, str]:
    due = column.due.general
    return (due.timestamp() if due else float("inf"), column.item.casefold())


def _facts(
    app: HubApp,
    columns: Iterable[Column],
    book: Gradebook | None,
    copies: Mapping[Username, Sequence[CopyFacts]],
    student: str | None,
) -> Mapping[str, _Facts]:
    marks: defaultdict[str, dict[str, CountedGrade]] = defaultdict(dict)
    only = None if student is None else (student,)
    course = CourseLate(app.services.loaded).course(book, only) if book else {}
    for name, counted in course.items():
        marks[name] = {nfc(each.grade.student): each for each in counted}
    requests = RegradeRequests(book).of(student=student) if book else ()
    asked = _by_item((each.assignment, each.student) for each in requests if each.waits)
    shown = _shown(app, book, student) if book else defaultdict(set)
    begun = _by_item(
        (each.item, user)
        for user, found in copies.items()
        for each in found
        if each.state is not CopyState.DOWNLOADED
    )
    found = {}
    for name in (column.item for column in columns):
        received, newer = _arrivals(app, name, marks[name])
        found[name] = _Facts(marks[name], shown[name], asked[name], received, newer, begun[name])
    return found


def _shown(app: HubApp, book: Gradebook, student: str | None) -> Mapping[str, Set[str]]:
    """Return the students who see a mark, by item."""
    now, late_work = app.services.clock.now(), LateWork(book).facts()
    found = _by_item(MarkReleases(book).shown(now, student))
    for item, students in found.items():
        feedback = CourseFeedback(app.services.loaded, book, item, NO_KEY, now)
        untold = untold_students(feedback, telling(feedback, late_work))
        found[item] = students - set(map(nfc, untold))
    return found


def _by_item(pairs: Iterable[tuple[str, str]]) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item, student in pairs:
        found[item].add(nfc(student))
    return found


def _arrivals(
    app: HubApp, item: str, marks: Mapping[str, CountedGrade]
) -> tuple[Mapping[str, datetime], Set[str]]:
    """Return the times of the newest submissions, and the students whose mark is of an earlier one.

    Blocks; the files of submissions later than the graded one are read.
    """
    name = ItemName.valid(item)
    if name is None:
        return {}, set()
    received = app.submissions.arrivals(name)
    later = {
        user: at
        for user, at in received.items()
        if (graded := _graded_at(marks.get(user))) is not None and at > graded
    }
    waiting = ungraded(app, name, later) if later else {}
    return received, {user for user, before in waiting.items() if before}


def _graded_at(counted: CountedGrade | None) -> datetime | None:
    """Return when the graded submission was received; None if that is not known."""
    time = counted.deduction.time if counted else None
    return time.received if time else None


def _people(
    app: HubApp,
    facts: Iterable[_Facts],
    names: Mapping[str, str],
    copies: Mapping[Username, Sequence[CopyFacts]],
) -> list[str]:
    """Return the students: whoever is on the list, or has a copy, a submission or a mark."""
    worked = {user for each in facts for user in (*each.marks, *each.received)}
    listed = {*(app.services.roster.listed() or ()), *names, *map(str, copies)}
    found = (listed - app.services.policy.staff) | worked
    shown = (each for each in found if each != INSTRUCTOR and not is_rehearsal(each))
    return sorted(shown, key=str.casefold)


def _work(column: Column, student: str, facts: _Facts) -> Work:
    counted, at = facts.marks.get(student), facts.received.get(student)
    mark = counted.grade.final if counted else None
    judged, due = _graded_at(counted) or at, column.due.of(student)
    late = judged is not None and due is not None and judged > due
    if student in facts.asked:
        state = WorkState.REQUESTED
    elif student in facts.shown:
        state = WorkState.RELEASED
    elif mark is not None:
        state = WorkState.MARKED
    elif late:
        state = WorkState.LATE
    elif at is not None or counted is not None:
        state = WorkState.HANDED_IN
    else:
        state = WorkState.WORKING if student in facts.begun else WorkState.NOT_BEGUN
    return Work(state, mark, late, at, student in facts.newer)
