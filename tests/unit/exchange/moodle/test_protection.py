"""Which marks are sent over what Moodle holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import Outcome, Plan, Result
from mograder.clients.moodle.records import (
    Assignment,
    Feedback,
    FeedbackTypes,
    Grade,
    Held,
    Mark,
)
from mograder.exchange.moodle.protection import (
    BEFORE_FIRST,
    Remembered,
    Verdict,
    complete,
    erased_comment,
    judge,
    known_unchanged,
    replaced_files,
    settle_plan,
    settled,
    to_remember,
)
from mograder.store.gradebook.gradebook import UNKNOWN_ATTEMPT, SentGrade
from mograder.store.gradebook.grading_records import SentFile

AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 9, 40, tzinfo=UTC)
UNIX = int(AT.timestamp())
A1 = Assignment(1, 3, 2, "A1", feedback=FeedbackTypes(comments=True, files=True))
OURS = SentGrade(4, "45.00", 0, UNIX, "mine", ())


def planned(
    mark: Mark, grade: str | None, comment: str, *files: RemoteFile, at: datetime = LATER
) -> Outcome:
    """A mark that is to be sent, where Moodle holds a grade, a comment and files."""
    before = None if grade is None else Decimal(grade)
    feedback = Feedback(before, comment=comment, files=files)
    held = Held(0, Grade(4, 0, before, 9, at), "", feedback, is_read=True)
    after = before if mark.grade is None else mark.grade
    return Outcome(mark, Result.CHANGED, before, after, held=held)


def judged(
    outcome: Outcome,
    sent: SentGrade | None = None,
    intent: SentGrade | None = None,
    *,
    force: bool = False,
    assignment: Assignment = A1,
) -> Verdict:
    # Nothing listens there: what is asked of Moodle fails the test.
    with MoodleClient("http://127.0.0.1:9", "0" * 32) as client:
        return judge(client, assignment, outcome, sent, intent, force=force)


NEW = Mark(4, Decimal(70), "two")
LATE = "Late penalty: -5%. Raw mark: 80."


@pytest.mark.parametrize(
    ("grade", "comment", "changed"),
    [
        ("45", "mine", ()),
        ("45", "better words", ("comment",)),
        ("46", "mine", ("grade 45.00 to 46.00",)),
        ("46", "better words", ("grade 45.00 to 46.00", "comment")),
        (None, "mine", ("grade 45.00 to none",)),
    ],
)
def test_a_mark_that_somebody_changed_is_left_alone_and_named(
    grade: str | None, comment: str, changed: tuple[str, ...]
) -> None:
    """H3: a better comment with the same grade was overwritten."""
    outcome = planned(NEW, grade, comment)
    found = judged(outcome, OURS)
    assert found.changed == changed
    assert found.outcome.result is (Result.SKIPPED if changed else Result.CHANGED)
    assert judged(outcome, OURS, force=True).outcome.result is Result.CHANGED
    if grade:
        first = judged(outcome)  # somebody graded by hand before the first upload
        assert first.outcome.result is Result.SKIPPED
        assert first.changed[:2] == (BEFORE_FIRST, f"grade {grade}.00")
    assert judged(outcome, force=True).outcome.result is Result.CHANGED


def test_only_what_would_be_overwritten_counts() -> None:
    """A grade alone leaves the better comment where it is, so that it may be sent."""
    found = judged(planned(Mark(4, Decimal(70)), "45", "better words"), OURS)
    assert (found.outcome.result, found.changed) == (Result.CHANGED, ())
    kept = to_remember(found, OURS, team=False, me=3)
    assert kept == SentGrade(4, "70.00", 0, 0, "mine", ()), "their comment does not become ours"
    again = judged(planned(Mark(4, Decimal(70), "two"), "70", "better words"), kept)
    assert again.changed == ("comment",)


def test_feedback_from_before_the_first_upload_does_not_become_ours(tmp_path: Path) -> None:
    """A first upload of grades recorded a colleague's comment and scan; the next one had them."""
    page = tmp_path / "a.html"
    page.write_text("two")
    scan = RemoteFile("scan.pdf", "x", 9)
    grades = Mark(4, Decimal(70))
    first = judged(planned(grades, None, "theirs", scan))
    kept = to_remember(first, None, team=False, me=3)
    assert kept == SentGrade(4, "70.00", 0, 0, "", ())
    full = Mark(4, Decimal(70), "two", (Upload("a.html", page),))
    assert judged(planned(full, "70", "theirs", scan), kept).changed == (
        "comment",
        "feedback files",
    )
    earlier = replace(OURS, attempt=UNKNOWN_ATTEMPT, comment=None, files=None)
    assert to_remember(first, earlier, team=False, me=3).comment == "theirs", "it may be ours"


def test_an_interrupted_first_upload_does_not_make_feedback_from_before_it_ours(
    tmp_path: Path,
) -> None:
    page = tmp_path / "a.html"
    page.write_text("two")
    scan = RemoteFile("scan.pdf", "x", 9)
    grades, files = Mark(4, Decimal(70)), (Upload("a.html", page),)
    full = Mark(4, Decimal(70), "two", files)
    intent = to_remember(judged(planned(grades, None, "theirs", scan, at=AT)), None, team=False)
    changed = ("comment", "feedback files")
    unsaved = planned(full, None, "theirs", scan, at=AT)
    assert judged(unsaved, None, intent).changed == (BEFORE_FIRST, *changed)
    assert judged(replace(unsaved, mark=grades), None, intent).changed == ()
    assert judged(planned(full, "70", "theirs", scan), None, intent).changed == changed
    saved = judged(planned(Mark(4, Decimal(80)), "70", "theirs", scan), None, intent)
    assert settled(saved, None, intent) == SentGrade(4, "70.00", 0, 0, "", ())


@pytest.mark.parametrize(
    ("sent", "grade"),
    [
        (OURS, "45.00"),
        (None, ""),
        (replace(OURS, attempt=UNKNOWN_ATTEMPT), "45.00"),
    ],
)
def test_a_grade_of_somebody_else_does_not_become_ours_with_a_comment(
    sent: SentGrade | None, grade: str
) -> None:
    """The next list with our mark for it overwrote a colleague's 92."""
    words = Mark(4, None, "two")
    held = planned(words, "92", "two" if sent is None else "mine")
    found = judged(held, sent)
    kept = to_remember(found, sent, team=False)
    assert kept.grade == grade
    full = planned(replace(NEW, grade=Decimal(84)), "92", "two")
    changed = (f"grade {grade or 'none'} to 92.00",)
    assert judged(full, kept).changed == changed
    hidden = planned(words, "92", "")
    assert known_unchanged(hidden, kept).result is Result.UNCHANGED, "its time tells"
    # The process was killed after it had saved the comment.
    before = replace(kept, modified=UNIX)
    after = settled(Verdict(planned(Mark(4, None, "three"), "92", "two")), sent, before)
    assert after is not None
    assert (after.grade, after.comment) == (grade, "two")
    assert judged(full, after).changed == changed


def test_markup_that_moodle_itself_rewrote_is_no_change() -> None:
    """Moodle's time of the grade is that of our upload: nobody saved it since."""
    found = judged(planned(NEW, "45", "<p>mine</p>", at=AT), OURS)
    assert found.changed == ()


def test_other_words_are_a_change_even_if_the_time_did_not_move() -> None:
    """H3: importing a worksheet with comments alone leaves Moodle's time of the grade."""
    found = judged(planned(NEW, "45", "better words", at=AT), OURS)
    assert found.changed == ("comment",)


def test_a_change_saved_while_our_upload_ran_does_not_become_ours() -> None:
    """H3: all marks are read back at the end, so that the time may be a colleague's."""
    mine = Mark(4, Decimal(45), "mine")
    outcome = planned(mine, None, "")
    outcome = replace(outcome, kept=Grade(4, 0, Decimal(45), 9, LATER))
    sent = to_remember(Verdict(outcome), None, team=False, me=3)
    assert (sent.comment, sent.modified) == ("mine", 0)
    theirs = planned(replace(mine, comment="mine v2"), "45", "better", at=LATER)
    assert judged(theirs, sent).changed == ("comment",)
    again = planned(mine, "45", "better", at=LATER)
    assert known_unchanged(again, sent).result is Result.CHANGED, "it is compared"


def test_the_mark_of_an_earlier_attempt_is_not_sent_for_the_next_one() -> None:
    """M4: the same class list after a new attempt gave it the old mark, unnoticed."""
    old = planned(Mark(4, Decimal(45), "mine"), None, "")
    old = replace(old, held=Held(1, None, is_read=True))
    for sent, intent in ((OURS, None), (None, OURS)):
        found = judged(old, sent, intent)
        assert found.outcome.result is Result.SKIPPED
        assert found.outcome.why.startswith("this is the mark of attempt 1; attempt 2 has none")
    assert judged(old, OURS, force=True).outcome.result is Result.CHANGED
    other = replace(old, mark=Mark(4, Decimal(45), "better"))
    assert judged(other, OURS).outcome.result is Result.CHANGED


def test_a_record_of_an_earlier_version_counts_for_any_attempt() -> None:
    record = SentGrade(4, "45.00", UNKNOWN_ATTEMPT)
    held = planned(NEW, "45", "mine")
    second = replace(held, held=replace(held.held, attempt=1))
    assert judged(second, record).changed == ()
    changed = planned(NEW, "50", "mine")
    second = replace(changed, held=replace(changed.held, attempt=1))
    assert judged(second, record).changed == ("grade 45.00 to 50.00",)
    fresh = replace(planned(NEW, None, ""), held=Held(0, None, is_read=True))
    assert judged(fresh, record).outcome.result is Result.CHANGED


def test_a_hidden_comment_is_known_after_an_interrupted_upload_that_did_not_change_it() -> None:
    """H2: our own killed upload of grades alone had the next grades refused."""
    grades = planned(Mark(4, Decimal(70)), "60", "")
    hidden = replace(grades, held=replace(grades.held, feedback=None))
    intent = replace(OURS, grade="60.00")
    found = complete(hidden, OURS, intent, me=9)
    assert found.held.feedback == Feedback(comment="mine")
    assert complete(hidden, None, intent, me=9).held.feedback == Feedback(comment="mine")
    for sent, other, me in (
        (OURS, intent, 3),
        (OURS, replace(intent, comment="two"), 9),
        (OURS, replace(intent, grade="61.00"), 9),
    ):
        assert complete(hidden, sent, other, me).held.feedback is None


@pytest.mark.parametrize("force", [False, True])
def test_a_grade_that_would_erase_a_hidden_comment_says_what_helps(force: bool) -> None:
    """--force does not help, so that it is not recommended."""
    outcome = planned(Mark(4, Decimal(70)), "50", "")
    hidden = replace(outcome, held=replace(outcome.held, feedback=None))
    found = judged(hidden, OURS, force=force, assignment=replace(A1, workflow=True))
    assert found.changed == ()
    assert "add a column feedback" in found.outcome.why


def test_a_mark_that_moodle_holds_already_is_ours_in_spite_of_any_record() -> None:
    """M1: after a lost answer the same command refused its own grades."""
    outcome = planned(Mark(4, Decimal(33), "mine v2"), "33", "mine v2")
    for sent in (OURS, None):
        assert judged(outcome, sent).outcome.result is Result.UNCHANGED


@pytest.mark.parametrize(
    ("grade", "comment", "changed"),
    [
        ("33", "new", ()),
        ("45", "mine", ()),
        ("33", "mine", ()),
        ("50", "new", ("grade 45.00 to 50.00",)),
        ("33", "theirs", ("comment",)),
    ],
)
def test_an_interrupted_upload_counts_as_ours(
    grade: str, comment: str, changed: tuple[str, ...]
) -> None:
    """M1: each part is ours if it is what was there before, or what was being sent."""
    intent = SentGrade(4, "33.00", 0, UNIX, "new", ())
    assert judged(planned(NEW, grade, comment), OURS, intent).changed == changed


@pytest.mark.parametrize(
    ("grade", "at", "changed"),
    [
        ("20", AT, (BEFORE_FIRST, "grade 20.00")),
        ("33", LATER, ()),
        ("50", LATER, ("grade 33.00 to 50.00", "comment")),
    ],
)
def test_an_interrupted_first_upload_protects_what_was_there_and_what_came_after_it(
    grade: str, at: datetime, changed: tuple[str, ...]
) -> None:
    intent = SentGrade(4, "33.00", 0, UNIX, "new", ())
    outcome = planned(NEW, grade, "new" if grade == "33" else "", at=at)
    assert judged(outcome, None, intent).changed == changed


def test_a_new_attempt_is_no_strangers_change_but_a_grade_on_it_is() -> None:
    """M4: Moodle lists no grade for a new attempt."""
    outcome = planned(NEW, None, "")
    fresh = replace(outcome, held=Held(1, None, is_read=True))
    assert judged(fresh, OURS).outcome.result is Result.CHANGED
    graded = planned(NEW, "60", "")
    found = judged(replace(graded, held=replace(graded.held, attempt=1)), OURS)
    assert found.changed == ("attempt 2 was graded there",)


def test_files_that_somebody_changed_are_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("two")
    digest = hashlib.sha256(b"one").hexdigest()
    sent = replace(OURS, files=(SentFile("a.html", "a.html", 3, digest),))
    mark = Mark(4, None, None, (Upload("a.html", page),))
    ours, theirs = RemoteFile("a.html", "x", 3), RemoteFile("marked.pdf", "x", 9)
    # Nobody saved since: the file need not be read.
    assert judged(planned(mark, "45", "mine", ours, at=AT), sent).changed == ()
    found = judged(planned(mark, "45", "mine", ours, theirs, at=AT), sent)
    assert found.changed == ("feedback files",)
    assert judged(planned(mark, "45", "mine", theirs)).changed == (BEFORE_FIRST, "feedback files")
    first = judged(planned(mark, "45", "mine", theirs), force=True)
    assert replaced_files(first.outcome) == ("marked.pdf",)


def test_the_same_file_is_not_sent_again(tmp_path: Path) -> None:
    """L6: rows that had a file only were sent again and again."""
    page = tmp_path / "a.html"
    page.write_text("one")
    digest = hashlib.sha256(b"one").hexdigest()
    sent = replace(OURS, files=(SentFile("a.html", "a.html", 3, digest),))
    mark = Mark(4, Decimal(45), None, (Upload("a.html", page),))
    outcome = planned(mark, "45", "mine", at=AT)
    assert known_unchanged(outcome, sent).result is Result.UNCHANGED
    higher = Mark(4, Decimal(70), None, mark.files)
    page_there = RemoteFile("a.html", "x", 3)
    found = judged(planned(higher, "45", "mine", page_there, at=AT), sent)
    assert (found.outcome.result, found.outcome.mark.files) == (Result.CHANGED, ())
    assert to_remember(found, sent, team=False).files == sent.files
    forced = planned(higher, "45", "mine", page_there, at=AT)
    found = judged(forced, None, sent, force=True)
    assert found.outcome.mark.files == mark.files, "without a record it is sent, and becomes ours"
    page.write_text("new")
    assert known_unchanged(outcome, sent).result is Result.CHANGED
    found = judged(planned(higher, "45", "mine", page_there, at=AT), sent)
    assert found.outcome.mark.files == mark.files


def test_a_comment_that_would_be_erased_is_named() -> None:
    """H2."""
    found = judged(planned(Mark(4, Decimal(45), ""), "45", "HAND"), force=True)
    assert erased_comment(found.outcome) == "HAND"
    assert erased_comment(judged(planned(Mark(4, Decimal(46)), "45", "HAND")).outcome) == ""
    nothing = judged(planned(Mark(4, None, ""), "45", ""))
    assert nothing.outcome.result is Result.UNCHANGED


@pytest.mark.parametrize(
    ("held", "sent", "uncommented", "comment"),
    [
        pytest.param(LATE, LATE, {4}, "", id="it is gone"),
        pytest.param(f"<p>{LATE}</p>", f"<p>{LATE}</p>", {4}, "", id="as HTML"),
        pytest.param(LATE, LATE, set(), None, id="a file without comments says nothing of it"),
        pytest.param(f"{LATE} Sorry!", LATE, {4}, None, id="somebody changed it"),
        pytest.param("Well done", "Well done", {4}, None, id="a comment of the teacher"),
    ],
)
def test_our_line_about_a_deduction_goes_with_the_deduction(
    held: str, sent: str, uncommented: set[int], comment: str | None
) -> None:
    """A student with an extension read of a deduction that was no longer in the mark."""
    outcome = planned(Mark(4, Decimal(80)), "76", held, at=AT)
    record = replace(OURS, grade="76.00", comment=sent)
    plan, known = Plan(A1, (outcome,)), Remembered({4: record}, {})
    with MoodleClient("http://127.0.0.1:9", "0" * 32) as client:
        (found,) = settle_plan(client, plan, known, force=False, uncommented=uncommented)
    assert (found.outcome.result, found.outcome.mark.comment) == (Result.CHANGED, comment)


def test_a_comment_that_the_workflow_hides_is_not_erased() -> None:
    """Moodle shows no comment before the release; a grade alone would replace it by nothing."""
    outcome = planned(Mark(4, Decimal(70)), "45", "")
    hidden = replace(outcome, held=replace(outcome.held, feedback=None))
    workflow = replace(A1, workflow=True)
    found = judged(hidden, assignment=workflow)
    assert found.outcome.result is Result.SKIPPED
    assert "--clear-comments" in found.outcome.why
    with_words = replace(hidden, mark=NEW)
    assert judged(with_words, assignment=workflow, force=True).outcome.result is Result.CHANGED
    saved = judged(with_words, OURS, assignment=workflow)
    assert saved.changed == ("the grade or the feedback was saved again",)


@pytest.mark.parametrize(
    ("grader", "theirs"), [(9, True), (-1, False)], ids=["a person's", "a row that Moodle made"]
)
def test_a_first_upload_leaves_a_grade_with_hidden_feedback_alone(
    grader: int, theirs: bool, tmp_path: Path
) -> None:
    """The tutor's comment, which the workflow hides, was replaced unseen."""
    page = tmp_path / "a.html"
    page.write_text("two")
    workflow = replace(A1, workflow=True)
    row = Held(0, Grade(4, 0, None, grader, AT), "inmarking", None, is_read=True)
    outcome = replace(planned(NEW, None, ""), held=row)
    hidden = (BEFORE_FIRST, "feedback that Moodle hides before the release")
    for mark in (NEW, replace(NEW, files=(Upload("a.html", page),))):
        found = judged(replace(outcome, mark=mark), assignment=workflow)
        assert found.changed == (hidden if theirs else ())
        assert found.outcome.result is (Result.SKIPPED if theirs else Result.CHANGED)
    assert judged(outcome, force=True, assignment=workflow).outcome.result is Result.CHANGED
    second = replace(outcome, held=replace(row, attempt=1))
    assert bool(judged(second, OURS, assignment=workflow).changed) is theirs
    fresh = replace(outcome, held=Held(is_read=True))
    assert judged(fresh, assignment=workflow).outcome.result is Result.CHANGED
