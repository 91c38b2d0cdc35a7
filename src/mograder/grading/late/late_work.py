"""The deduction of each submission, from due dates, extensions, policies and times alone; pure.

Nothing here depends on an earlier result, so that the order of changes does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mograder.grading.late.due_dates import DueDates
from mograder.grading.late.late_policy import LatePolicy


class TimeSource(StrEnum):
    """Where the time of a submission came from."""

    RECEIPT = "receipt"
    SERVER = "assignment server"
    MOODLE = "Moodle"
    RECORDED = "recorded when it was handed in"
    EARLIER = "recorded by mograder 0.3.16, perhaps the time of the file"


class Basis(StrEnum):
    """The reason for a deduction, or for none."""

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
    """Why a deduction is not the days times the percentage of a day."""

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
    """The due dates and the policy of an assignment; ``is_set`` is whether deductions are set."""

    due: DueDates
    policy: LatePolicy
    is_set: bool = True

    @property
    def may_deduct(self) -> bool:
        """Whether any submission can be late: deductions are on, and there is a date."""
        dated = self.due.general is not None or self.policy.hard_limit is not None
        return self.policy.enabled and dated


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
    found: dict[tuple[str, str], Deduction] = {}
    by_student: defaultdict[str, list[Work]] = defaultdict(list)
    for work in works:
        by_student[work.student].append(work)
    for student, own in by_student.items():
        left = late_days
        for work in sorted(own, key=lambda each: _order(terms[each.assignment], each)):
            deduction = _deduct(terms[work.assignment], work, left)
            left -= deduction.free
            found[work.assignment, student] = deduction
    return found


def _order(terms: Terms, work: Work) -> tuple[float, str]:
    due = terms.due.of(work.student)
    return (float("inf") if due is None else due.timestamp()), work.assignment


def _deduct(terms: Terms, work: Work, left: int) -> Deduction:
    policy, student, time = terms.policy, work.student, work.time
    due = terms.due.of(student)
    told = Deduction(0.0, Basis.TIMES, due, terms.due.is_extended(student), time, policy.grace)
    if not policy.enabled:
        return replace(told, basis=Basis.OFF if terms.is_set else Basis.UNSET)
    if student in terms.due.exempt:
        return replace(told, basis=Basis.EXEMPT)
    if time is None:
        return replace(told, basis=Basis.NO_TIME)
    if policy.hard_limit is not None:
        last = terms.due.not_before(student, policy.hard_limit)
        if time.received > last:
            return replace(told, percent=100.0, limit=Limit.HARD, hard_limit=last)
    if due is None:
        return replace(told, basis=Basis.NO_DUE_DATE)
    days = policy.days_late(due, time.received)
    free = policy.late_days_for(days, left)
    charged = days - free
    told = replace(told, percent=policy.percent(charged), days=days, free=free)
    if policy.is_cut_off(charged):
        return replace(told, limit=Limit.CUT_OFF, limit_days=policy.cut_off_days)
    capped = charged * policy.per_day > policy.most
    return replace(told, limit=Limit.MOST) if capped else told
