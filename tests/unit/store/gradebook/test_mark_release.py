"""store.gradebook.mark_release: what a student sees after any sequence of releases."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.mark_release import (
    MarkReleases,
    NewRelease,
    ReleaseRow,
    Standing,
    standing,
)
from tests.support.gradebooks import AT


def day(number: float) -> datetime:
    return AT + timedelta(days=number)


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[MarkReleases]:
    with Gradebook(tmp_path / "gradebook.db") as book:
        yield MarkReleases(book)


def add(releases: MarkReleases, at: float, visible: float | None, grade: str = "") -> None:
    new = NewRelease("alice", None if visible is None else day(visible), grade)
    releases.add("A1", [new], by="prof", at=day(at), note=f"note {at:g}")


def seen(releases: MarkReleases, now: float) -> Standing:
    return standing(releases.rows_for("A1", "alice"), day(now))


def test_rows_are_kept_with_their_times_and_the_person(releases: MarkReleases) -> None:
    add(releases, 0, 2, '{"a": "ü"}')
    (row,) = releases.rows_of("alice")["A1"]
    assert (row.visible_from, row.at, row.by) == (day(2), day(0), "prof")
    assert (row.grade, row.note) == ('{"a": "ü"}', "note 0")
    assert releases.rows("A1") == {"alice": [row]}
    assert not releases.rows("A2")
    assert not releases.rows_of("bob")


def test_a_release_is_visible_from_its_time_on(releases: MarkReleases) -> None:
    add(releases, 0, 2)
    assert seen(releases, 1.9).shown is None
    assert seen(releases, 1.9).waiting is not None
    assert seen(releases, 2).shown is not None
    assert seen(releases, 2).waiting is None


def test_a_release_that_is_put_off_is_not_visible_at_its_first_time(releases: MarkReleases) -> None:
    add(releases, 0, 2)
    add(releases, 1, 5)
    assert seen(releases, 3).shown is None
    assert seen(releases, 5).shown is not None


def test_what_is_visible_stays_so_until_a_later_release_begins(releases: MarkReleases) -> None:
    add(releases, 0, 0, "old")
    add(releases, 1, 3, "new")
    now = seen(releases, 2)
    assert (now.shown and now.shown.grade, now.waiting and now.waiting.grade) == ("old", "new")
    shown = seen(releases, 3).shown
    assert shown is not None
    assert shown.grade == "new"


def test_marks_that_are_taken_back_are_not_shown_until_they_are_released_again(
    releases: MarkReleases,
) -> None:
    add(releases, 0, 0)
    add(releases, 1, None)
    back = seen(releases, 2)
    assert back.shown is None
    assert back.taken_back is not None
    assert back.taken_back.note == "note 1"
    add(releases, 3, 4)
    assert seen(releases, 3.5).taken_back is not None
    assert seen(releases, 4).taken_back is None
    assert seen(releases, 4).shown is not None


def test_a_release_that_nobody_saw_is_taken_back_without_a_word(releases: MarkReleases) -> None:
    add(releases, 0, 5)
    add(releases, 1, None)
    assert seen(releases, 9) == Standing()


def test_any_sequence_means_what_a_watch_would_have_seen() -> None:
    """The rule is compared with a simulation that goes through every hour."""
    random_ = random.Random(7)
    for _ in range(300):
        rows = _random_rows(random_)
        for hour in range(0, 60, 3):
            shown = standing(
                [row for row in rows if row.at <= AT + hour * _HOUR], AT + hour * _HOUR
            )
            assert (shown.shown.number if shown.shown else 0) == _simulated(rows, hour)


_HOUR = timedelta(hours=1)


def _random_rows(random_: random.Random) -> Sequence[ReleaseRow]:
    hours = sorted(random_.sample(range(40), random_.randint(1, 6)))
    rows = []
    for number, hour in enumerate(hours, start=1):
        wait = random_.choice([None, 0, random_.randint(1, 15)])
        visible = None if wait is None else AT + (hour + wait) * _HOUR
        rows.append(ReleaseRow(number, "A1", "alice", visible, "", "", "prof", AT + hour * _HOUR))
    return rows


def _simulated(rows: Sequence[ReleaseRow], until: int) -> int:
    shown = 0
    for hour in range(until + 1):
        now = AT + hour * _HOUR
        known = [row for row in rows if row.at < now]
        if known and known[-1].visible_from == now:
            shown = known[-1].number
        for row in rows:
            if row.at == now:
                due = row.visible_from is not None and row.visible_from <= now
                shown = row.number if due else 0 if row.visible_from is None else shown
    return shown
