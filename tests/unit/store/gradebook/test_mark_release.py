"""store.gradebook.mark_release: what a student sees after any sequence of releases."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from mograder.core.errors import Conflict
from mograder.store.gradebook.gradebook import Gradebook, OneTransaction
from mograder.store.gradebook.mark_release import (
    MarkReleases,
    NewRelease,
    ReleaseRow,
    standing,
)
from tests.support.gradebooks import AT


def day(number: float) -> datetime:
    return AT + timedelta(days=number)


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[MarkReleases]:
    with Gradebook(tmp_path / "gradebook.db") as book:
        yield MarkReleases(book)


def test_rows_are_kept_with_their_times_and_the_person(releases: MarkReleases) -> None:
    new = NewRelease("alice", day(2), '{"a": "ü"}')
    releases.add("A1", [new], seen=0, by="prof", at=day(0), note="Look at Q1.")
    (row,) = releases.rows_of("alice")["A1"]
    assert (row.visible_from, row.at, row.by) == (day(2), day(0), "prof")
    assert (row.grade, row.note) == ('{"a": "ü"}', "Look at Q1.")
    assert releases.rows("A1") == {"alice": [row]}
    assert list(releases.rows_for("A1", "alice")) == [row]
    assert not releases.rows("A2")
    assert not releases.rows_of("bob")


def test_rows_are_added_after_those_that_were_seen_only(releases: MarkReleases) -> None:
    first, back = NewRelease("alice", day(0), "{}"), NewRelease("alice", None)
    releases.add("A1", [first], seen=0, by="prof", at=day(0))
    (seen,) = releases.newest().values()
    releases.add("A2", [first], seen=0, by="prof", at=day(0))
    with pytest.raises(Conflict, match="Marks of A1 were released or taken back meanwhile"):
        releases.add("A1", [first], seen=0, by="ina", at=day(1))
    releases.add("A1", [back], seen=seen, by="ina", at=day(1))
    assert [row.by for row in releases.rows_for("A1", "alice")] == ["prof", "ina"]


def test_a_students_rows_are_found_without_reading_those_of_the_class(tmp_path: Path) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []
    with Gradebook(tmp_path / "gradebook.db") as book, book.reading() as connection:
        event.listen(
            connection, "before_cursor_execute", lambda *call: asked.append((call[2], call[3]))
        )
        releases = MarkReleases(OneTransaction(connection))
        releases.rows_of("alice")
        releases.shown(AT, "alice")
        for statement, values in tuple(asked):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert [row.detail.partition(" USING ")[0] for row in plan] == ["SEARCH mark_releases"]
    assert len(asked) == 4


Seen = tuple[int | None, int | None, int | None]
"""The numbers of the releases that are shown, that wait, and that took the marks back."""


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        pytest.param([(0, 2)], {1.9: (None, 0, None), 2: (0, None, None)}, id="visible from then"),
        pytest.param([(0, 2), (1, 5)], {3: (None, 1, None), 5: (1, None, None)}, id="put off"),
        pytest.param([(0, 0), (1, 3)], {2: (0, 1, None), 3: (1, None, None)}, id="stays until"),
        pytest.param(
            [(0, 0), (1, None), (3, 4), (6, 8)],
            {2: (None, None, 1), 3.5: (None, 2, 1), 4: (2, None, None), 7: (2, 3, None)},
            id="taken back until released again",
        ),
        pytest.param([(0, 0), (1, None), (2, None)], {3: (None, None, 2)}, id="taken back twice"),
        pytest.param([(0, 5), (1, None)], {9: (None, None, None)}, id="taken back unseen"),
    ],
)
def test_what_a_student_sees_after_releases(
    made: Sequence[tuple[int, int | None]], seen: Mapping[float, Seen]
) -> None:
    """``made`` are the days of each release, and from which on it is visible."""
    rows = [
        ReleaseRow(
            number, "A1", "alice", None if from_ is None else day(from_), "", "", "", day(at)
        )
        for number, (at, from_) in enumerate(made)
    ]
    for now, expected in seen.items():
        found = standing([row for row in rows if row.at <= day(now)], day(now))
        told = (found.shown, found.waiting, found.taken_back)
        assert tuple(each.number if each else None for each in told) == expected, now


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
