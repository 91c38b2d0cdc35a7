"""Shares of answers among markers, and answers taken out of their group."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import insert

from mograder.core.errors import InvalidInput, NotFound
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_tables import marking_shares
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry, utc_iso
from mograder.store.marking.marking_progress import Shares
from mograder.store.marking.question_marking import Change, QuestionMarks, Separations
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from tests.support.gradebooks import AT, FAIR, a_run, give

STUDENTS = [f"s{number:02}" for number in range(9)]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Gradebook]:
    with Gradebook(tmp_path / "gradebook.db") as book:
        for student in (*STUDENTS, "mia"):
            book.record_run(a_run(student, FAIR, work=student))
        yield book


def shared(book: Gradebook, *markers: str, seed: int = 7) -> Mapping[str, str]:
    """Share out the work; return each student's marker."""
    shares = Shares(book, random.Random(seed))
    shares.share_out("A1", markers, by="prof", at=AT)
    return shares.of("A1")


def test_parts_are_equal_and_random_and_nobody_gets_their_own_answer(book: Gradebook) -> None:
    made = [shared(book, "mia", "ben", seed=seed) for seed in range(12)]
    assert [Counter(each.values()) for each in made] == [{"mia": 5, "ben": 5}] * 12
    assert len({tuple(each[student] for student in STUDENTS) for each in made}) > 2
    assert {each["mia"] for each in made} == {"ben"}
    assert set(shared(book, "mia").values()) == {"mia"}, "unless there is no other marker"


def test_nobody_gets_their_own_answer_in_whatever_spelling(book: Gradebook) -> None:
    """A front names a person Mia, and their work was collected as mia's."""
    made = [shared(book, "Mia", "ben", seed=seed) for seed in range(12)]
    assert {each["mia"] for each in made} == {"ben"}
    assert [Counter(each.values()) for each in made] == [{"Mia": 5, "ben": 5}] * 12


def test_what_is_marked_stays_with_its_marker_and_counts(book: Gradebook) -> None:
    for student in STUDENTS[:4]:
        give(book, student=student, Analysis=1.0)  # by mia
    made = shared(book, "mia", "ben")
    assert Counter(made.values()) == {"mia": 5, "ben": 5}
    assert {made[student] for student in STUDENTS[:4]} == {"mia"}
    assert Counter(shared(book, "ben").values()) == {"ben": 10}


def test_a_change_of_the_rubric_makes_nobody_the_marker_of_anothers_marks(book: Gradebook) -> None:
    bank, marks = SavedComments(book), QuestionMarks(book)
    item = bank.add("A1", "Analysis", CommentWish("Good.", 3.0), Author("mia", AT))
    entry = MarkEntry(None, "", MarkDetails(0.0, (item.comment,)))
    for student in STUDENTS[:4]:
        seen = marks.state("A1", student, "Analysis").version
        marks.give("A1", student, Change("Analysis", entry, "mia", AT, seen))
    wish = CommentWish("Good.", 4.0)
    assert (
        bank.change("A1", "Analysis", item.comment, wish, Author("ben", AT), item.version)[1] == 4
    )
    made = shared(book, "mia", "ben")
    assert {made[student] for student in STUDENTS[:4]} == {"mia"}
    question = marks.state("A1", STUDENTS[0], "Analysis").question
    assert (question.points, question.marker) == (4.0, "mia")


def test_a_comment_and_a_mark_by_an_instructor_take_nothing_from_a_marker(book: Gradebook) -> None:
    for student in STUDENTS[:4]:
        give(book, student=student, Analysis=1.0)  # by mia
    for student in STUDENTS[:2]:
        book.record_marks("A1", student, {}, marker="mia", at=AT, comment="Late.")
    for student in STUDENTS[2:4]:
        marks = {"Q1": MarkEntry(10.0)}
        book.record_marks("A1", student, marks, marker="prof", at=AT)
    made = [shared(book, "mia", "ben", seed=seed) for seed in range(5)]
    assert {each[student] for each in made for student in STUDENTS[:4]} == {"mia"}


def test_shares_without_markers_free_all(book: Gradebook) -> None:
    shared(book, "mia")
    assert Counter(shared(book).values()) == {"": 10}


def test_an_old_share_of_one_question_is_no_share_of_all(book: Gradebook) -> None:
    made = shared(book, "mia")
    row = {"assignment": "A1", "question": "Q1", "student": "s00", "marker": "ben"}
    with book.writing() as connection:
        connection.execute(insert(marking_shares), {**row, "by": "prof", "at": utc_iso(AT)})
    assert Shares(book).of("A1") == made


@pytest.mark.parametrize("markers", [["mia", "mia"], [" "], ["a\nb"]])
def test_markers_have_a_name_and_are_there_once(book: Gradebook, markers: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"^markers: "):
        shared(book, *markers)


def test_only_graded_work_is_taken_out_of_the_group_of_one_question(book: Gradebook) -> None:
    apart = Separations(book)
    apart.put("A1", "Analysis", "s01", separate=True, by="mia", at=AT)
    assert apart.of("A1", "Q1") == frozenset()
    with pytest.raises(NotFound):
        apart.put("A1", "Analysis", "nobody", separate=True, by="mia", at=AT)
