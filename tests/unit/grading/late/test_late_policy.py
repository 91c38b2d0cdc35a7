"""Deductions for lateness: 0.3.16's rule, fractions kept (compatibility-0.3.16.md 9)."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.clock import from_unix
from mograder.core.item_dates import ItemDates
from mograder.core.sections.settings_model import (
    Assignment,
    ItemSettings,
    PenaltiesSettings,
    Settings,
)
from mograder.grading.late.late_work import (
    DueDates,
    days_late,
    due_dates,
    late_days_for,
    openings,
    percent_of,
)
from mograder.store.assignment_server.assignments import Assignment as Served
from mograder.store.assignment_server.assignments import Deadline
from mograder.store.gradebook.late_facts import LateFacts, StoredPolicy
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
    assert deduction(seconds, rule) == percent
    exact = max(mark * (1 - percent / 100), 0)
    assert abs(mark_after(mark, percent) - exact) <= 0.05 + 1e-9
    assert 0 <= mark_after(mark, percent) <= mark + 0.05


def test_odd_settings_never_raise_a_mark() -> None:
    odd = PenaltiesSettings(enabled=True, grace_minutes=-5, per_day=-3, max=900)
    assert deduction(10**6, odd) == 0
    assert percent_of(odd.model_copy(update={"per_day": 3}), 1000) == 100
    assert mark_after(50, 100) == 0


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


def test_of_several_due_dates_the_one_that_was_set_last_by_hand_counts() -> None:
    one, two, three, four, five = (DUE + timedelta(days=day) for day in range(1, 6))
    served = Served("hw1", None, deadline=Deadline(one, two))  # type: ignore[arg-type]
    settings = LISTED.model_copy(update={"items": {"hw1": ItemSettings(due=three)}})
    run = StoredPolicy(due=five)
    told = StoredPolicy(told=ItemDates(one, two, four))
    stored = StoredPolicy(set_due=four, closes=five)
    found = [
        due_dates("hw1", NOTHING, served),
        due_dates("hw1", LISTED, served),
        due_dates("hw1", LISTED, served, told),
        due_dates("hw1", settings, served),
        due_dates("hw1", settings, served, stored),
        due_dates("hw1", settings, served, replace(stored, due=run.due)),
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


def test_the_cut_off_and_the_largest_deduction_bound_the_days() -> None:
    rule = PenaltiesSettings(per_day=10, max=30, cut_off_days=5)
    assert [percent_of(rule, days) for days in (0, 1, 3, 4, 5, 6)] == [0, 10, 30, 30, 30, 100]


@pytest.mark.parametrize(
    ("days", "left", "used"),
    [(1, 3, 1), (2, 1, 1), (0, 3, 0), (3, 9, 3), (5, 1, 0), (9, 3, 0), (8, 9, 8), (6, 1, 1)],
)
def test_late_days_are_used_only_where_they_lower_the_deduction(
    days: int, left: int, used: int
) -> None:
    rule = PenaltiesSettings(per_day=10, max=30, cut_off_days=5)
    assert late_days_for(rule, days, left) == used


def test_late_days_for_one_assignment_have_a_bound() -> None:
    assert late_days_for(PenaltiesSettings(late_days_each=1), 3, 5) == 1
    assert late_days_for(PenaltiesSettings(late_days_each=0), 3, 5) == 0
