"""Deductions from due dates, extensions, policies and times: late days, limits, and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mograder.core.sections.settings_model import PenaltiesSettings
from mograder.grading.late.explanation import late_sentence, moment
from mograder.grading.late.late_work import (
    Basis,
    Deduction,
    DueDates,
    Limit,
    SubmissionTime,
    Terms,
    TimeSource,
    Work,
    late_work,
)
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_facts import Extension, LateFacts, Membership
from mograder.store.gradebook.mark_counting import mark_after

DUE = datetime(2026, 11, 20, 18, tzinfo=UTC)
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
    dates = DueDates(DUE, {"dan": days[3]}).with_facts(facts, "A1")
    assert {each: dates.of(each) for each in ("alice", "bob", "dan")} == {
        "alice": days[2],
        "bob": DUE,
        "dan": days[3],
    }
    assert dates.exempt == {"cleo"}
    removed = facts.after([Extension("A1", group="B", removed=True)])
    assert DueDates(DUE).with_facts(removed, "A1").of("alice") == days[1]


def sentence(found: Deduction, total: float | None = 72.5) -> str:
    after = None if total is None else mark_after(total, found.percent)
    return late_sentence(StudentGrade("A1", "alice", total=total, penalised=after), found)


def test_a_deduction_is_a_sum_with_its_reasons() -> None:
    due, received = moment(DUE), moment(at(1).received)
    times = f"due {due}, received {received} by receipt 7"
    found = work(terms(per_day=5), 1)
    assert sentence(found) == f"72.5 − 5 % (1 day late after 5 min grace; {times}) = 68.9"
    assert sentence(found, None) == (
        f"5 % will be deducted (1 day late after 5 min grace; {times})"
    )
    assert sentence(work(terms(), -1)).startswith(f"Submitted in time: due {due}, received")


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
