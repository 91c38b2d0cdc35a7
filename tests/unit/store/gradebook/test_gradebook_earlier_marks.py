"""Marks that 0.3.16 gave, before ours or after them: which of them count.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    WHOLE,
    MarkEntry,
)
from tests.support.gradebooks import (
    AT,
    FAIR,
    a_run,
    change,
    give,
    only,
    put_recorded,
    row_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gradebook.db"


@pytest.fixture
def book(path: Path) -> Iterator[Gradebook]:
    with Gradebook(path) as book:
        yield book


def test_0_3_16s_marks_are_read_as_they_are(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        found = {each.student: each for each in book.grades("A1")}
        (essay, ungraded) = book.grades("A2-Essay")
    alice, bob, cleo, eve = (found[name] for name in ("alice", "bob", "cleo", "eve"))
    assert (alice.auto, alice.manual, alice.total, alice.final) == (25, 42, 67, 60)
    assert alice.submitted_at == 1_795_292_502
    assert alice.whole is not None
    assert (alice.whole.marker, alice.whole.available) == (EARLIER_MARKER, 60)
    assert (bob.auto, bob.manual, bob.total, bob.flags) == (
        25,
        50,
        75,
        ("0.3.16 added its percentage to the total as points; in marks it is 30",),
    )
    assert (cleo.total, cleo.final) == (94, 0), "a penalised 0 stays 0"
    assert (eve.total, eve.final, eve.questions[3].open) == (None, None, "not marked yet")
    assert (essay.auto, essay.total, essay.comment[:9]) == (None, 65, "Good work")
    assert (ungraded.total, ungraded.comment) == (80, "Fine.")


def test_where_0_3_16_left_no_question_to_people_the_remedy_is_named(path: Path) -> None:
    """It records no keys of checks, and takes all questions for automatic, if it ran none."""
    put_recorded(path)
    change(path, "UPDATE assignments SET auto_check_keys = NULL WHERE name = 'A1'")
    with Gradebook(path) as book:
        for key in ("Analysis", WHOLE):
            with pytest.raises(InvalidInput, match="left no question of A1") as refused:
                book.record_marks("A1", "eve", {key: MarkEntry(5)}, marker="mia", at=AT)
            assert refused.value.hint == "Grade it again here: mograder autograde A1"


def test_grading_again_keeps_the_marks_that_0_3_16s_markers_gave(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        for student in ("alice", "bob", "cleo"):
            book.record_run(a_run(student, FAIR))
        found = {each.student: each for each in book.grades("A1")}
        kept = book.history("A1", "alice")[0]
    assert {name: (g.manual, g.total) for name, g in found.items()} == {
        "alice": (42, 64.1),
        "bob": (30, 52.1),
        "cleo": (54, 76.1),
        "eve": (None, None),
    }
    assert (kept.marker, kept.points, kept.comment[:9]) == (EARLIER_MARKER, 42, "Good work")
    assert "in marks it is 30" in found["bob"].flags[0], "until it is marked again"
    assert found["alice"].final == 57.7, "its penalty follows the total"
    row = row_of(path)
    assert (row["manual_mark"], row["feedback"][:9]) == (70, "Good work")


def test_a_person_may_mark_what_only_0_3_16_has_graded(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        assert give(book, student="eve", Analysis=33).total == 58
        with pytest.raises(InvalidInput, match="no question 'Q1'"):
            give(book, student="eve", Q1=3)
    assert row_of(path, "eve")["manual_mark"] == pytest.approx(55)


def test_a_mark_that_0_3_16_gave_afterwards_counts(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30)
    change(
        path,
        "UPDATE submissions SET manual_mark = 70, total_mark = 22 + 42, feedback = 'New.', "
        "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00'",
    )
    grade = only(book)
    assert (grade.manual, grade.total, grade.comment) == (42, 64.1, "New.")
    book.record_run(a_run(points=FAIR, later=9999))
    assert only(book).total == 64.1
    assert [m.marker for m in book.history("A1", "alice") if m.marker] == ["mia", EARLIER_MARKER]


def test_browsing_in_0_3_16s_grader_changes_nothing(book: Gradebook, path: Path) -> None:
    """Its page saves the whole percentage when one goes on to the next student."""
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=12.5)
    percent = row_of(path)["manual_mark"]
    assert percent == pytest.approx(20.833, abs=0.001)
    change(
        path,
        "UPDATE submissions SET manual_mark = 20, total_mark = 22 + 12, "
        "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00'",
    )
    assert only(book).total == 34.6


def test_what_0_3_16_read_from_a_notebooks_text_is_no_mark(book: Gradebook, path: Path) -> None:
    """Exploit: a submission with `_mark = 100`, which `mograder sync` of 0.3.16 takes."""
    book.record_run(a_run(points=FAIR))
    change(
        path,
        "UPDATE submissions SET manual_mark = 100, total_mark = 122.1, updated_at = '2026-11-22'",
    )
    assert (only(book).manual, only(book).total) == (None, None)
    book.record_run(a_run(points=FAIR, later=2))
    assert only(book).total is None


def test_a_result_of_0_3_16_over_ours_does_not_count(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30)
    change(
        path,
        "UPDATE submissions SET auto_mark = 40, total_mark = 90, autograded_at = '2026-11-22', "
        "updated_at = '2026-11-22'",
    )
    assert only(book).total == 52.1
    assert only(book).flags == (
        "mograder 0.3.16 graded this again; its result does not count here",
    )


def test_looking_at_an_old_gradebook_leaves_it_as_it_is(path: Path, tmp_path: Path) -> None:
    put_recorded(path)
    before = path.read_bytes()
    with viewed_gradebook(path) as book:
        assert len(book.grades("A1")) == 4
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.before-*")) == []
    with pytest.raises(NotFound, match="There is no gradebook"), viewed_gradebook(tmp_path / "no"):
        pass


def test_a_mark_from_a_text_does_not_count_after_another_mark_by_us_either(
    book: Gradebook, path: Path
) -> None:
    """A person marked a question with checks, so that the row has a time of marking."""
    book.record_run(a_run(points=FAIR))
    give(book, Q3=15)
    change(path, "UPDATE submissions SET manual_mark = 100, total_mark = 137.1, updated_at = 'x'")
    assert (only(book).manual, only(book).total) == (None, None)


def test_a_mark_from_a_text_waits_for_a_person_once_it_is_graded_here(path: Path) -> None:
    put_recorded(path)
    change(path, "UPDATE submissions SET graded_at = NULL WHERE student = 'alice'")
    with Gradebook(path) as book:
        book.record_run(a_run(points=FAIR))
        grade = book.grades("A1")[0]
        assert grade.whole is not None
        assert (grade.manual, grade.total, grade.whole.open) == (42, None, "not confirmed yet")
        marks = {WHOLE: MarkEntry(42, grade.comment)}
        given = book.record_marks("A1", "alice", marks, marker="mia", at=AT)
    assert (given.total, given.comment[:4]) == (64.1, "Good")
