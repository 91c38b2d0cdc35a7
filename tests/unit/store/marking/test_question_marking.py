"""Marking one question: versions, steps that can be taken back, and points by saved comments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.core.errors import Conflict
from mograder.marks import sum_of_marks
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE, MarkDetails, MarkEntry
from mograder.store.marking.question_marking import (
    AnswerChanged,
    AnswerMark,
    Change,
    QuestionMarks,
    SavedComment,
    StartsAt,
    answers_to,
)
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from tests.support.gradebooks import (
    AT,
    FAIR,
    MARKS,
    a_run,
    change,
    export_0316,
    import_0316,
    only,
    put_recorded,
)
from tests.support.threads import at_once

MIA, BEN = "mia", "ben"
BOTH_WAYS = pytest.mark.parametrize(("one", "other"), [(WHOLE, "Analysis"), ("Analysis", WHOLE)])


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Gradebook]:
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
        yield book


def said(
    book: Gradebook,
    entry: MarkEntry,
    *,
    by: str = MIA,
    question: str = "Analysis",
    version: str | None = None,
    student: str = "alice",
    later: int = 1,
) -> AnswerMark:
    marks = QuestionMarks(book)
    seen = marks.state("A1", student, question).version if version is None else version
    at = AT + timedelta(minutes=later)
    return marks.give("A1", student, Change(question, entry, by, at, seen))


def number(points: float | None, comment: str = "", reason: str = "") -> MarkEntry:
    return MarkEntry(points, comment, MarkDetails(reason=reason))


def undone(book: Gradebook, by: str = MIA, question: str = "Analysis") -> AnswerMark:
    marks = QuestionMarks(book)
    seen = marks.state("A1", "alice", question).version
    return marks.undo("A1", "alice", question, marker=by, at=AT, version=seen)


def test_a_mark_of_0_3_16_appears_and_can_be_taken_over(tmp_path: Path) -> None:
    with Gradebook(put_recorded(tmp_path / "gradebook.db")) as book:
        marks = QuestionMarks(book)
        now = marks.state("A1", "alice", WHOLE)
        assert now.given is not None
        assert (now.given.mark.marker, now.given.mark.points) == ("mograder 0.3.16", 42)
        assert now.given.mark.comment == now.comment
        assert now.comment
        after = said(book, number(50, "Better."), question=WHOLE)
        assert after.given is not None
        assert after.given.mark.marker == MIA
        back = undone(book, question=WHOLE)
        assert back.given is not None
        assert (back.given.mark.points, back.comment) == (42, now.comment)


def test_to_take_a_change_back_confirms_no_mark_from_a_text(tmp_path: Path) -> None:
    path = put_recorded(tmp_path / "gradebook.db")
    change(path, "UPDATE submissions SET graded_at = NULL WHERE student = 'alice'")
    with Gradebook(path) as book:
        book.record_run(a_run("alice", FAIR))
        assert said(book, number(50), question=WHOLE).total == 72.1
        back = undone(book, question=WHOLE)
    assert (back.question.points, back.question.open, back.total) == (42, "not confirmed yet", None)


def test_what_is_imported_meanwhile_is_a_conflict(book: Gradebook, tmp_path: Path) -> None:
    seen = said(book, number(10, "One."), question=WHOLE).version
    path = tmp_path / "gradebook.db"
    export_0316(book)
    change(path, "UPDATE submissions SET manual_mark = 90, total_mark = 76, graded_at = 'later'")
    import_0316(book)
    with pytest.raises(AnswerChanged) as caught:
        said(book, number(20), question=WHOLE, version=seen)
    assert caught.value.now.given is not None
    assert caught.value.now.given.mark.marker == "mograder 0.3.16"


@BOTH_WAYS
def test_a_mark_replaces_no_newer_one_of_the_whole_or_of_questions_unseen(
    book: Gradebook, one: str, other: str
) -> None:
    seen = QuestionMarks(book).state("A1", "alice", one).version
    for comment in ("One.", "Two."):
        said(book, number(None, comment), question=other, by=BEN)
    seen = said(book, number(10), question=one, version=seen).version
    for graded in ("Q1", "Q2"):
        said(book, number(5, reason="So."), question=graded, by=BEN)
    seen = said(book, number(20), question=one, version=seen).version
    said(book, number(45), question=other, by=BEN)
    with pytest.raises(AnswerChanged):
        said(book, number(30), question=one, version=seen)
    assert only(book).total == 55.0
    assert said(book, number(30), question=one).total == 40.0


def test_two_markers_at_once_lose_nothing(book: Gradebook) -> None:
    marks = QuestionMarks(book)
    seen = marks.state("A1", "alice", "Analysis").version
    names = ("mia", "benjamin")
    found = at_once(2, lambda n: said(book, number(n, names[n]), by=names[n], version=seen))
    (refused,) = (names[n] for n, each in enumerate(found) if isinstance(each, AnswerChanged))
    given = marks.state("A1", "alice", "Analysis").given
    assert given is not None
    assert {given.mark.marker, refused} == set(names)


def test_a_question_without_a_result_needs_no_reason(book: Gradebook) -> None:
    book.record_run(
        a_run("bob", {"Q1": None, "Q2": 1.0, "Q3": 0.0}, states={"Q1": "needs attention"})
    )
    assert said(book, number(8), question="Q1", student="bob").question.points == 8


def test_undo_steps_over_what_was_computed_again(book: Gradebook) -> None:
    bank = SavedComments(book)
    made = bank.add("A1", "Analysis", CommentWish("Good.", 20), Author(MIA, AT))
    said(book, number(5, "first"))
    said(book, MarkEntry(None, "", MarkDetails(0.0, (made.comment,))))
    _, changed = bank.change(
        "A1", "Analysis", made.comment, CommentWish("Good.", 25), Author(BEN, AT), made.version
    )
    assert changed == 1
    now = QuestionMarks(book).state("A1", "alice", "Analysis")
    assert now.given is not None
    assert (now.given.mark.points, now.given.mark.marker) == (25, MIA), "whose mark it is"
    assert now.is_undoable_by(MIA)
    assert not now.is_undoable_by(BEN)
    before = undone(book).given
    assert before is not None
    assert (before.mark.points, before.mark.comment) == (5, "first")
    assert undone(book).given is None
    with pytest.raises(Conflict, match="no change of yours"):
        undone(book)


def test_undo_takes_back_a_confirmation_of_newer_work_and_no_mark_before_it(
    book: Gradebook,
) -> None:
    said(book, number(30, "Good."))
    book.record_run(a_run("alice", FAIR, work="second", later=5))
    said(book, number(30, "Good."), later=6)
    assert not said(book, number(30, "Good."), by=BEN, later=7).question.look_again
    with pytest.raises(AnswerChanged):
        undone(book)
    back = undone(book, by=BEN)
    assert (back.question.points, back.question.marker) == (30, MIA)
    back = undone(book)
    assert (back.question.points, back.question.look_again) == (30, True)
    assert undone(book).question.points is None


@pytest.mark.parametrize("given", [(5, 8, 5), (3, 5, 8, 5), (5, None, 5), (5, None)])
def test_undo_goes_back_step_by_step_though_a_mark_was_given_twice(
    book: Gradebook, given: tuple[float | None, ...]
) -> None:
    for points in given:
        said(book, number(points))
    found = [undone(book).question.points for _ in given]
    assert found == [*reversed(given[:-1]), None]
    with pytest.raises(Conflict, match="no change of yours"):
        undone(book)


def test_a_mark_computed_again_still_asks_to_look_again(book: Gradebook) -> None:
    bank = SavedComments(book)
    made = bank.add("A1", "Q1", CommentWish("Good.", 8), Author(MIA, AT))
    entry = MarkEntry(None, "", MarkDetails(0.0, (made.comment,), "so"))
    assert not said(book, entry, question="Q1").question.look_again
    book.record_run(a_run("alice", {**FAIR, "Q1": 3.0}, later=5))
    assert QuestionMarks(book).state("A1", "alice", "Q1").question.look_again
    wish = CommentWish("Good.", 9)
    assert bank.change("A1", "Q1", made.comment, wish, Author(BEN, AT), made.version)[1] == 1
    now = QuestionMarks(book).state("A1", "alice", "Q1").question
    assert (now.points, now.look_again) == (9, True)
    assert not said(book, entry, question="Q1", by=BEN).question.look_again


def together(book: Gradebook, entry: MarkEntry, *others: str, question: str = "Analysis") -> object:
    marks = QuestionMarks(book)
    seen = marks.state("A1", "alice", question).version
    asked = Change(question, entry, MIA, AT, seen)
    return marks.give_together("A1", "alice", asked, works_of(book, *others))[1]


def works_of(book: Gradebook, *students: str) -> dict[str, str]:
    works = book.last_works("A1")
    return {each: works[each][0] if each in works else "" for each in students}


def points_of(book: Gradebook, question: str = "Analysis") -> dict[str, float | None]:
    grades = answers_to(book, "A1", question)
    return {student: each.points for student, each in grades.items()}


def test_equal_answers_get_one_mark_but_for_those_marked_otherwise(book: Gradebook) -> None:
    for student in ("bob", "eve", "dan"):
        book.record_run(a_run(student, FAIR, work=student))
    said(book, number(3, "Apart."), by=BEN, student="dan")
    assert together(book, number(12, "Same."), "bob", "eve", "dan", "nobody") == ("bob", "eve")
    assert points_of(book) == {"alice": 12, "bob": 12, "eve": 12, "dan": 3}
    said(book, number(5, "Other."), by=BEN, student="eve", later=3)
    assert together(book, number(14, "Same."), "bob", "eve", "dan") == ("bob",)
    assert points_of(book) == {"alice": 14, "bob": 14, "eve": 5, "dan": 3}
    history = QuestionMarks(book).history("A1", "bob", "Analysis")
    assert [each.mark.points for each in history] == [None, 12, 14]


def test_a_group_of_equal_answers_is_read_at_once(book: Gradebook, queries: list[str]) -> None:
    def reads(*others: str) -> int:
        for each in others:
            book.record_run(a_run(each, FAIR))
            said(book, number(10, "Same."), student=each)
        said(book, number(10, "Same."))
        queries.clear()
        assert together(book, number(12, "Same."), *others) == others
        return sum(each.startswith("SELECT") for each in queries)

    few = reads("s1", "s2")
    assert reads("s3", "s4", "s5", "s6", "s7") == few


def test_a_mark_for_one_answer_can_be_given_to_the_equal_ones_later(book: Gradebook) -> None:
    book.record_run(a_run("bob", FAIR, work="bob"))
    said(book, number(12, "Same."))
    assert together(book, number(12, "Same."), "bob") == ("bob",)
    assert together(book, number(12, "Same."), "bob") == ()
    assert len(QuestionMarks(book).history("A1", "alice", "Analysis")) == 2  # by grading, by mia
    assert together(book, number(None), "bob") == ("bob",)
    assert points_of(book) == {"alice": None, "bob": None}


def test_a_groups_mark_that_one_answer_has_left_is_changed_for_the_group(book: Gradebook) -> None:
    """Both ways to a new mark: written before the group is chosen, and after an undo."""
    for student in ("bob", "eve"):
        book.record_run(a_run(student, FAIR, work=student))
    together(book, number(5), "bob", "eve")
    said(book, number(7))
    assert together(book, number(7), "bob", "eve") == ("bob", "eve")
    undone(book)
    assert points_of(book) == {"alice": 5, "bob": 7, "eve": 7}
    assert together(book, number(8), "bob", "eve") == ("bob", "eve")
    assert points_of(book) == {"alice": 8, "bob": 8, "eve": 8}


def test_a_mark_given_apart_is_kept_though_an_equal_answer_had_it_once(book: Gradebook) -> None:
    for student in ("bob", "eve"):
        book.record_run(a_run(student, FAIR, work=student))
    said(book, number(3), later=1)
    together(book, number(5), "bob", "eve")
    said(book, number(3), student="bob", later=2)
    marks = QuestionMarks(book)
    seen = marks.state("A1", "alice", "Analysis").version
    asked = Change("Analysis", number(4), MIA, AT + timedelta(minutes=3), seen)
    assert marks.give_together("A1", "alice", asked, works_of(book, "bob", "eve"))[1:] == (
        ("eve",),
        1,
    )
    assert points_of(book) == {"alice": 4, "bob": 3, "eve": 4}


def test_a_mark_that_stands_is_confirmed_for_equal_answers_that_were_graded_anew(
    book: Gradebook,
) -> None:
    book.record_run(a_run("bob", FAIR, work="bob"))
    entry = number(9, reason="A typing error.")
    together(book, entry, "bob", question="Q1")
    for student, work in (("alice", "first"), ("bob", "bob")):
        book.record_run(a_run(student, {**FAIR, "Q1": 3.0}, work=work, later=5))
        assert QuestionMarks(book).state("A1", student, "Q1").question.look_again
    assert together(book, entry, "bob", question="Q1") == ("bob",)
    assert not QuestionMarks(book).state("A1", "bob", "Q1").question.look_again
    assert together(book, entry, "bob", question="Q1") == ()


def test_equal_answers_have_equal_points_of_a_new_maximum(book: Gradebook) -> None:
    bank, author = SavedComments(book), Author(MIA, AT)
    made = bank.add("A1", "Analysis", CommentWish("No unit.", -2.0), author)
    bank.start("A1", "Analysis", StartsAt.FULL, author)
    book.record_run(a_run("bob", FAIR, work="bob"))
    entry = MarkEntry(None, "", MarkDetails(0.0, (made.comment,)))
    together(book, entry, "bob")
    assert points_of(book) == {"alice": 58, "bob": 58}
    for student, work in (("alice", "first"), ("bob", "bob")):
        marks = {**MARKS, "Analysis": 72.0}
        book.record_run(a_run(student, FAIR, work=work, later=5, marks=marks))
    assert together(book, entry, "bob") == ("bob",)
    assert points_of(book) == {"alice": 70, "bob": 70}


def test_an_answer_that_grading_marks_otherwise_keeps_its_mark(book: Gradebook) -> None:
    book.record_run(a_run("bob", {**FAIR, "Q1": 3.0}, work="bob"))
    book.record_run(a_run("eve", FAIR, work="eve"))
    entry = number(9, reason="A typing error.")
    assert together(book, entry, "bob", "eve", question="Q1") == ("eve",)
    assert points_of(book, "Q1") == {"alice": 9, "bob": 3, "eve": 9}


def test_a_mark_for_the_whole_does_not_replace_those_of_questions(book: Gradebook) -> None:
    book.record_run(a_run("bob", FAIR, work="bob"))
    book.record_run(a_run("eve", FAIR, work="eve"))
    said(book, number(3), student="bob")
    assert together(book, number(7), "bob", "eve", question=WHOLE) == ("eve",)
    assert together(book, number(9), "eve") == ()


def test_a_mark_taken_back_leaves_the_one_for_the_whole_that_it_replaced(book: Gradebook) -> None:
    assert said(book, number(45), question=WHOLE).total == 67.1
    assert said(book, number(30)).total == 52.1
    assert undone(book).total == 67.1
    said(book, number(30, "Good."))
    after = said(book, number(None, "Good."))
    assert (after.total, after.whole is not None) == (67.1, True)


def test_a_mark_that_one_for_the_whole_replaced_is_not_shown_as_counting(book: Gradebook) -> None:
    """Else the questions on a student's page would not add up to the mark."""
    said(book, number(30, "Clear."))
    said(book, number(45), question=WHOLE)
    analysis = only(book).questions[-1]
    assert (analysis.points, analysis.marker, analysis.comment) == (None, "", "Clear.")
    assert only(book).total == 67.1
    assert said(book, number(30, "Clear.")).total == 52.1, "the same marker gives it again"
    assert only(book).questions[-1].points == 30


def test_taking_back_a_mark_that_newer_ones_replaced_is_refused(book: Gradebook) -> None:
    said(book, number(45), question=WHOLE)
    said(book, number(30))
    with pytest.raises(Conflict, match="newer ones count"):
        undone(book, question=WHOLE)
    said(book, number(50), question=WHOLE)
    with pytest.raises(Conflict, match="newer ones count"):
        undone(book)
    assert only(book).total == 72.1


@BOTH_WAYS
def test_undo_brings_back_no_mark_that_newer_ones_had_replaced(
    book: Gradebook, one: str, other: str
) -> None:
    store, author = SavedComments(book), Author(BEN, AT)
    saved = store.add("A1", one, CommentWish("Clear.", 20.0), author)
    entry = MarkEntry(None, "Good.", MarkDetails(0.0, (saved.comment,)))
    said(book, entry, question=one)
    said(book, number(45), question=other, by=BEN)
    assert said(book, number(7), question=one).total == 29.1
    assert undone(book, question=one).total == 67.1
    store.change("A1", one, saved.comment, CommentWish("Clear.", 25.0), author, saved.version)
    now = QuestionMarks(book).history("A1", "alice", one)[-1]
    assert (only(book).total, now.mark.comment, now.details.saved) == (
        67.1,
        "Good.",
        (saved.comment,),
    )
    assert said(book, entry, question=one).total == 47.1, "the same marker gives it again"


@BOTH_WAYS
def test_points_computed_again_do_not_count_before_newer_marks(
    book: Gradebook, one: str, other: str
) -> None:
    store, author = SavedComments(book), Author(BEN, AT)
    comment = store.add("A1", one, CommentWish("Clear.", 20.0), author)
    said(book, MarkEntry(None, details=MarkDetails(0.0, (comment.comment,))), question=one)
    said(book, number(45), question=other)
    _, changes = store.preview("A1", one, comment.comment, 25.0)
    wish = CommentWish("Clear.", 25.0)
    _, changed = store.change("A1", one, comment.comment, wish, author, comment.version)
    assert (changes, changed, only(book).total) == ((), 0, 67.1)


POINTS = st.integers(-80, 80).map(lambda tenths: tenths / 10)
STUDENTS = ("alice", "bob")


class Bank:
    """Changes of a question's rubric and marks, and what each mark has to be after them."""

    def __init__(self, book: Gradebook, data: st.DataObject) -> None:
        self.book, self.data = book, data
        self.store = SavedComments(book)
        self.points: dict[str, float | None] = {}
        self.start = StartsAt.ZERO
        self.sums: dict[str, tuple[float, tuple[str, ...]]] = {}
        self.numbers: dict[str, float] = {}

    def add(self, points: float | None, _: str) -> None:
        wish = CommentWish(f"c{len(self.points)}", points)
        self.points[self.store.add("A1", "Analysis", wish, Author(MIA, AT)).comment] = points

    def change(self, points: float | None, _: str) -> None:
        for one in self.known():
            wish = CommentWish(one.text, points)
            self.points[one.comment] = points
            self.store.change("A1", "Analysis", one.comment, wish, Author(BEN, AT), one.version)

    def retire(self, _: float | None, __: str) -> None:
        for one in self.known():
            self.store.retire("A1", "Analysis", one.comment, Author(BEN, AT), one.version)

    def begin(self, _: float | None, __: str) -> None:
        self.start = self.data.draw(st.sampled_from(StartsAt))
        self.store.start("A1", "Analysis", self.start, Author(BEN, AT))

    def number(self, points: float | None, student: str) -> None:
        self.numbers[student] = abs(points or 0.0)
        self.sums.pop(student, None)
        said(self.book, number(self.numbers[student]), student=student)

    def sum(self, points: float | None, student: str) -> None:
        every = sorted(self.points)
        saved = (
            tuple(self.data.draw(st.lists(st.sampled_from(every), unique=True))) if every else ()
        )
        self.sums[student] = points or 0.0, saved
        self.numbers.pop(student, None)
        entry = MarkEntry(None, "", MarkDetails(points or 0.0, saved))
        said(self.book, entry, student=student)

    def known(self) -> list[SavedComment]:
        """Return one of the comments that can be changed, if there is one."""
        found = self.store.of("A1", "Analysis").comments
        return [self.data.draw(st.sampled_from(found))] if found else []

    def expected(self, student: str) -> float | None:
        """Return the mark as computed from nothing."""
        if student not in self.sums:
            return self.numbers.get(student)
        adjustment, saved = self.sums[student]
        full = 60.0 if self.start is StartsAt.FULL else 0.0
        items = [self.points[each] or 0.0 for each in saved]
        return min(max(sum_of_marks([full, *items, adjustment]), 0.0), 60.0)


@settings(max_examples=20)
@given(data=st.data())
def test_every_mark_by_saved_comments_is_their_sum_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """For every order of marks and changes, the points are as if computed from the start."""
    with Gradebook(tmp_path_factory.mktemp("book") / "gradebook.db") as book:
        for student in STUDENTS:
            book.record_run(a_run(student, FAIR, work=student))
        bank = Bank(book, data)
        steps = (bank.add, bank.change, bank.retire, bank.begin, bank.number, bank.sum)
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.sampled_from(steps))
            step(data.draw(st.none() | POINTS), data.draw(st.sampled_from(STUDENTS)))
        for student in STUDENTS:
            found = QuestionMarks(book).state("A1", student, "Analysis").question.points
            assert found == bank.expected(student)
