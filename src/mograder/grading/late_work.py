"""The deduction of each submission by due dates, policies and times alone, and its reason; pure.

Nothing here depends on an earlier result, so that the order of changes does not matter. Every page,
command and file gives the reason in the same sentences.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from fractions import Fraction

from mograder.core.clock import is_after
from mograder.core.csv_table import number_text
from mograder.core.item_dates import (
    NO_DATES,
    DueDates,
    ItemDates,
    course_zone,
    moodle_dates,
    written_dates,
)
from mograder.core.name_lookup import counted
from mograder.core.names import nfc
from mograder.core.sections.settings_model import PenaltiesSettings, Settings
from mograder.store.assignment_server.assignments import Assignment as ServedAssignment
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import LateFacts, StoredPolicy

_NONE = StoredPolicy()

MOODLE = "Moodle"
PLATFORM = "the learning platform"
"""Where dates come from that LTI's launches told, as pages say it."""

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_ALL = 100.0
_MOST_MINUTES = 10**7


def with_facts(dates: DueDates, facts: LateFacts, assignment: str) -> DueDates:
    """Return an assignment's dates with the extensions and exemptions of the gradebook."""
    extensions = dict(dates.extensions)
    exempt = set(dates.exempt)
    for student, found in facts.by_student(assignment).items():
        exempt |= {student} if any(each.exempt for each in found) else set()
        until = [each.until for each in found if each.until is not None]
        if until:
            extensions[student] = max([*until, extensions.get(student, until[0])])
    return replace(dates, extensions=extensions, exempt=frozenset(exempt))


def due_dates(
    name: str,
    settings: Settings,
    served: ServedAssignment | None = None,
    stored: StoredPolicy = _NONE,
) -> DueDates:
    """Return the dates of an assignment by its directory's name.

    Of several the first counts: that of `mograder feedback --due-date`, the one that an instructor
    stored, that in ``[items.NAME]``, that of a learning platform's launch, Moodle's in
    ``[[assignments]]``, the one in ``assignments.json``. Submissions do not end before the due
    date, which may come from another of these. Extensions in ``assignments.json`` count besides
    those of the gradebook.
    """
    written, told, moodle = written_dates(settings, name), stored.told, moodle_dates(settings, name)
    deadline = served.deadline if served else None
    extensions = served.extensions if served else {}
    sources = (
        (ItemDates(due=stored.due), "mograder feedback --due-date"),
        (ItemDates(due=stored.set_due, closes=stored.closes), "set by an instructor"),
        (written, f'[items."{name}"]'),
        (told, PLATFORM),
        (moodle, MOODLE),
        (
            ItemDates(None, deadline.due, deadline.cutoff) if deadline else NO_DATES,
            "assignments.json",
        ),
    )
    due, due_from = _first((dates.due, origin) for dates, origin in sources)
    closes, closes_from = _first((dates.closes, origin) for dates, origin in sources)
    opens, opens_from = _first((dates.opens, origin) for dates, origin in sources)
    if due is not None and closes is not None and closes < due:
        closes, closes_from = due, due_from
    return DueDates(
        due,
        {nfc(user): each.due for user, each in extensions.items() if each.due is not None},
        closes=closes,
        closings={nfc(user): each.cutoff for user, each in extensions.items() if each.cutoff},
        due_from=due_from,
        closes_from=closes_from,
        opens=opens,
        opens_from=opens_from,
    )


def openings(settings: Settings, facts: LateFacts) -> dict[str, datetime]:
    """Return when items open where no rule of visibility says it, by their names.

    The times are in the course's zone, in which students who come too early are told them.
    """
    listed = (each.item for each in settings.assignments)
    names = {nfc(name) for name in (*settings.items, *listed, *facts.policies)}
    found = {name: due_dates(name, settings, None, facts.policy(name)).opens for name in names}
    zone = course_zone(settings)
    return {name: opens.astimezone(zone) for name, opens in found.items() if opens is not None}


def _first(found: Iterable[tuple[datetime | None, str]]) -> tuple[datetime | None, str]:
    return next((each for each in found if each[0] is not None), (None, ""))


def days_late(
    rule: PenaltiesSettings, due: datetime, received: datetime, zone: tzinfo = UTC
) -> int:
    """Return the number of days for which marks are deducted, 0 for work in time.

    A day ends at the same time by the clocks of ``zone``: where they change, it has 23 or 25 hours.
    """
    received = received.replace(microsecond=0)  # as is_after
    late = received - due - _grace(rule)
    if late <= timedelta(0):
        return 0
    begin = (due + _grace(rule)).astimezone(zone).replace(tzinfo=None)
    days = max(math.ceil(late / _DAY) - 1, 1)
    # In UTC: in an hour that the clocks show twice, later work could have an earlier time.
    while received.astimezone(UTC) > (begin + days * _DAY).replace(tzinfo=zone).astimezone(UTC):
        days += 1
    return days


def percent_of(rule: PenaltiesSettings, days: int) -> float:
    """Return the deduction for a number of days, in per cent of the mark: 0 to 100."""
    if 0 < rule.cut_off_days < days:
        return _ALL
    return float(min(_of_days(rule, days), _most(rule)))


def _of_days(rule: PenaltiesSettings, days: int) -> Fraction:
    """Return the percentage for a number of days without a bound, as decimals multiply.

    Three times 1.1 is 3.3; a product of floats is more, and can move a mark over a tie. More than
    all for a day is more than any bound, whether it is twice as much or infinite.
    """
    return days * Fraction(repr(min(max(0.0, rule.per_day), 2 * _ALL)))


def _most(rule: PenaltiesSettings) -> Fraction:
    return Fraction(repr(min(max(0.0, rule.max), _ALL)))


def late_days_for(rule: PenaltiesSettings, days: int, left: int) -> int:
    """Return how many late days of the term to use: the fewest with the least deduction."""
    each = left if rule.late_days_each is None else min(left, rule.late_days_each)
    usable = range(min(days, max(each, 0)) + 1)
    return min(usable, key=lambda used: (percent_of(rule, days - used), used))


def _grace(rule: PenaltiesSettings) -> timedelta:
    return timedelta(minutes=min(max(0.0, rule.grace_minutes), _MOST_MINUTES))  # 0 for nan


class TimeSource(StrEnum):
    RECEIPT = "receipt"
    SERVER = "assignment server"
    MOODLE = "Moodle"
    RECORDED = "recorded when it was handed in"
    EARLIER = "recorded by mograder 0.3.16, perhaps the time of the file"


_BY = {
    TimeSource.SERVER: " by the assignment server",
    TimeSource.MOODLE: " by Moodle",
    TimeSource.RECORDED: " by the record of its submission",
    TimeSource.EARLIER: " as mograder 0.3.16 recorded it, perhaps by the file's time",
}


class Basis(StrEnum):
    TIMES = "times"
    EXEMPT = "exempt"
    OFF = "no deductions"
    """Deductions are switched off."""
    UNSET = "deductions are not switched on"
    NO_DUE_DATE = "no due date"
    NO_TIME = "no time of submission"
    EARLIER = "mograder 0.3.16"


UNKNOWN = frozenset({Basis.UNSET, Basis.NO_DUE_DATE, Basis.NO_TIME})
"""Nothing can be computed: a deduction that 0.3.16 made stays."""


class Limit(StrEnum):
    NONE = ""
    MOST = "most"
    CUT_OFF = "cut-off"
    HARD = "hard limit"


@dataclass(frozen=True, slots=True)
class SubmissionTime:
    """When work was received, and by which record; ``receipt`` is the number of one."""

    received: datetime
    source: TimeSource
    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A submission that is graded; ``time`` is None where it is not known."""

    assignment: str
    student: str
    time: SubmissionTime | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The due dates and the rule of an assignment; ``is_set`` is whether deductions are set.

    ``zone`` is that of the days for which marks are deducted.
    """

    due: DueDates
    rule: PenaltiesSettings
    is_set: bool = True
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Deduction:
    """The deduction of a submission in per cent of its mark, and what it follows from.

    ``days`` are those after the due date and the grace, ``free`` the late days of the term among
    them. ``limit`` is the bound that decided.
    """

    percent: float
    basis: Basis
    due: datetime | None = None
    extended: bool = False
    time: SubmissionTime | None = None
    grace: timedelta = timedelta()
    days: int = 0
    free: int = 0
    limit: Limit = Limit.NONE
    limit_days: int = 0
    hard_limit: datetime | None = None


NO_DEDUCTION = Deduction(0.0, Basis.NO_TIME)
"""Of work of which nothing is known."""


def late_work(
    terms: Mapping[str, Terms], late_days: int, works: Iterable[Work]
) -> Mapping[tuple[str, str], Deduction]:
    """Return the deductions by assignment and student.

    ``late_days`` are those of each student for all assignments of ``works`` together, which are
    used in the order of the student's due dates. ``terms`` has every assignment of ``works``.
    """

    def order(work: Work) -> tuple[float, str]:
        due = terms[work.assignment].due.of(work.student)
        return (float("inf") if due is None else due.timestamp()), work.assignment

    found: dict[tuple[str, str], Deduction] = {}
    left: defaultdict[str, int] = defaultdict(lambda: late_days)
    for work in sorted(works, key=order):
        deduction = _deduct(terms[work.assignment], work, left[work.student])
        left[work.student] -= deduction.free
        found[work.assignment, work.student] = deduction
    return found


def _deduct(terms: Terms, work: Work, left: int) -> Deduction:
    rule, student, time = terms.rule, work.student, work.time
    due = terms.due.of(student)
    facts = due, due != terms.due.general, time, _grace(rule)
    if not rule.enabled:
        return Deduction(0.0, Basis.OFF if terms.is_set else Basis.UNSET, *facts)
    if student in terms.due.exempt:
        return Deduction(0.0, Basis.EXEMPT, *facts)
    if time is None:
        return Deduction(0.0, Basis.NO_TIME, *facts)
    if rule.hard_limit:
        last = terms.due.not_before(student, datetime.fromisoformat(rule.hard_limit))
        if is_after(time.received, last):
            return Deduction(100.0, Basis.TIMES, *facts, limit=Limit.HARD, hard_limit=last)
    if due is None:
        return Deduction(0.0, Basis.NO_DUE_DATE, *facts)
    days = days_late(rule, due, time.received, terms.zone)
    free = late_days_for(rule, days, left)
    charged = days - free
    percent = percent_of(rule, charged)
    limit, limit_days = Limit.NONE, 0
    if 0 < rule.cut_off_days < charged:
        limit, limit_days = Limit.CUT_OFF, rule.cut_off_days
    elif _of_days(rule, charged) > _most(rule):
        limit = Limit.MOST
    return Deduction(percent, Basis.TIMES, *facts, days, free, limit, limit_days)


def late_sentence(grade: StudentGrade, deduction: Deduction, zone: tzinfo | None) -> str:
    """Return the effect of lateness on a mark in words: a sum, a reason, or "" if there is none.

    ``grade`` has the deduction already.
    """
    if deduction.percent and grade.total is not None:
        total, after = marks_text(grade.total), marks_text(grade.penalised)
        return f"{total} − {marks_text(deduction.percent)} % ({reason(deduction, zone)}) = {after}"
    if deduction.percent:
        return f"{marks_text(deduction.percent)} % will be deducted ({reason(deduction, zone)})"
    return no_deduction(deduction, zone)


def no_deduction(deduction: Deduction, zone: tzinfo | None) -> str:
    """Return why nothing is deducted; "" where times are not known or deductions are off."""
    time = deduction.time
    received = "" if time is None else f"received {_received(deduction, time, zone)}"
    if deduction.basis is Basis.EXEMPT:
        return f"No deduction: exempt{f'; {received}' if received else ''}"
    if time is None:
        return ""
    if deduction.basis is not Basis.TIMES or deduction.due is None:
        return received[0].upper() + received[1:]
    if is_after(time.received, deduction.due):
        return f"No deduction: {reason(deduction, zone)}"
    return f"Submitted in time: {_due(deduction, zone)}, {received}"


def reason(deduction: Deduction, zone: tzinfo | None) -> str:
    """Return what a deduction follows from: days, grace, due date, and time of submission."""
    if deduction.basis is Basis.EARLIER:
        return "by mograder 0.3.16, which rounded it"
    if deduction.time is None:
        return deduction.basis
    times = [] if deduction.due is None else [_due(deduction, zone)]
    times.append(f"received {_received(deduction, deduction.time, zone)}")
    return f"{_days(deduction, zone)}; {', '.join(times)}"


def moment(time: datetime, zone: tzinfo | None = None, *, exact: bool = False) -> str:
    """Return a time with the name of its zone; ``exact``: with seconds.

    ``zone`` is the course's, as `course_zone` returns it; None for this machine's.
    """
    return f"{time.astimezone(zone):%Y-%m-%d {'%H:%M:%S' if exact else '%H:%M'} %Z}"


def _days(deduction: Deduction, zone: tzinfo | None) -> str:
    if deduction.limit is Limit.HARD and deduction.hard_limit is not None:
        last = moment(deduction.hard_limit, zone, exact=_is_by_seconds(deduction))
        return f"after the last moment, {last}"
    minutes = f"{marks_text(deduction.grace.total_seconds() / 60)} min"
    if not deduction.days:
        return f"late, within {minutes} grace"
    after = f" after {minutes} grace" if deduction.grace else ""
    parts = [f"{counted(deduction.days, 'day')} late{after}"]
    if deduction.free:
        parts.append(f"of which {deduction.free} without deduction as late days of the term")
    if deduction.limit is Limit.CUT_OFF:
        parts.append(f"past the cut-off of {counted(deduction.limit_days, 'day')}")
    elif deduction.limit is Limit.MOST:
        parts.append("the largest deduction")
    return ", ".join(parts)


def _due(deduction: Deduction, zone: tzinfo | None) -> str:
    if deduction.due is None:
        return ""
    due = moment(deduction.due, zone, exact=_is_by_seconds(deduction))
    return f"due {due}{' by an extension' if deduction.extended else ''}"


def _received(deduction: Deduction, time: SubmissionTime, zone: tzinfo | None) -> str:
    by = f" by receipt {time.receipt}" if time.source is TimeSource.RECEIPT else _BY[time.source]
    return f"{moment(time.received, zone, exact=_is_by_seconds(deduction))}{by}"


def _is_by_seconds(deduction: Deduction) -> bool:
    """Return whether work came in the minute after a limit, or at that time on another day."""
    due, time = deduction.due, deduction.time
    if time is None:
        return False
    limits = (due, due and due + deduction.grace, deduction.hard_limit)
    received = time.received.replace(microsecond=0)  # as is_after
    return any(timedelta() < (received - limit) % _DAY < _MINUTE for limit in limits if limit)


def marks_text(value: float | None) -> str:
    return number_text(value, places=2)
