"""A page of feedback: the reasons for each point, and of hidden tests what the setting allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mograder.core.sections.settings_model import GradingSettings, ItemSettings, Settings
from mograder.grading.late_work import NO_DEDUCTION
from mograder.grading.pages.notebook_page import cells_of_page, render_notebook_page, view_code
from mograder.grading.release.feedback import ShownNotebook, render_feedback_page
from mograder.grading.release.feedback_view import Disclosure, GradedWork, Level, view_feedback
from mograder.grading.submissions.grading_result import GradingState
from mograder.sandbox.execution.judging import JudgedCondition
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry, QuestionGrade
from mograder.store.marking.annotations import (
    Annotations,
    AnnotationWish,
    MarkReasons,
    Note,
    Place,
    SavedText,
    read_mark_reasons,
)
from mograder.store.marking.question_marking import Change, QuestionMarks, StartsAt
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from tests.support.feedback_pages import DUE, EVIL, GRADE, HIDDEN, RESULT, SEEN, WORK, rich_page
from tests.support.gradebooks import AT, FAIR, a_run
from tests.support.notebooks import notebook
from tests.support.page_reader import Reader

_SECRET = "canary"


def page(level: Level = Level.POINTS, later: datetime | None = None, **changes: Any) -> str:
    last = replace(WORK.last, result=changes.pop("result", RESULT))
    work = replace(WORK, last=last, **changes)
    return render_feedback_page(work, Disclosure(level, later), ShownNotebook())


def words(*args: Any, **changes: Any) -> str:
    return Reader(page(*args, **changes)).words


def test_it_says_the_mark_the_sum_and_the_times() -> None:
    said = words()
    assert "68.9 of 100 marks" in said
    assert "72.5 − 5 % (1 day late after 5 min grace; due 2026-11-20" in said
    assert "by receipt 17) = 68.9" in said
    assert "the result's signature with ffffffffffffffff" in said


def test_it_says_for_each_check_why() -> None:
    said = words()
    assert "Q1: area 10 of 13.3 marks" in said
    assert "✓ passed: 1 of 2 conditions hold ✗ failed: area of -1" in said
    assert "area(2) is right" not in said, "a message tells what is wrong if its condition fails"
    assert "area(2) → 12.566" in said
    assert "mean is not defined, because the cell at line 103 failed (ZeroDivisionError)" in said
    assert "rests on what the notebook says about itself: isinstance(shape, Shape)." in said
    assert "A person gave this mark." in said


def test_it_runs_nothing_and_loads_nothing() -> None:
    text = page()
    assert "default-src 'none'" in text
    assert not {"script", "img", "iframe", "link", "form"} & set(Reader(text).elements)
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (Level.NOTHING, set()),
        (Level.POINTS, set()),
        (Level.LABEL, {"canary-label"}),
        (Level.MESSAGE, {"canary-label", "canary-message"}),
        (
            Level.FULL,
            {"canary-label", "canary-message", "canary-why", "canary-call", "canary-claim"},
        ),
    ],
)
def test_30_of_hidden_tests_it_tells_what_the_level_allows(level: Level, told: set[str]) -> None:
    text = page(level)
    everything = {"label", "message", "passed", "why", "call", "claim", "reason-of-check"}
    assert {name for name in everything if f"canary-{name}" in text} == {
        name.removeprefix("canary-") for name in told
    }
    assert "canary:" not in text


def test_at_points_it_tells_the_marks_of_all_hidden_tests_of_a_question_together() -> None:
    assert "Hidden tests 3.3 of 6.7 marks" in words()
    assert "Hidden tests are part of this mark." in words(Level.NOTHING)


def test_hidden_tests_of_a_question_without_marks_say_whether_they_passed() -> None:
    grade = replace(GRADE, questions=(QuestionGrade("Q1", 0, 0, "judged", 0),))
    said = words(grade=grade)
    assert "Hidden tests FAIL" in said or "FAIL Hidden tests" in said
    assert "of 0 marks" not in said.partition("Hidden tests")[2]


def test_marks_of_hidden_tests_together_are_no_sum_of_rounded_ones() -> None:
    """Three thirds of 10 marks are 3.3 and 6.7, not 3.3 and twice 3.3."""
    given = HIDDEN.labels[0].model_copy(update={"earned": 1, "total": 1, "passed": True})
    labels = tuple(
        given.model_copy(update={"label": f"Q1: {name}", "hidden": name != "seen"})
        for name in ("seen", "one", "two")
    )
    result = RESULT.model_copy(update={"checks": (HIDDEN.model_copy(update={"labels": labels}),)})
    grade = replace(GRADE, questions=(QuestionGrade("Q1", 10, 10, "judged", 10),))
    said = words(result=result, grade=grade)
    assert "3.3 of 3.3 marks" in said
    assert "Hidden tests 6.7 of 6.7 marks" in said


def _with_visible(**changes: Any) -> Any:
    """The result with a hidden label, of whose conditions the notebook of the student has two."""
    seen = (
        JudgedCondition(message="seen-held", weight=1, passed=True),
        JudgedCondition(message="seen-failed", weight=1, passed=False, reason="canary-value"),
    )
    given = HIDDEN.labels[0]
    label = given.model_copy(
        update={"conditions": (*seen, *given.conditions), "visible": ("seen-held", "seen-failed")}
    )
    check = HIDDEN.model_copy(update={"labels": (label,), **changes})
    return RESULT.model_copy(update={"checks": (check,)})


@pytest.mark.parametrize("level", [Level.NOTHING, Level.POINTS])
def test_conditions_that_stand_in_the_notebook_are_told_beside_hidden_ones(level: Level) -> None:
    text = page(level, result=_with_visible())
    said = Reader(text).words
    assert "✓ passed: 1 of 2 conditions hold ✗ failed: seen-failed" in said
    assert _told(text) == {"label"}, "the label stands in the notebook, too"


def _told(text: str) -> set[str]:
    names = ("label", "message", "passed", "why", "call", "claim", "reason-of-check", "value")
    return {name for name in names if f"canary-{name}" in text}


def test_30_a_visible_condition_behind_a_hidden_test_is_not_told() -> None:
    """The answer, which has seen the hidden one, could choose what comes of it."""
    result = _with_visible()
    first = HIDDEN.model_copy(update={"cell": 1})
    behind = result.model_copy(update={"checks": (first, *result.checks)})
    unsure = _with_visible(state=GradingState.UNPROTECTED)
    for each in (behind, unsure):
        for level in (Level.NOTHING, Level.POINTS):
            text = page(level, result=each)
            assert "seen-failed" not in text
            assert _told(text) == set()


def test_30_hidden_tests_count_in_the_order_of_judging_and_not_of_the_file() -> None:
    first = HIDDEN.model_copy(update={"cell": 12})
    behind = SEEN.model_copy(update={"cell": 5, "hidden": True})
    text = page(Level.POINTS, result=RESULT.model_copy(update={"checks": (first, behind)}))
    assert "<code>area</code> of -1" not in text
    assert "what they say may repeat a hidden test" in text


@pytest.mark.parametrize("of_hidden", [GradingState.UNPROTECTED, GradingState.NOT_RUN])
@pytest.mark.parametrize("state", [GradingState.UNPROTECTED, GradingState.NOT_RUN])
def test_30_what_ran_beside_a_hidden_test_is_not_told(
    state: GradingState, of_hidden: GradingState
) -> None:
    """The answer had that test in its file, and could write it into a message or a reason."""
    failed = JudgedCondition(message="beside-message", weight=1, passed=False)
    label = SEEN.labels[0].model_copy(update={"conditions": (failed,)})
    changes = {"state": state, "reason": "beside-reason", "labels": (label,), "beside": True}
    seen = SEEN.model_copy(update=changes)
    hidden = HIDDEN.model_copy(update={"state": of_hidden, "beside": True})
    result = RESULT.model_copy(update={"checks": (seen, hidden)})
    for level in (Level.NOTHING, Level.POINTS, Level.LABEL, Level.MESSAGE):
        text = page(level, result=result)
        assert "beside-message" not in text
        assert "beside-reason" not in text
        assert "what they say may repeat a hidden test" in text
        assert "canary-message" not in text or of_hidden is GradingState.NOT_RUN
    alone = RESULT.model_copy(update={"checks": (seen,)})
    for told in (page(Level.FULL, result=result), page(Level.POINTS, result=alone)):
        assert "beside-message" in told


def test_30_a_judged_hidden_check_that_did_not_run_silences_none_that_ran_beside() -> None:
    failed = JudgedCondition(message="beside-message", weight=1, passed=False)
    label = SEEN.labels[0].model_copy(update={"conditions": (failed,)})
    unsafe = {"state": GradingState.UNPROTECTED, "labels": (label,), "beside": True}
    not_run = HIDDEN.model_copy(update={"state": GradingState.NOT_RUN, "reason": ""})
    checks = (not_run, SEEN.model_copy(update=unsafe))
    assert "beside-message" in page(result=RESULT.model_copy(update={"checks": checks}))


def test_30_a_message_that_two_conditions_have_is_not_told() -> None:
    result = _with_visible()
    (check,) = result.checks
    (label,) = check.labels
    conditions = (*label.conditions, label.conditions[1])
    twice = label.model_copy(update={"conditions": conditions})
    check = check.model_copy(update={"labels": (twice,)})
    text = page(Level.POINTS, result=result.model_copy(update={"checks": (check,)}))
    assert "seen-failed" not in text


def test_a_check_with_hidden_and_visible_labels_tells_of_the_visible_ones() -> None:
    """The calls are of both; a label behind a hidden one may repeat what the answer was asked."""
    seen, hidden = SEEN.labels[0], HIDDEN.labels[0]
    calls = (*SEEN.calls, *HIDDEN.calls)
    for labels, why in (((seen, hidden), True), ((hidden, seen), False)):
        check = SEEN.model_copy(update={"hidden": True, "labels": labels, "calls": calls})
        result = RESULT.model_copy(update={"checks": (check,)})
        for later in (None, DUE):
            text = page(Level.POINTS, later, result=result)
            assert "Q1: area" in text
            assert ("<code>area</code> of -1" in text) is why
            assert ("what they say may repeat a hidden test" in text) is not why
            assert "canary" not in text
            assert ("onerror" in text.partition("How the mark")[2]) is why
        assert "canary-call" in page(Level.FULL, result=result)


def test_31_before_the_moment_it_tells_no_mark_that_hidden_tests_are_part_of() -> None:
    text = page(Level.FULL, DUE)
    assert _SECRET not in text
    said = words(Level.FULL, DUE)
    assert "Your mark will be told after 2026-11-20" in said
    assert "68.9" not in said
    assert "13.3" not in said
    assert "0 of 15 marks" in said, "a question without hidden tests is told"


def test_a_question_that_waits_for_a_person_leaves_the_mark_open() -> None:
    waiting = replace(GRADE.questions[2], points=None, marker="", open="not marked yet")
    grade = replace(GRADE, questions=(waiting,), total=None, final=None)
    said = words(grade=grade)
    assert "Not marked yet." in said
    assert "This question is not marked yet." in said


def test_a_submission_without_a_result_says_that_it_waits() -> None:
    result = RESULT.model_copy(
        update={"state": GradingState.NEEDS_ATTENTION, "problem": "no space on /secret"}
    )
    grade = replace(GRADE, questions=(), total=None, final=None)
    said = words(grade=grade, result=result)
    assert "your instructor has to look at this submission" in said
    assert "/secret" not in said


def test_only_what_has_run_was_without_protection() -> None:
    told = "This was graded without protection from the submission's own code."
    unsafe = RESULT.model_copy(update={"protected": False})
    assert told in words(result=unsafe)
    state = {"state": GradingState.NOT_RUN, "earned": 0}
    nothing = tuple(each.model_copy(update=state) for each in unsafe.questions)
    broken = unsafe.model_copy(update={"questions": nothing, "problem": "alice.py:1: syntax"})
    text = words(result=broken)
    assert "Your submission could not be run: alice.py:1: syntax" in text
    assert told not in text


def test_without_a_result_the_page_is_the_gradebooks() -> None:
    said = words(result=None, deduction=NO_DEDUCTION)
    assert "13.3 of 20 marks" in said
    assert "The marks are those of the course's gradebook." in said
    assert "68.9 of 100 marks" in said


def test_marks_of_the_labels_add_up_to_that_of_the_question() -> None:
    view = view_feedback(WORK, Disclosure(Level.FULL))
    shares = [label.marks.split(" of ") for label in view.questions[0].labels]
    assert sum(float(earned) for earned, _ in shares) == pytest.approx(13.3)
    assert sum(float(most) for _, most in shares) == pytest.approx(20)


def test_the_settings_of_an_item_count_before_those_of_the_course() -> None:
    settings = Settings(
        grading=GradingSettings(hidden_tests="label"),
        items={"hw1": ItemSettings(hidden_tests_after="release")},
    )
    before, after = DUE - timedelta(1), DUE + timedelta(1)
    assert Disclosure.of(settings, "hw1", due=DUE, now=before) == Disclosure(Level.LABEL)
    assert Disclosure.of(settings, "hw2", due=DUE, now=before) == Disclosure(Level.LABEL, DUE)
    assert Disclosure.of(settings, "hw2", due=DUE, now=after) == Disclosure(Level.LABEL)
    assert Disclosure.of(settings, "hw2", due=None, now=after) == Disclosure(Level.LABEL)
    composed = Settings(items={"\u00dcbung": ItemSettings(hidden_tests_after="never")})
    for name in ("\u00dcbung", "U\u0308bung"):
        assert Disclosure.of(composed, name, due=DUE, now=after).level is Level.NOTHING
    never = Settings(grading=GradingSettings(hidden_tests_after="never"))
    assert Disclosure.of(never, "hw1", due=None, now=after).level is Level.NOTHING


def test_51_a_page_with_everything_is_inert() -> None:
    elements = set(Reader(rich_page()).elements)
    assert {"math", "table", "details", "img"} <= elements
    assert not {"script", "iframe", "form", "link", "svg"} & elements


NOTEBOOK = notebook(
    """
    x = 1
    return
    """,
    """
    # === MOGRADER: MARKER FEEDBACK ===
    _mark = 100
    """,
    end="",
)


def test_the_cells_of_our_own_page_are_taken_over_and_of_no_other() -> None:
    ours = render_notebook_page(NOTEBOOK, "alice.py", ())
    cells = cells_of_page(ours)
    assert "Cell 1, line 6" in cells
    assert cells in render_feedback_page(WORK, Disclosure(Level.FULL), ShownNotebook(cells))
    for other in (
        "<html><script>x</script></html>",
        ours.replace("Cell 1", "<script>1</script>"),
        ours.replace("Cell 1", "<b onclick=1>1</b>"),
        ours.replace("<!-- end of cells -->", ""),
        "",
    ):
        assert cells_of_page(other) == ""


def test_code_alone_is_shown_without_the_cells_that_grading_added() -> None:
    view = view_code(NOTEBOOK, "alice.py", without=("# === MOGRADER: MARKER FEEDBACK ===",))
    assert [cell.number for cell in view.cells] == [1]
    text = render_feedback_page(WORK, Disclosure(Level.FULL), ShownNotebook(view=view))
    assert "_mark" not in text
    assert "did not run" not in text


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


def page_of(work: GradedWork, level: Level = Level.FULL) -> str:
    return render_feedback_page(work, Disclosure(level), ShownNotebook())


def test_the_page_has_the_reasons_with_their_points() -> None:
    html = page_of(replace(WORK, reasons={"Essay": REASONS}))
    for expected in ("+60", "−1.5", "+0.7", "Cell 8, lines 1 to 3", "too strict", "<em>names</em>"):
        assert expected in html, expected
    assert "count from all marks" in html
    assert "<msup>" in html
    assert "earlier submission" not in html
    assert "<script" not in html
    assert "<img" not in html


def test_a_reason_names_grading_only_where_grading_gave_a_mark() -> None:
    pages = {key: page_of(replace(WORK, reasons={key: REASONS})) for key in ("Q1", "Essay")}
    told = {key: "another mark than grading" in html for key, html in pages.items()}
    assert told == {"Q1": True, "Essay": False}
    assert "The reason for this mark" in pages["Essay"]


def test_a_mark_that_a_newer_one_replaced_has_no_reasons() -> None:
    *others, essay = WORK.grade.questions
    whole = QuestionGrade("", 50, 65, "manual", marker="mia")
    questions = (*others, replace(essay, points=None, marker=""))
    html = page_of(
        replace(
            WORK,
            grade=replace(WORK.grade, questions=questions, whole=whole),
            reasons={"Essay": REASONS},
        )
    )
    assert "Cell 8, lines 1 to 3" in html
    for gone in ("+60", "+0.7", "too strict", "59.2 of 65"):
        assert gone not in html, gone


def test_a_saved_comment_on_the_whole_without_points_is_told() -> None:
    """Nor does a comment that is typed there need points."""
    assert WORK.grade.whole is None
    reasons = MarkReasons((SavedText("Label your axes"),))
    assert "Label your axes" in page_of(replace(WORK, reasons={"": reasons}))


def test_nothing_is_told_before_the_marks_are() -> None:
    later = Disclosure(Level.FULL, DUE + timedelta(days=1))
    work = replace(WORK, reasons={"Q1": REASONS})
    assert "too strict" not in render_feedback_page(work, later, ShownNotebook())
    assert "too strict" in page_of(work)


def test_comments_keep_their_lines_and_are_rendered() -> None:
    grade = replace(WORK.grade, comment="One.\nTwo: $x^2$.")
    html = page_of(replace(WORK, grade=grade))
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


def test_a_saved_comment_beside_gradings_mark_is_told_as_its_text_would_be(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
        book.record_run(a_run("bob", FAIR, work="other"))
        made = SavedComments(book).add("A1", "Q1", CommentWish("Why so?"), Author("mia", AT))
        marks = QuestionMarks(book)
        for student, saved in (("alice", (made.comment,)), ("bob", ())):
            seen = marks.state("A1", student, "Q1")
            entry = MarkEntry(None, "", MarkDetails(None, saved))
            marks.give("A1", student, Change("Q1", entry, "mia", AT, seen.version))
        assert marks.state("A1", "alice", "Q1").question.points == 7.1
        found = read_mark_reasons(book, "A1")
    assert found == {"alice": {"Q1": MarkReasons((SavedText("Why so?"),))}}
