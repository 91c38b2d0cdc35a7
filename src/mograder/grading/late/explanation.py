"""Deductions for lateness as sentences; every page, command and file uses these; pure."""

from __future__ import annotations

from datetime import datetime

from mograder.core.csv_table import number_text
from mograder.core.name_lookup import counted
from mograder.grading.late.late_work import Basis, Deduction, Limit, SubmissionTime, TimeSource
from mograder.store.gradebook.grading_records import StudentGrade

_BY = {
    TimeSource.SERVER: " by the assignment server",
    TimeSource.MOODLE: " by Moodle",
    TimeSource.RECORDED: " by the record of its submission",
    TimeSource.EARLIER: " as mograder 0.3.16 recorded it, perhaps by the file's time",
}


def late_sentence(grade: StudentGrade, deduction: Deduction) -> str:
    """Return what lateness does to a mark: a sum where it deducts, "" where there is none to say.

    ``grade`` has the deduction already, as :class:`~mograder.grading.late.course_late.CourseLate`
    returns it.
    """
    if deduction.percent and grade.total is not None:
        total, after = marks_text(grade.total), marks_text(grade.penalised)
        return f"{total} − {marks_text(deduction.percent)} % ({reason(deduction)}) = {after}"
    if deduction.percent:
        return f"{marks_text(deduction.percent)} % will be deducted ({reason(deduction)})"
    return no_deduction(deduction)


def no_deduction(deduction: Deduction) -> str:
    """Return why nothing is deducted; "" where times are not known or deductions are off."""
    time = deduction.time
    received = "" if time is None else f"received {_received(time)}"
    if deduction.basis is Basis.EXEMPT:
        return f"No deduction: exempt{f'; {received}' if received else ''}"
    if time is None:
        return ""
    if deduction.basis is not Basis.TIMES or deduction.due is None:
        return received[0].upper() + received[1:]
    if time.received > deduction.due:
        return f"No deduction: {reason(deduction)}"
    return f"Submitted in time: {_due(deduction)}, {received}"


def reason(deduction: Deduction) -> str:
    """Return what a deduction follows from: days, grace, due date, and time of submission."""
    if deduction.basis is Basis.EARLIER:
        return "by mograder 0.3.16, which rounded it"
    if deduction.time is None:
        return deduction.basis
    times = [] if deduction.due is None else [_due(deduction)]
    times.append(f"received {_received(deduction.time)}")
    return f"{_days(deduction)}; {', '.join(times)}"


def moment(time: datetime) -> str:
    """Return a time in the zone of this machine, with the zone's name."""
    return f"{time.astimezone():%Y-%m-%d %H:%M %Z}"


def _days(deduction: Deduction) -> str:
    if deduction.limit is Limit.HARD and deduction.hard_limit is not None:
        return f"after the last moment, {moment(deduction.hard_limit)}"
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


def _due(deduction: Deduction) -> str:
    if deduction.due is None:
        return ""
    return f"due {moment(deduction.due)}{' by an extension' if deduction.extended else ''}"


def _received(time: SubmissionTime) -> str:
    by = f" by receipt {time.receipt}" if time.source is TimeSource.RECEIPT else _BY[time.source]
    return f"{moment(time.received)}{by}"


def marks_text(value: float | None) -> str:
    """Return marks with at most two decimals, empty for None."""
    return number_text(value, places=2)
