"""Deductions from due dates, extensions, policies and times: 0.3.16's rule, fractions kept.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.clock import from_unix
from mograder.core.item_dates import DueDates, ItemDates
from mograder.core.sections.settings_model import (
    Assignment,
    ItemSettings,
    PenaltiesSettings,
    Settings,
)
from mograder.grading.late_work import (
    Basis,
    Deduction,
    Limit,
    SubmissionTime,
    Terms,
    TimeSource,
    Work,
    days_late,
    due_dates,
    late_days_for,
    late_sentence,
    late_work,
    moment,
    openings,
    percent_of,
    with_facts,
)
from mograder.store.assignment_server.assignments import Assignment as Served
from mograder.store.assignment_server.assignments import Deadline
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import Extension, LateFacts, Membership, StoredPolicy
from mograder.store.gradebook.mark_counting import mark_after

DUE = datetime(2026, 11, 20, 18, tzinfo=UTC)
USUAL = PenaltiesSettings(enabled=True)
_numbers = st.floats(0, 200, allow_nan=False)


def deduction(seconds: float, rule: PenaltiesSettings = USUAL) -> float:
    return percent_of(rule, days_late(rule, DUE, DUE + timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    ("seconds", "percent"),
    [
        *[(-1, 0), (0, 0), (300, 0), (301, 5), (300 + 86_400, 5), (301 + 86_400, 10)],
        *[(19 * 86_400 + 301, 100), (400 * 86_400, 100)],
    ],
)
def test_a_day_that_has_begun_counts_whole_from_the_end_of_the_grace(
    seconds: int, percent: float
) -> None:
    assert deduction(seconds) == percent


def test_the_last_second_of_a_deadline_is_in_time() -> None:
    rule = USUAL.model_copy(update={"grace_minutes": 0})
    assert [deduction(seconds, rule) for seconds in (0.4, 0.999, 1)] == [0, 0, 5]
    assert [deduction(86_400 + seconds, rule) for seconds in (0.4, 1)] == [5, 10]
    one = Work("A1", "alice", SubmissionTime(DUE + timedelta(seconds=0.4), TimeSource.RECORDED))
    hard = USUAL.model_copy(update={"hard_limit": DUE.isoformat()})
    found = late_work({"A1": Terms(DueDates(DUE), hard)}, 0, [one])["A1", "alice"]
    assert (found.percent, found.limit) == (0, Limit.NONE)
    assert sentence(found).startswith("Submitted in time")


@given(
    st.integers(-(10**7), 10**8),
    st.floats(0, 600, allow_nan=False),
    _numbers,
    _numbers,
    st.floats(0, 1000, allow_nan=False),
)
def test_every_deduction_is_that_of_0_3_16_but_for_rounding(
    seconds: int, grace: float, per_day: float, most: float, mark: float
) -> None:
    rule = PenaltiesSettings(enabled=True, grace_minutes=grace, per_day=per_day, max=most)
    # The grace is kept in microseconds.
    exact_grace = timedelta(minutes=grace).total_seconds()
    days = max(math.ceil((seconds - exact_grace) / 86_400), 0)
    percent = min(days * per_day, most, 100.0)
    assert deduction(seconds, rule) == pytest.approx(percent, rel=1e-15, abs=1e-12)
    exact = max(mark * (1 - percent / 100), 0)
    assert abs(mark_after(mark, percent) - exact) <= 0.05 + 1e-9
    assert 0 <= mark_after(mark, percent) <= mark + 0.05 + 1e-9


def test_a_percentage_is_multiplied_as_decimals_are() -> None:
    rule = PenaltiesSettings(enabled=True, per_day=1.1, max=3.3)
    assert percent_of(rule, 3) == 3.3, "3.3000000000000003 as floats"
    assert mark_after(50, percent_of(rule, 3)) == 48.4, "a tie, to the even digit"
    assert mark_after(25, percent_of(PenaltiesSettings(per_day=2.2), 3)) == 23.4
    assert work(Terms(DueDates(DUE), rule), 3).limit is Limit.NONE
    assert work(Terms(DueDates(DUE), rule), 4).limit is Limit.MOST


def test_odd_settings_never_raise_a_mark() -> None:
    odd = PenaltiesSettings(enabled=True, grace_minutes=-5, per_day=-3, max=900)
    assert deduction(10**6, odd) == 0
    assert percent_of(odd.model_copy(update={"per_day": 3}), 1000) == 100
    assert mark_after(50, 100) == 0
    ties = {69: 65.6, 71: 67.4, 73: 69.4, 65: 61.8, 0.5: 0.5}
    assert {mark: mark_after(mark, 5) for mark in ties} == ties, "even, whatever floats are"


def test_settings_that_are_no_finite_number_raise_no_error() -> None:
    endless = PenaltiesSettings(enabled=True, per_day=math.inf, max=50)
    assert percent_of(endless, 0) == 0
    assert percent_of(endless, 1) == 50
    alice = Work("hw1", "alice", SubmissionTime(DUE + timedelta(1), TimeSource.RECEIPT))
    for per_day in (150, math.inf):
        rule = PenaltiesSettings(enabled=True, per_day=per_day)
        found = late_work({"hw1": Terms(DueDates(DUE), rule)}, 0, [alice])["hw1", "alice"]
        assert (found.percent, found.limit) == (100, Limit.MOST)
    for name in ("per_day", "max", "grace_minutes"):
        odd = endless.model_copy(update={name: math.nan})
        assert deduction(10**6, odd) == (50 if name == "grace_minutes" else 0)


LISTED = Settings(
    assignments=(
        Assignment(name="Other", dir="x/hw2", duedate=5),
        Assignment(name="Homework 1", dir="source/hw1/", duedate=int(DUE.timestamp())),
    )
)
NOTHING = Settings()


def test_the_due_date_is_found_by_name_or_directory() -> None:
    assert due_dates("hw1", LISTED).of("alice") == DUE
    assert due_dates("Homework 1", LISTED).of("alice") == DUE
    assert due_dates("hw", LISTED).of("alice") is None


def test_the_due_date_is_that_of_the_directory_after_assignments_were_renumbered() -> None:
    seconds = int(DUE.timestamp())
    one = Assignment(name="A2", dir="A1", duedate=seconds - 60)
    two = Assignment(name="A3", dir="A2", duedate=seconds)
    settings = Settings(assignments=(one, two))
    assert due_dates("A2", settings).general == DUE
    assert due_dates("A1", settings).general == DUE - timedelta(minutes=1)
    assert due_dates("A3", settings).general == DUE, "no directory has this name"


def test_of_several_due_dates_the_one_that_was_set_last_by_hand_counts() -> None:
    one, two, three, four, five = (DUE + timedelta(days=day) for day in range(1, 6))
    served = Served("hw1", None, deadline=Deadline(one, two))  # type: ignore[arg-type]
    settings = LISTED.model_copy(update={"items": {"hw1": ItemSettings(due=three)}})
    told = StoredPolicy(told=ItemDates(one, two, four))
    stored = StoredPolicy(set_due=four, closes=five)
    found = [
        due_dates("hw1", NOTHING, served),
        due_dates("hw1", LISTED, served),
        due_dates("hw1", LISTED, served, told),
        due_dates("hw1", settings, served),
        due_dates("hw1", settings, served, stored),
        due_dates("hw1", settings, served, replace(stored, due=five)),
    ]
    assert [(each.general, each.due_from) for each in found] == [
        (one, "assignments.json"),
        (DUE, "Moodle"),
        (two, "the learning platform"),
        (three, '[items."hw1"]'),
        (four, "set by an instructor"),
        (five, "mograder feedback --due-date"),
    ]
    assert [each.closes for each in found] == [two, two, four, three, five, five]


def test_moodles_cut_off_and_opening_are_dates_like_its_due_date() -> None:
    seconds = int(DUE.timestamp())
    listed = Assignment(
        name="hw1", duedate=seconds, cutoffdate=seconds + 60, allowsubmissionsfromdate=5
    )
    settings = Settings(assignments=(listed,), items={"hw1": ItemSettings(opens=DUE)})
    found = due_dates("hw1", settings)
    assert (found.closes, found.closes_from) == (DUE + timedelta(minutes=1), "Moodle")
    assert (found.opens, found.opens_from) == (DUE, '[items."hw1"]')
    assert openings(Settings(assignments=(listed,)), LateFacts()) == {"hw1": from_unix(5)}


def test_submissions_do_not_end_before_a_due_date_of_another_source() -> None:
    later = DUE + timedelta(days=2)
    told = StoredPolicy(set_due=later, told=ItemDates(closes=DUE))
    found = due_dates("hw1", NOTHING, None, told)
    assert (found.closes, found.closes_from) == (later, "set by an instructor")


def test_submissions_of_a_student_do_not_end_before_the_extension() -> None:
    end, until = DUE + timedelta(days=1), DUE + timedelta(days=3)
    dates = DueDates(DUE, {"alice": until}, closes=end, closings={"bob": until})
    own = {each: dates.own(each) for each in ("alice", "bob", "carl")}
    assert [each.closes for each in own.values()] == [until, until, end]
    assert own["carl"].is_closed(end + timedelta(seconds=1))
    assert not own["carl"].is_closed(end)
    assert DueDates(DUE).own("alice").closes is None
    early = {"bob": DUE - timedelta(days=9)}
    assert DueDates(DUE, closings=early).own("bob").closes == DUE, "not before the due date of all"
    assert DueDates(DUE, closes=end, closings=early).own("bob").closes == end


def test_an_extension_of_the_assignment_server_counts_and_never_shortens() -> None:
    later, before = DUE + timedelta(days=3), DUE - timedelta(days=3)
    served = Served(
        "hw1",  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        deadline=Deadline(before),
        extensions={"alice": Deadline(later), "bob": Deadline(before), "cleo": Deadline()},
    )
    found = due_dates("hw1", LISTED, served)
    assert [found.of(each) for each in ("alice", "bob", "cleo", "dan")] == [later, DUE, DUE, DUE]
    assert found.last == later
    assert due_dates("hw1", NOTHING, served).of("dan") == before
    assert due_dates("hw1", NOTHING, replace(served, deadline=Deadline())).of("alice") is None
    assert due_dates("hw1", NOTHING).last is None
    assert DueDates(closes=later, closings={"alice": DUE}).last == later, "nothing is due"
    assert DueDates(None, {"alice": before}, closes=DUE).last == DUE
    assert DueDates(None, {"alice": later}, closes=DUE).last == later
    assert DueDates(before, closes=later).last == before


@pytest.mark.parametrize(
    ("received", "days"),
    [("25T17:59", 1), ("25T18:04", 1), ("25T18:06", 2), ("24T18:05", 0), ("24T18:06", 1)],
)
def test_a_day_late_ends_by_the_clock_where_clocks_change(received: str, days: int) -> None:
    """In the night to Sunday, 25 October 2026, clocks in London go back by an hour."""
    london = ZoneInfo("Europe/London")
    rule = PenaltiesSettings(grace_minutes=5)
    due, at = (
        datetime.fromisoformat(f"2026-10-{text}").replace(tzinfo=london)
        for text in ("24T18:00", received)
    )
    assert days_late(rule, due.astimezone(UTC), at.astimezone(UTC), london) == days


@pytest.mark.parametrize(("received", "days"), [(14, 1), (21, 2), (40, 2), (70, 2), (24 * 60, 2)])
def test_work_in_the_hour_that_clocks_show_twice_is_no_earlier(received: int, days: int) -> None:
    """A day late ends at 1:20 there; ``received`` is in minutes from 1:00, 60 is 1:00 again."""
    begin = datetime(2026, 10, 25, tzinfo=UTC)
    due = begin - timedelta(hours=24) + timedelta(minutes=15)
    at = begin + timedelta(minutes=received)
    rule = PenaltiesSettings(grace_minutes=5)
    assert days_late(rule, due, at, ZoneInfo("Europe/London")) == days


def test_the_cut_off_and_the_largest_deduction_bound_the_days() -> None:
    rule = PenaltiesSettings(per_day=10, max=30, cut_off_days=5)
    assert [percent_of(rule, days) for days in (0, 1, 3, 4, 5, 6)] == [0, 10, 30, 30, 30, 100]


def test_late_days_are_used_only_where_they_lower_the_deduction_and_have_a_bound() -> None:
    rule = PenaltiesSettings(per_day=10, max=30, cut_off_days=5)
    asked = [(1, 3), (2, 1), (0, 3), (3, 9), (5, 1), (9, 3), (8, 9), (6, 1)]
    assert [late_days_for(rule, *each) for each in asked] == [1, 1, 0, 3, 0, 0, 8, 1]
    bounds = (PenaltiesSettings(late_days_each=each) for each in (1, 0))
    assert [late_days_for(each, 3, 5) for each in bounds] == [1, 0]


RULE = PenaltiesSettings(enabled=True, per_day=10)


def at(days: float) -> SubmissionTime:
    """A time so many days after the due date; the grace is over."""
    return SubmissionTime(DUE + timedelta(days=days, minutes=-1), TimeSource.RECEIPT, 7)


def work(terms: Terms, days: float | None = 2, late_days: int = 0) -> Deduction:
    one = Work("A1", "alice", None if days is None else at(days))
    return late_work({"A1": terms}, late_days, [one])["A1", "alice"]


def terms(due: DueDates | None = None, **keys: object) -> Terms:
    rule = PenaltiesSettings.model_validate({**RULE.model_dump(), **keys})
    return Terms(due or DueDates(DUE), rule)


def test_late_days_are_used_in_the_order_of_due_dates() -> None:
    later = {f"A{n}": terms(DueDates(DUE + timedelta(days=7 * n))) for n in (3, 1, 2)}
    works = [
        Work(
            name,
            "alice",
            replace(at(2), received=at(2).received + timedelta(days=7 * int(name[1]))),
        )
        for name in later
    ]
    found = late_work(later, 3, works)
    used: Mapping[str, tuple[int, float]] = {
        name: (each.free, each.percent) for (name, _), each in found.items()
    }
    assert used == {"A1": (2, 0), "A2": (1, 10), "A3": (0, 20)}
    assert late_work(later, 3, reversed(works)) == found


def test_an_extension_moves_the_hard_limit_and_never_shortens() -> None:
    limit = (DUE + timedelta(days=1)).isoformat()
    assert work(terms(hard_limit=limit)).limit is Limit.HARD
    assert work(terms(hard_limit=limit)).percent == 100
    own = DueDates(DUE, {"alice": DUE + timedelta(days=3)})
    assert work(terms(own, hard_limit=limit)).percent == 0
    before = DueDates(DUE, {"alice": DUE - timedelta(days=3)})
    assert work(terms(before)) == work(terms())


@pytest.mark.parametrize(
    ("found", "basis"),
    [
        (work(terms(enabled=False)), Basis.OFF),
        (work(replace(terms(enabled=False), is_set=False)), Basis.UNSET),
        (work(terms(DueDates(DUE, exempt=frozenset({"alice"})))), Basis.EXEMPT),
        (work(terms(DueDates())), Basis.NO_DUE_DATE),
        (work(terms(), None), Basis.NO_TIME),
    ],
)
def test_nothing_is_deducted_without_a_reason_for_it(found: Deduction, basis: Basis) -> None:
    assert (found.basis, found.percent) == (basis, 0)


def test_extensions_of_groups_and_persons_and_exemptions_count_together() -> None:
    days = [DUE + timedelta(days=n) for n in range(5)]
    facts = LateFacts().after(
        [
            Extension("A1", group="B", until=days[2]),
            Membership("B", "alice"),
            Membership("B", "bob"),
            Extension("A1", "alice", until=days[4]),
            Extension("A1", "alice", until=days[1]),
            Extension("A2", "alice", until=days[4]),
            Extension("", "cleo", exempt=True),
            Membership("B", "bob", removed=True),
        ]
    )
    dates = with_facts(DueDates(DUE, {"dan": days[3]}), facts, "A1")
    assert {each: dates.of(each) for each in ("alice", "bob", "dan")} == {
        "alice": days[2],
        "bob": DUE,
        "dan": days[3],
    }
    assert dates.exempt == {"cleo"}
    removed = facts.after([Extension("A1", group="B", removed=True)])
    assert with_facts(DueDates(DUE), removed, "A1").of("alice") == days[1]


def sentence(found: Deduction, total: float | None = 72.5) -> str:
    after = None if total is None else mark_after(total, found.percent)
    return late_sentence(StudentGrade("A1", "alice", total=total, penalised=after), found, UTC)


def test_a_deduction_is_a_sum_with_its_reasons() -> None:
    due, received = moment(DUE), moment(at(1).received)
    times = f"due {due}, received {received} by receipt 7"
    found = work(terms(per_day=5), 1)
    assert sentence(found) == f"72.5 − 5 % (1 day late after 5 min grace; {times}) = 68.9"
    assert sentence(found, None) == (
        f"5 % will be deducted (1 day late after 5 min grace; {times})"
    )
    assert sentence(work(terms(), -1)).startswith(f"Submitted in time: due {due}, received")
    within = sentence(work(terms(), 2 / 1440))  # which all pages of the hub call late
    assert within.startswith(f"No deduction: late, within 5 min grace; due {due}, received")


def test_times_have_seconds_where_minutes_would_not_tell_that_work_is_late() -> None:
    def told(after: timedelta, **keys: object) -> str:
        time = SubmissionTime(DUE + after, TimeSource.RECEIPT, 7)
        found = late_work({"A1": terms(None, **keys)}, 0, [Work("A1", "alice", time)])
        return sentence(found["A1", "alice"])

    late, due = timedelta(seconds=30), moment(DUE, exact=True)
    for minutes, keys in (
        (0, {"grace_minutes": 0}),
        (0, {}),
        (5, {}),
        (2 * 24 * 60 + 5, {}),
        (0, {"hard_limit": DUE.isoformat()}),
    ):
        after = timedelta(minutes=minutes) + late
        times = f"due {due}, received {moment(DUE + after, exact=True)} by receipt 7"
        assert times in told(after, **keys)
    assert f"after the last moment, {due}; due" in told(late, hard_limit=DUE.isoformat())
    for seconds in (-30, 0, 60, 150, 360):
        after = timedelta(seconds=seconds)
        times = f"due {moment(DUE)}, received {moment(DUE + after)} by receipt 7"
        assert times in told(after)


@pytest.mark.parametrize(
    ("keys", "days", "late_days", "told"),
    [
        ({"max": 15}, 2, 0, "− 15 % (2 days late after 5 min grace, the largest deduction;"),
        ({"cut_off_days": 1}, 2, 0, ", past the cut-off of 1 day; due"),
        ({"grace_minutes": 0}, 2, 1, "− 10 % (2 days late, of which 1 without"),
        ({}, 1, 2, "No deduction: 1 day late after 5 min grace, of which 1 without"),
        ({"hard_limit": DUE.isoformat()}, 2, 0, "− 100 % (after the last moment, "),
    ],
)  # fmt: skip
def test_every_bound_is_named(
    keys: Mapping[str, object], days: float, late_days: int, told: str
) -> None:
    assert told in sentence(work(terms(None, **keys), days, late_days))


def test_the_source_of_a_time_and_an_extension_are_named() -> None:
    own = DueDates(DUE, {"alice": DUE + timedelta(days=1)})
    time = SubmissionTime(at(2).received, TimeSource.MOODLE)
    found = late_work({"A1": terms(own)}, 0, [Work("A1", "alice", time)])["A1", "alice"]
    assert " by an extension, received " in sentence(found)
    assert " by Moodle) = " in sentence(found)
    exempt = work(terms(DueDates(DUE, exempt=frozenset({"alice"}))))
    assert sentence(exempt).startswith("No deduction: exempt; received")
