"""The page of feedback says why a person gave a mark."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from mograder.grading.feedback.disclosure import Disclosure, Level
from mograder.grading.feedback.feedback import ShownNotebook, render_feedback_page
from mograder.grading.feedback.feedback_view import GradedWork
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry, QuestionGrade
from mograder.store.gradebook.rubrics import StartsAt
from mograder.store.marking.annotations import Annotations, AnnotationWish, Place
from mograder.store.marking.mark_reasons import MarkReasons, Note, SavedText, read_mark_reasons
from mograder.store.marking.question_marking import Change, QuestionMarks
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from tests.support.feedback_pages import DUE, EVIL, WORK
from tests.support.gradebooks import AT, FAIR, a_run

REASONS = MarkReasons(
    saved=(SavedText("Right $x^2$", 60), SavedText(EVIL, -1.5), SavedText("See also")),
    adjustment=0.7,
    from_full=True,
    reason="The check was too strict.",
    notes=(
        Note(7, 1, 3, f"Better *names* {EVIL}", "a" * 64),
        Note(8, None, None, "", "a" * 64),
        Note(9, 2, 2, "of an earlier submission", "c" * 64),
    ),
)


def page(work: GradedWork, level: Level = Level.FULL) -> str:
    return render_feedback_page(work, Disclosure(level), ShownNotebook())


def test_the_page_has_the_reasons_with_their_points() -> None:
    html = page(replace(WORK, reasons={"Essay": REASONS}))
    for expected in ("+60", "−1.5", "+0.7", "Cell 8, lines 1 to 3", "too strict", "<em>names</em>"):
        assert expected in html, expected
    assert "count from all marks" in html
    assert "<msup>" in html
    assert "earlier submission" not in html
    assert "<script" not in html
    assert "<img" not in html


def test_a_mark_that_a_newer_one_replaced_has_no_reasons() -> None:
    *others, essay = WORK.grade.questions
    whole = QuestionGrade("", 50, 65, "manual", marker="mia")
    questions = (*others, replace(essay, points=None, marker=""))
    html = page(
        replace(
            WORK,
            grade=replace(WORK.grade, questions=questions, whole=whole),
            reasons={"Essay": REASONS},
        )
    )
    assert "Cell 8, lines 1 to 3" in html
    for gone in ("+60", "+0.7", "too strict", "59.2 of 65"):
        assert gone not in html, gone


def test_nothing_is_told_before_the_marks_are() -> None:
    later = Disclosure(Level.FULL, DUE + timedelta(days=1))
    work = replace(WORK, reasons={"Q1": REASONS})
    assert "too strict" not in render_feedback_page(work, later, ShownNotebook())
    assert "too strict" in page(work)


def test_comments_keep_their_lines_and_are_rendered() -> None:
    grade = replace(WORK.grade, comment="One.\nTwo: $x^2$.")
    html = page(replace(WORK, grade=grade))
    assert "<p>One.<br>\nTwo: <math" in html


def test_the_reasons_are_read_from_the_gradebook(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
        book.record_run(a_run("bob", FAIR, work="other"))
        bank, marks = SavedComments(book), QuestionMarks(book)
        made = bank.add("A1", "Analysis", CommentWish("Good.", 5), Author("mia", AT))
        bank.start("A1", "Analysis", StartsAt.FULL, Author("mia", AT))
        for student, details in (
            ("alice", MarkDetails(-2.0, (made.comment,))),
            ("bob", MarkDetails(None, (made.comment,))),
        ):
            seen = marks.state("A1", student, "Analysis")
            entry = MarkEntry(None if student == "alice" else 3.0, "", details)
            change = Change("Analysis", entry, "mia", AT, seen.version)
            marks.give("A1", student, change)
        wish = AnnotationWish(Place("Analysis", 4, 1, 2), "Here.", made.comment, "mia", AT)
        Annotations(book).add("A1", "alice", wish)
        found = read_mark_reasons(book, "A1")
        work = marks.state("A1", "alice", "Analysis").submission_sha256
    note = Note(4, 1, 2, "Good.\n\nHere.", work)
    of_alice = MarkReasons((SavedText("Good.", 5),), -2.0, from_full=True, notes=(note,))
    assert found["alice"]["Analysis"] == of_alice
    assert found["bob"]["Analysis"] == MarkReasons((SavedText("Good."),))
