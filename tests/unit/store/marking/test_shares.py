"""Shares of answers among markers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.shares import Shares
from tests.support.gradebooks import AT, FAIR, a_run, give

STUDENTS = [f"s{number:02}" for number in range(11)]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Gradebook]:
    with Gradebook(tmp_path / "gradebook.db") as book:
        for student in STUDENTS:
            book.record_run(a_run(student, FAIR, work=student))
        yield book


def shares(book: Gradebook) -> Shares:
    return Shares(book, random.Random(7))


def counted(book: Gradebook) -> Counter[str]:
    return Counter(shares(book).of("A1").values())


def test_parts_are_equal_and_random(book: Gradebook) -> None:
    shares(book).share_out("A1", ["mia", "ben"], by="prof", at=AT)
    assert sorted(counted(book).values()) == [5, 6]
    found = [shares(book).of("A1")[student] for student in STUDENTS]
    assert found != sorted(found)


def test_what_is_marked_stays_with_its_marker_and_counts(book: Gradebook) -> None:
    for student in STUDENTS[:4]:
        give(book, student=student, Analysis=1.0)  # by mia
    shares(book).share_out("A1", ["mia", "ben"], by="prof", at=AT)
    assert sorted(counted(book).values()) == [5, 6]
    found = shares(book).of("A1")
    assert {found[student] for student in STUDENTS[:4]} == {"mia"}


def test_the_newest_share_counts_and_none_frees_all(book: Gradebook) -> None:
    for markers, whose in ((["mia"], "mia"), (["ben"], "ben"), ([], "")):
        shares(book).share_out("A1", markers, by="prof", at=AT)
        assert counted(book) == {whose: 11}


@pytest.mark.parametrize("markers", [["mia", "mia"], [" "], ["a\nb"]])
def test_markers_have_a_name_and_are_there_once(book: Gradebook, markers: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"^markers: "):
        shares(book).share_out("A1", markers, by="prof", at=AT)
