"""Late work of a course: the dates of its items, and marks with the deductions that follow.

Everything that shows or sends a final mark takes it from :class:`CourseLate`, which computes the
deductions each time they are read. All pages and servers take dates, the general ones and each
student's, from :class:`CourseDates`; they come from ``mograder.toml``, ``assignments.json`` and the
gradebook, which has the dates that instructors set, and extensions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from mograder.core.clock import from_unix_or_none
from mograder.core.errors import Conflict, MograderError, NotFound
from mograder.core.files.disk import DISK, Disk, look_for
from mograder.core.item_dates import DueDates, ItemDates, OwnDates, given_zone
from mograder.core.log import get_logger
from mograder.core.name_lookup import counted
from mograder.core.names import nfc
from mograder.core.sections.settings_model import CourseRule, LateRule, PenaltiesSettings
from mograder.core.settings import LoadedSettings, Origin
from mograder.grading.late_work import (
    MOODLE,
    PLATFORM,
    UNKNOWN,
    Basis,
    Deduction,
    SubmissionTime,
    Terms,
    TimeSource,
    Work,
    due_dates,
    late_work,
    openings,
    with_facts,
)
from mograder.store.assignment_server.assignments import MANIFEST_FILE, Catalogue
from mograder.store.assignment_server.assignments import Assignment as ServedAssignment
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.gradebook_0316 import Outcome
from mograder.store.gradebook.grading_records import NO_WORK, Penalty, StudentGrade
from mograder.store.gradebook.grading_records import Work as RecordedWork
from mograder.store.gradebook.late_work import (
    ALL_ASSIGNMENTS,
    Change,
    LateFacts,
    LateRecords,
    LateWork,
    Membership,
    PolicyChange,
)
from mograder.store.gradebook.mark_counting import is_stale, mark_after
from mograder.store.submissions.submitted_files import read_numbers

_AGAIN_SECONDS = 1.0
"""Seconds between two questions to a share's server whether the gradebook is another one."""

_RETRY_SECONDS = 10.0
"""Seconds until a gradebook that could not be read is tried again."""

_SAME_SECONDS = 1.0
"""Times of receipt that differ by less are one time."""

_MOST_DUES = 1000
"""Most items whose dates are kept; students' copies may have any names."""

_log = get_logger(__name__)
_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class CountedGrade:
    """A student's marks with the deduction, and what it follows from."""

    grade: StudentGrade
    deduction: Deduction


@dataclass(frozen=True, slots=True)
class ComparedGrade:
    before: CountedGrade
    after: CountedGrade

    @property
    def differs(self) -> bool:
        one, other = self.before.grade, self.after.grade
        return (one.final, one.penalty_pct) != (other.final, other.penalty_pct)


@dataclass(frozen=True, slots=True)
class Preview:
    """The class before and after changes; give ``version`` to :meth:`LateWork.record`.

    ``grades`` are all that the changes may concern. Only
    :func:`~mograder.grading.late_changes.preview_late` says what follows for others:
    ``dues`` are other due dates of students, and ``told`` other times from which marks that tell
    results of hidden tests are told, in words. ``is_released`` is whether marks that change are of
    an assignment with releases, which show the old ones until the next release.
    """

    grades: tuple[ComparedGrade, ...]
    version: str
    dues: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    is_released: bool = False

    @property
    def differing(self) -> tuple[ComparedGrade, ...]:
        return tuple(each for each in self.grades if each.differs)


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A key of the rule: its value in force, where that comes from, and the stored value."""

    key: str
    value: object
    origin: str
    stored: object


class CourseLate:
    """Late work by a course's settings, its assignment server's manifest and its gradebook.

    ``submitted`` has the directories of submissions, whose times of fetching count. ``catalogue``
    is that of an assignment server that runs, which keeps its last valid manifest. All methods
    raise :class:`InvalidInput` when a stored policy is damaged, or the manifest is, since marks
    would be without their deductions; with ``lenient`` a damaged manifest counts as none.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        *,
        submitted: Path | None = None,
        catalogue: Catalogue | None = None,
        lenient: bool = False,
    ) -> None:
        self._loaded = loaded
        self._submitted = submitted or loaded.path(loaded.settings.dirs.submitted)
        release = loaded.path(loaded.settings.dirs.release)
        self._catalogue = catalogue or Catalogue(loaded.course_dir, None, release)
        self._lenient = lenient

    def counted(
        self, book: Gradebook, assignment: str, students: Collection[str] | None = None
    ) -> tuple[CountedGrade, ...]:
        work = LateWork(book)
        records = work.read([assignment], students, [assignment])
        if self._late_days(records.facts):
            records = work.read(None, students, [assignment])
        return self._count(records, records.facts).get(assignment, ())

    def course(
        self, book: Gradebook, students: Collection[str] | None = None
    ) -> Mapping[str, tuple[CountedGrade, ...]]:
        """Return the marks of all assignments as they count, without their questions."""
        records = LateWork(book).read(None, students)
        return self._count(records, records.facts)

    def deductions(self, book: Gradebook) -> Mapping[tuple[str, str], Penalty]:
        """Return the deduction of all work by assignment and student, with the time that counts."""
        found = {}
        for name, grades in self.course(book).items():
            for each in grades:
                time = each.deduction.time
                at = None if time is None else time.received.timestamp()
                penalty = Penalty(each.grade.penalty_pct, each.grade.penalised, at)
                found[name, each.grade.student] = penalty
        return found

    def grades(self, book: Gradebook, assignment: str) -> tuple[StudentGrade, ...]:
        return tuple(each.grade for each in self.counted(book, assignment))

    def if_received(
        self,
        book: Callable[[], AbstractContextManager[Gradebook]] | None,
        facts: LateFacts,
        work: Work,
    ) -> Deduction:
        """Return the deduction if work, not graded yet, were received at its time.

        The gradebook is read only where late days of the term may lower the deduction, since other
        work may have used them.
        """
        late_days, works = self._late_days(facts), [work]
        terms = {work.assignment: self.terms(work.assignment, facts)}
        alone = late_work(terms, 0, works)[work.assignment, work.student]
        if not (late_days and alone.percent):
            return alone
        if book is not None:
            with book() as opened:
                records = LateWork(opened).read(None, (work.student,))
            for name, grades in records.grades.items():
                if name != work.assignment:
                    terms[name] = self.terms(name, facts)
                    works += self._works(name, grades, records)
        return late_work(terms, late_days, works)[work.assignment, work.student]

    def preview(self, book: Gradebook, changes: Sequence[Change]) -> Preview:
        """Return the marks that changes may concern; questions only of the assignments named."""
        named = frozenset(
            ALL_ASSIGNMENTS if isinstance(each, Membership) else each.assignment for each in changes
        )
        work = LateWork(book)
        records = work.read(sorted(named), whole=named)
        shared = any(map(self._late_days, (records.facts, records.facts.after(changes))))
        if shared or ALL_ASSIGNMENTS in named:
            records = work.read(None, whole=named)
        before = self._count(records, records.facts)
        after = self._count(records, records.facts.after(changes))
        pairs = (
            ComparedGrade(one, other)
            for name in before
            for one, other in zip(before[name], after[name], strict=True)
        )
        return Preview(tuple(pairs), records.facts.version)

    def terms(self, assignment: str, facts: LateFacts) -> Terms:
        is_set = self.origin_of("enabled", assignment, facts) != "default"
        dates = self.due(assignment, facts, self.served(assignment))
        rule = self.rule(assignment, facts)
        return Terms(dates, rule, is_set, given_zone(self._loaded.settings))

    def due(self, assignment: str, facts: LateFacts, served: ServedAssignment | None) -> DueDates:
        """Return an assignment's dates; ``served`` is it on the course's assignment server."""
        settings, stored = self._loaded.settings, facts.policy(assignment)
        dates = due_dates(assignment, settings, served, stored)
        return with_facts(dates, facts, assignment)

    def dates_change(
        self,
        facts: LateFacts,
        assignment: str,
        given: Mapping[str, datetime | None],
        opens: datetime | None,
    ) -> PolicyChange:
        """Return the change by which dates are stored, as :meth:`LateFacts.with_dates`.

        ``opens`` is when students see the item.

        Raises: InvalidInput if with the dates that stay they are in an impossible order.
        """
        unset = facts.after([facts.with_dates(assignment, {"due": None, "closes": None})])
        others = self.due(assignment, unset, self.served(assignment))
        change = facts.with_dates(assignment, given)
        policy = change.policy
        due = policy.due or policy.set_due or others.general
        by_hand = None if others.closes_from in (MOODLE, PLATFORM) else others.closes
        ItemDates(opens, due, policy.closes or by_hand).demand_order(assignment)
        return change

    def rule(self, assignment: str, facts: LateFacts) -> PenaltiesSettings:
        """Return the keys in force, of an assignment or of the course for an empty name.

        Keys of the assignment count before those of the course, and for each of the two, those that
        instructors have stored count before the settings.
        """
        values = self._loaded.settings.penalties.model_dump()
        for _, rule in reversed(self._rules(assignment, facts)):
            values |= rule.model_dump(exclude_none=True)
        return PenaltiesSettings.model_validate(values)

    def rule_lines(self, assignment: str, facts: LateFacts) -> tuple[RuleLine, ...]:
        """Return the keys of :meth:`rule` that an assignment, or the course, can have."""
        rule, stored = self.rule(assignment, facts), facts.policy(assignment).rule
        return tuple(
            RuleLine(
                key,
                getattr(rule, key),
                self.origin_of(key, assignment, facts),
                getattr(stored, key, None),
            )
            for key in CourseRule.model_fields
            if key != "late_days" or assignment == ALL_ASSIGNMENTS
        )

    def origin_of(self, key: str, assignment: str, facts: LateFacts) -> str:
        """Return where the value of a key comes from, in words; "default" where it is not set."""
        for origin, rule in self._rules(assignment, facts):
            if getattr(rule, key, None) is not None:
                return origin
        given = self._loaded.origins.get(f"penalties.{key}", Origin.DEFAULT)
        return "default" if given is Origin.DEFAULT else "[penalties]"

    def _late_days(self, facts: LateFacts) -> int:
        rule: PenaltiesSettings = self.rule(ALL_ASSIGNMENTS, facts)
        return rule.late_days

    def _rules(self, assignment: str, facts: LateFacts) -> Sequence[tuple[str, LateRule]]:
        """Return the rules over ``[penalties]``, the one that counts first at the front."""
        item, stored = self._loaded.settings.of_item(assignment), facts.policy(assignment)
        rules = [
            ("mograder feedback --no-penalties", LateRule(enabled=False) if stored.off else None),
            ("stored for the assignment", stored.rule),
            (f"[items.{assignment}.penalties]", item.penalties),
            ("stored for the course", facts.policy(ALL_ASSIGNMENTS).rule),
        ]
        return [(name, rule) for name, rule in (rules if assignment else rules[3:]) if rule]

    def served(self, assignment: str) -> ServedAssignment | None:
        """Return an assignment of the assignment server, the same until the manifest changes."""
        if not (self._loaded.course_dir / MANIFEST_FILE).is_file():
            return None
        try:
            return self._catalogue.find(assignment)
        except NotFound:
            return None
        except MograderError as error:
            if not self._lenient:
                raise
            _log.warning("%s", error.message)
            return None

    def _count(
        self, records: LateRecords, facts: LateFacts
    ) -> Mapping[str, tuple[CountedGrade, ...]]:
        terms = {name: self.terms(name, facts) for name in records.grades}
        works = (
            work
            for name, grades in records.grades.items()
            for work in self._works(name, grades, records)
        )
        deductions = late_work(terms, self._late_days(facts), works)
        return {
            name: tuple(
                _counted(each, deductions[name, nfc(each.student)], records) for each in grades
            )
            for name, grades in records.grades.items()
        }

    def _works(
        self, assignment: str, grades: Iterable[StudentGrade], records: LateRecords
    ) -> Iterable[Work]:
        directory = entry_named(self._submitted, assignment)
        fetched = {nfc(user): at for user, at in read_numbers(directory).items()}
        served = self._loaded.settings.transport == "https"
        source = TimeSource.SERVER if served else TimeSource.MOODLE
        for each in grades:
            student = nfc(each.student)
            recorded = records.works.get((assignment, each.student), NO_WORK)
            time = _time(each, recorded, fetched.get(student), source)
            yield Work(assignment, student, time)


def export_if_set(loaded: LoadedSettings, book: Gradebook, at: datetime) -> None:
    if not loaded.settings.gradebook.export_0316:
        return
    told = book.export_0316(None, CourseLate(loaded).deductions, at)
    left = sum(each.outcome is Outcome.CONFLICT for each in told)
    if left:
        text = "%s that mograder 0.3.16 has changed: not exported, before it is imported"
        _log.warning(text, counted(left, "row"))


@dataclass(frozen=True, slots=True)
class GradebookFailure:
    """An error by which a gradebook could not be read, and the stamp that its files had then."""

    error: MograderError
    stamp: _Stamp
    until: float

    @classmethod
    def of(cls, path: Path, error: MograderError) -> Self:
        """Return the failure of a try that has just ended."""
        return cls(error, gradebook_stamp(path), time.monotonic() + _RETRY_SECONDS)

    def lasts(self, stamp: _Stamp) -> bool:
        """Return whether no other try is due yet: the files are the same, within ten seconds.

        A try may take as long, if another program locks the gradebook.
        """
        return stamp == self.stamp and time.monotonic() < self.until


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of one reading of a gradebook, and the openings of items by them.

    Mutable state: ``dues``, the dates that were computed from them, by item, each with the
    assignment on the assignment server that it was computed from.
    """

    facts: LateFacts
    openings: Mapping[str, datetime]
    dues: dict[str, tuple[ServedAssignment | None, DueDates]] = field(default_factory=dict)


class CourseDates:
    """The dates of a course; thread-safe, and every method may read files.

    ``gradebook`` is the path of the course's gradebook, which may not exist yet. ``book`` returns
    it open; without that function the file is opened for each reading.
    ``catalogue`` is as for :class:`CourseLate`.
    Mutable state: ``platform_tells``, whether a learning platform tells dates, which only the
    gradebook holds, ``_facts``, what the gradebook said when its files had the stamp ``_seen``,
    ``_failure``, why it could not be read since, and ``_asked``, when a share's server was last
    asked.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        book: Callable[[], Gradebook] | None = None,
        *,
        catalogue: Catalogue | None = None,
        disk: Disk = DISK,
    ) -> None:
        self._loaded = loaded
        self.gradebook = loaded.gradebook_path
        self.platform_tells = False
        self._disk = disk
        self._book = book
        self._late = CourseLate(loaded, catalogue=catalogue, lenient=True)
        self._lock = threading.Lock()
        self._asked = -_AGAIN_SECONDS
        self._seen: _Stamp = ()
        self._failure: GradebookFailure | None = None
        self._facts = self._with_openings(LateFacts())

    def openings(self) -> Mapping[str, datetime]:
        """Return when items open where no rule of visibility says it, by their names.

        Raises: :class:`Conflict` while the gradebook, in which a learning platform may have told
        others, could never be read.
        """
        known, failure = self._known(), self._failure
        if self.platform_tells and failure is not None and not self._seen:
            raise Conflict(f"It is not known when items open: {failure.error.message}")
        return known.openings

    def of(self, item: str) -> DueDates:
        """Return the dates of an item, with all exceptions."""
        known, served = self._known(), self._late.served(item)
        found = known.dues.get(item)
        if found is None or found[0] is not served:
            if len(known.dues) >= _MOST_DUES:
                known.dues.clear()
            found = known.dues[item] = served, self._late.due(item, known.facts, served)
        return found[1]

    def usual(self, item: str) -> OwnDates:
        dates = self.of(item)
        return OwnDates(dates.general, dates.closes)

    def own(self, item: str, student: str) -> OwnDates:
        return self.of(item).own(student)

    def if_received(self, item: str, student: str, at: datetime) -> Deduction:
        """Return the deduction of work received at a time. Raises: the gradebook's errors."""
        work = Work(item, nfc(student), SubmissionTime(at, TimeSource.RECORDED))
        there = self._opened if self.gradebook.is_file() else None
        return self._late.if_received(there, self._known().facts, work)

    def _opened(self) -> AbstractContextManager[Gradebook]:
        return viewed_gradebook(self.gradebook) if self._book is None else nullcontext(self._book())

    def _known(self) -> _Facts:
        """Return what the gradebook says, or said last if it cannot be read now.

        While one that could not be read is tried again, other threads do not wait for that.
        """
        if time.monotonic() - self._asked >= _AGAIN_SECONDS:
            # Did another machine write the gradebook of a share? The server is asked by the
            # directory: to close the file would drop the locks that SQLite holds on it here.
            self._asked = time.monotonic()
            look_for(self.gradebook.parent, self._disk)
        if not self._lock.acquire(blocking=self._failure is None):
            return self._facts
        try:
            self._look(gradebook_stamp(self.gradebook))
            return self._facts
        finally:
            self._lock.release()

    def _look(self, stamp: _Stamp) -> None:
        """Read the gradebook if its files are others than those that were read or have failed."""
        if stamp == self._seen or (self._failure is not None and self._failure.lasts(stamp)):
            return
        try:
            self._facts = self._with_openings(self._read() if stamp or self._seen else LateFacts())
        except MograderError as error:
            _log.error("extensions and dates of the gradebook cannot be read: %s", error)
            self._failure = GradebookFailure.of(self.gradebook, error)
        else:
            self._seen, self._failure = stamp, None

    def _with_openings(self, facts: LateFacts) -> _Facts:
        return _Facts(facts, openings(self._loaded.settings, facts))

    def _read(self) -> LateFacts:
        with self._opened() as book:
            return LateWork(book).facts()


def gradebook_stamp(path: Path) -> _Stamp:
    """Return what changes with every write to a gradebook; () without one."""
    found = []
    for each in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = each.stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def _time(
    grade: StudentGrade, recorded: RecordedWork, fetched: float | None, source: TimeSource
) -> SubmissionTime | None:
    """Return when the graded work was submitted; None if that is not known.

    The time in the result counts before that of a fetch, which may be of later work. A time that
    0.3.16 recorded counts only for work that it has graded.
    """
    if recorded.received:
        received = datetime.fromisoformat(recorded.received)
        by_fetch = fetched is not None and abs(received.timestamp() - fetched) < _SAME_SECONDS
        usual = source if by_fetch else TimeSource.RECORDED
        told = TimeSource.RECEIPT if recorded.receipt is not None else usual
        return SubmissionTime(received, told, recorded.receipt)
    at = from_unix_or_none(fetched)
    if at is not None:
        return SubmissionTime(at, source)
    earlier = from_unix_or_none(grade.submitted_at) if grade.run is None else None
    return None if earlier is None else SubmissionTime(earlier, TimeSource.EARLIER)


def _counted(grade: StudentGrade, deduction: Deduction, records: LateRecords) -> CountedGrade:
    """Return a student's marks with the deduction; one of 0.3.16 stays if none can be computed."""
    total, is_unknown = grade.total, deduction.basis in UNKNOWN
    earlier = records.works.get((grade.assignment, grade.student), NO_WORK)
    percent: float | None = deduction.percent or None
    after = None if percent is None or total is None else mark_after(total, percent)
    if is_unknown and earlier.earlier_pct is not None:
        percent = earlier.earlier_pct
        deduction = replace(deduction, percent=percent, basis=Basis.EARLIER)
        after = earlier.earlier_mark
        if total is not None and is_stale(total, percent, after):
            after = mark_after(total, percent)
    if total is None:
        after = None
    final = total if percent is None else after
    if (percent, after, final) != (grade.penalty_pct, grade.penalised, grade.final):
        grade = replace(grade, penalty_pct=percent, penalised=after, final=final)
    return CountedGrade(grade, deduction)
