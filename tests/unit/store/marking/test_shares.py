"""Shares of answers among markers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE
from mograder.store.marking.shares import ALL_QUESTIONS, Shares
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


def counted(book: Gradebook, question: str) -> Counter[str]:
    found = shares(book).of("A1")
    return Counter(found.of(question, student) for student in STUDENTS)


def test_parts_are_equal_and_random(book: Gradebook) -> None:
    made = shares(book).share_out("A1", ALL_QUESTIONS, ["mia", "ben"], by="prof", at=AT)
    assert sorted(made.values()) == [5, 6]
    assert counted(book, "Analysis") == counted(book, WHOLE) == Counter(made)
    found = shares(book).of("A1")
    assert [found.of("Q1", student) for student in STUDENTS] != sorted(
        found.of("Q1", student) for student in STUDENTS
    )


def test_what_is_marked_stays_with_its_marker_and_counts(book: Gradebook) -> None:
    for student in STUDENTS[:4]:
        give(book, student=student, Analysis=1.0)  # by mia
    made = shares(book).share_out("A1", "Analysis", ["mia", "ben"], by="prof", at=AT)
    assert sorted(made.values()) == [5, 6]
    found = shares(book).of("A1")
    assert {found.of("Analysis", student) for student in STUDENTS[:4]} == {"mia"}
    assert found.of("Q1", STUDENTS[0]) == ""
    made = shares(book).share_out("A1", "Analysis", ["ben"], by="prof", at=AT)
    assert made == {"ben": 11}


def test_the_newest_share_counts_and_none_frees_all(book: Gradebook) -> None:
    later = AT + timedelta(minutes=1)
    shares(book).share_out("A1", "Analysis", ["mia"], by="prof", at=AT)
    shares(book).share_out("A1", ALL_QUESTIONS, ["ben"], by="prof", at=later)
    assert counted(book, "Analysis") == Counter(ben=11)
    shares(book).share_out("A1", "Analysis", [], by="prof", at=later)
    assert counted(book, "Analysis") == Counter({"": 11})
    assert counted(book, "Q1") == Counter(ben=11)


@pytest.mark.parametrize("markers", [["mia", "mia"], [" "], ["a\nb"]])
def test_markers_have_a_name_and_are_there_once(book: Gradebook, markers: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"^markers: "):
        shares(book).share_out("A1", ALL_QUESTIONS, markers, by="prof", at=AT)
