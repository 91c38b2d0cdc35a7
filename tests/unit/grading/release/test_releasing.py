"""grading.release: what is released, for whom, and what stays hidden."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.settings import load_settings
from mograder.grading.late_changes import extension, preview_late, removal
from mograder.grading.late_work import moment
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.feedback_view import Disclosure, Level
from mograder.grading.release.regrade_requests import Decision, RequestRules, ask, decide
from mograder.grading.release.releasing import (
    ReleasedMarks,
    ReleaseState,
    changed_marks,
    marks_now,
    parse_marks,
    release,
    release_states,
    render_marks,
    take_back,
)
from mograder.grading.release.student_marks import (
    due_marks,
    marks_of_student,
    released_marks,
    render_marks_page,
    telling,
    untold_students,
    view_marks,
    write_released_pages,
)
from mograder.grading.submissions.grading_result import GradingState
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry
from mograder.store.gradebook.late_work import LateWork, Membership
from mograder.store.gradebook.mark_release import MarkReleases, standing
from mograder.store.marking.annotations import Annotations, AnnotationWish, Place
from mograder.store.marking.question_marking import Change, QuestionMarks
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from tests.support.feedback_pages import EVIL, GRADE, WORK
from tests.support.gradebooks import AT, Meanwhile, change, export_0316
from tests.support.graded_results import graded_result
from tests.support.released_course import ReleasedCourse, later, open_released_course

OPEN = Disclosure(Level.POINTS)


@pytest.fixture
def course(tmp_path: Path) -> Iterator[ReleasedCourse]:
    with open_released_course(tmp_path) as course:
        yield course


def states(course: ReleasedCourse, minutes: float = 0) -> dict[str, ReleaseState]:
    found = release_states(course.feedback(minutes))
    return {each.grade.student: each.state for each in found}


def page_of(course: ReleasedCourse) -> str:
    """The page of the released marks of alice."""
    feedback = course.feedback(1)
    return render_marks_page(feedback, (released_marks(feedback) or {})["alice"], OPEN)


def visible(course: ReleasedCourse, minutes: float = 0) -> dict[str, float | None]:
    found = released_marks(course.feedback(minutes)) or {}
    return {student: marks.grade.final for student, marks in found.items()}


def test_marks_survive_their_json() -> None:
    marks = ReleasedMarks(GRADE, 3, WORK.deduction, hidden_tests=True)
    assert parse_marks(render_marks(marks)) == marks
    with pytest.raises(InvalidInput, match="damaged"):
        parse_marks("{}")
    with pytest.raises(InvalidInput, match="damaged"):
        parse_marks("[" * 100_000)


def changed(course: ReleasedCourse, minutes: float = 0) -> int:
    """Return the number of changed marks, computed from the records that changed only."""
    return changed_marks(course.feedback(minutes), ())


def test_changed_marks_are_counted_without_reading_the_others(course: ReleasedCourse) -> None:
    assert changed(course) == 0
    course.release(minutes=1)
    releases = MarkReleases(course.book)
    assert (releases.changed_since("A1"), changed(course)) == (frozenset(), 0)
    entry = {"Essay": MarkEntry(9.0, "Essay is fair.")}
    course.book.record_marks("A1", "alice", entry, marker="mia", at=later(2))
    assert (releases.changed_since("A1"), changed(course, 3)) == (frozenset({"alice"}), 1)
    course.release("alice", minutes=4)
    assert changed(course, 5) == 0


def test_a_mark_that_had_its_turn_after_the_release_is_counted_whatever_its_time(
    course: ReleasedCourse,
) -> None:
    """Its time is taken before it waits for the lock, or is that of a clock that is behind."""
    course.release(minutes=1)
    course.mark("alice", 9)
    assert MarkReleases(course.book).changed_since("A1") == {"alice"}
    assert changed(course, 2) == 1


def test_a_damaged_release_is_counted_and_marks_that_are_taken_back_are_not(
    course: ReleasedCourse,
) -> None:
    course.release(minutes=1)
    change(
        course.loaded.gradebook_path, "UPDATE mark_releases SET grade = '{' WHERE student = 'alice'"
    )
    take_back(course.feedback(2), ["bob"], by="prof", note="Wrong.")
    course.mark("bob", 3)
    assert MarkReleases(course.book).changed_since("A1") == {"alice"}
    assert changed(course, 3) == 1


def test_words_at_a_cell_and_in_a_saved_comment_are_changes_too(course: ReleasedCourse) -> None:
    comments, prof = SavedComments(course.book), Author("prof", AT)
    made = comments.add("A1", "Essay", CommentWish("Good"), prof)
    state = QuestionMarks(course.book).state("A1", "bob", "Essay")
    entry = MarkEntry(8.0, "", MarkDetails(saved=(made.comment,)))
    QuestionMarks(course.book).give("A1", "bob", Change("Essay", entry, "mia", AT, state.version))
    course.release(minutes=1)
    assert (states(course, 2)["alice"], changed(course, 2)) == (ReleaseState.RELEASED, 0)
    wish = AnnotationWish(Place("Essay", 3), "Here is the mistake.", None, "mia", later(2))
    Annotations(course.book).add("A1", "alice", wish)
    assert (states(course, 3)["alice"], changed(course, 3)) == (ReleaseState.CHANGED, 1)
    comments.add("A1", "Essay", CommentWish("New"), Author("prof", later(3)))
    assert MarkReleases(course.book).changed_since("A1") == {"alice"}
    wanted = CommentWish("Good, but short")
    comments.change("A1", "Essay", made.comment, wanted, Author("prof", later(4)), made.version)
    assert (states(course, 5)["bob"], changed(course, 5)) == (ReleaseState.CHANGED, 2)
    course.release(minutes=6)
    assert changed(course, 7) == 0


def test_marks_that_are_imported_after_the_release_are_counted(course: ReleasedCourse) -> None:
    course.release(minutes=1)
    export_0316(course.book)
    change(
        course.loaded.gradebook_path,
        "UPDATE submissions SET feedback = 'Well done', updated_at = 'later' WHERE student = 'bob'",
    )
    course.book.import_0316(None, later(2))
    assert (MarkReleases(course.book).changed_since("A1"), changed(course)) == (
        frozenset({"bob"}),
        1,
    )


def test_a_change_of_late_work_concerns_all_released_marks(course: ReleasedCourse) -> None:
    course.release(minutes=1)
    member = Membership("Tuesday lab", "alice")
    LateWork(course.book).record([member], by="prof", at=later(2))
    assert MarkReleases(course.book).changed_since("A1") == {"alice", "bob"}
    assert changed(course, 3) == 0


@pytest.mark.parametrize(("late", "expected"), [(("alice", "bob"), 2), (("bob",), 1)])
def test_a_changed_setting_is_noticed_whoever_was_looked_at(
    tmp_path: Path, late: Collection[str], expected: int
) -> None:
    """On a page of work in time a count said 0, and 1 on that of the late work."""
    due = int(AT.timestamp()) - 86_400
    with open_released_course(tmp_path) as course:
        for student in ("alice", "bob"):
            received = AT if student in late else AT - timedelta(days=2)
            course.grade(student, received=received.isoformat())
        course.release(minutes=1)
        listed = f'[[assignments]]\nname = "A1"\nduedate = {due}\n[penalties]\nenabled = true\n'
        (tmp_path / "mograder.toml").write_text(listed)
        loaded = load_settings(tmp_path, environ={})
        feedback = CourseFeedback(loaded, course.book, "A1", course.key, later(2))
        alice = release_states(feedback, ["alice"])
        assert changed_marks(feedback, alice) == changed_marks(feedback, ()) == expected


def test_late_days_that_other_work_uses_later_are_noticed(tmp_path: Path) -> None:
    """No record of the item changes when an earlier item is graded after it."""
    due = int(AT.timestamp()) - 43_200
    listed = "".join(
        f'[[assignments]]\nname = "{name}"\nduedate = {at}\n'
        for name, at in (("A0", due - 86_400), ("A1", due))
    )
    toml = f"{listed}[penalties]\nenabled = true\nlate_days = 1\n"
    with open_released_course(tmp_path, toml) as course:
        for student in ("alice", "bob"):
            course.grade(student, received=AT.isoformat())
        course.release(minutes=1)
        assert changed(course, 2) == 0
        replace(course, assignment="A0").grade("alice", received=AT.isoformat())
        feedback = course.feedback(3)
        bob = release_states(feedback, ["bob"])
        assert [each.state for each in bob] == [ReleaseState.RELEASED]
        assert changed_marks(feedback, bob) == 1


def test_one_student_is_released_and_no_other(course: ReleasedCourse) -> None:
    course.release("bob")
    assert visible(course) == {"bob": 16.5}
    with pytest.raises(NotFound, match="nobody"):
        course.release("bob", "nobody")


def test_a_release_at_a_time_is_visible_from_then_on(course: ReleasedCourse) -> None:
    course.release("alice", at=later(60))
    assert visible(course, 59) == {}
    assert states(course, 59)["alice"] is ReleaseState.WAITING
    assert visible(course, 60) == {"alice": 13.5}
    with pytest.raises(InvalidInput, match="has passed"):
        course.release("bob", minutes=5, at=later(1))


def test_to_release_the_same_marks_again_does_nothing(course: ReleasedCourse) -> None:
    course.release("alice")
    assert course.release("alice", minutes=1).students == ()
    assert course.release("alice", minutes=1, at=later(9)).students == ()


def test_a_mark_out_of_another_maximum_is_released_again(course: ReleasedCourse) -> None:
    """Grading one student with another table of marks changes the maximum of all."""
    course.release()
    question, essay = course.result("alice").questions
    more = essay.model_copy(update={"available": 15.0})
    course.grade("alice", questions=(question, more), max_mark=25.0, source_sha256="c" * 64)
    assert states(course, 1)["bob"] is ReleaseState.CHANGED
    assert "bob" in course.release(minutes=1).students
    shown = released_marks(course.feedback(1)) or {}
    assert {each.grade.max_mark for each in shown.values()} == {25.0}


def test_a_release_that_waits_can_be_put_off_or_brought_forward(course: ReleasedCourse) -> None:
    course.release("alice", at=later(60))
    assert course.release("alice", at=later(60)).students == ()
    assert course.release("alice", minutes=1, at=later(90)).students == ("alice",)
    assert visible(course, 70) == {}
    assert course.release("alice", minutes=2).students == ("alice",)
    assert visible(course, 2) == {"alice": 13.5}


def test_marks_are_taken_back_with_a_note(course: ReleasedCourse) -> None:
    course.release()
    done = take_back(course.feedback(1), ["bob", "carol"], by="prof", note="A mistake in Q1.")
    assert done.students == ("bob",)
    assert visible(course, 2) == {"alice": 13.5}
    assert states(course, 2)["bob"] is ReleaseState.TAKEN_BACK
    with pytest.raises(InvalidInput, match="1000 characters"):
        take_back(course.feedback(1), None, by="prof", note="x" * 1001)


def test_a_dry_run_changes_nothing(course: ReleasedCourse) -> None:
    feedback = course.feedback()
    done = release(feedback, None, at=None, by="prof", dry_run=True)
    assert done.students == ("alice", "bob")
    assert released_marks(feedback) is None


def test_a_page_tells_the_marks_and_reasons_of_the_release(course: ReleasedCourse) -> None:
    course.release("alice")
    course.mark("alice", 9)
    course.grade("alice", checks=())
    feedback = course.feedback(1)
    marks = (released_marks(feedback) or {})["alice"]
    view = view_marks(feedback, marks, OPEN)
    assert (view.mark, view.most) == ("13.5", "20")
    assert [(each.key, each.marks) for each in view.questions] == [
        ("Q1", "7.5 of 10"),
        ("Essay", "6 of 10"),
    ]
    assert [each.title for each in view.questions[0].labels] == ["Q1: sum"]
    page = page_of(course)
    assert "<strong>13.5</strong> of 20 marks" in page
    assert "Essay is fair." in page


def test_the_notebook_of_another_submission_is_no_part_of_the_page(course: ReleasedCourse) -> None:
    copy = course.feedback().autograded / "alice.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    shown = 1\n")
    course.release("alice")
    assert "shown" in page_of(course)
    course.grade("alice", submission_sha256="c" * 64)
    assert "shown" not in page_of(course)


def test_a_forged_result_explains_nothing(course: ReleasedCourse) -> None:
    course.release("alice")
    path = course.loaded.gradebook_path
    change(path, "UPDATE grading_runs SET result = replace(result, '7.5', '9.5')")
    with pytest.raises(InvalidInput, match="changed after it was signed"):
        page_of(course)


def test_saved_comments_and_comments_at_lines_are_released(course: ReleasedCourse) -> None:
    author = Author("mia", AT)
    wish = CommentWish("Wrong **unit**, $x^2$.", -1.5)
    saved = SavedComments(course.book).add("A1", "Essay", wish, author)
    place = Place("Q1", cell=2, first_line=3, last_line=4)
    note = AnnotationWish(place, f"Here. {EVIL}", None, "mia", AT)
    Annotations(course.book).add("A1", "alice", note)
    version = QuestionMarks(course.book).state("A1", "alice", "Essay").version
    details = MarkDetails(adjustment=8.0, saved=(saved.comment,))
    entry = MarkEntry(None, "See *below*.", details)
    QuestionMarks(course.book).give("A1", "alice", Change("Essay", entry, "mia", AT, version))
    course.release("alice")
    assert visible(course) == {"alice": 14.0}
    page = page_of(course)
    for told in (
        "<strong>unit</strong>",
        "<math",
        "−1.5",
        "See <em>below</em>.",
        "Cell 3, lines 3 to 4",
    ):
        assert told in page, told
    assert "<script" not in page
    wish = CommentWish("Another text.", -1.5, 0)
    SavedComments(course.book).change("A1", "Essay", saved.comment, wish, author, saved.version)
    assert "Another text." not in page_of(course)
    assert course.release("alice", minutes=2).students == ("alice",)


def test_the_same_marks_of_other_work_are_released_again(course: ReleasedCourse) -> None:
    """Else the page goes on explaining them by the earlier work, without its notebook."""
    course.release("alice")
    course.grade("alice")
    assert course.release("alice", minutes=1).students == ()
    course.grade("alice", submission_sha256="1" * 64)
    assert course.release("alice", minutes=2).students == ("alice",)
    assert course.release("alice", minutes=3).students == ()


def release_while(course: ReleasedCourse, does: Callable[[], object]) -> None:
    """Release all marks; somebody else does something after the first look at the gradebook."""
    with Meanwhile(course.loaded.gradebook_path) as book:
        book.after_look = does
        feedback = replace(course.feedback(5), book=book)
        with pytest.raises(Conflict, match="released or taken back meanwhile: nothing was changed"):
            release(feedback, None, at=None, by="prof")


def test_marks_that_are_taken_back_while_a_release_runs_stay_so(course: ReleasedCourse) -> None:
    course.release()
    course.mark("alice", 7)
    release_while(course, lambda: take_back(course.feedback(4), None, by="ina", note="A mistake."))
    assert visible(course, 6) == {}


def test_a_decision_while_a_release_runs_stays_what_the_student_sees(
    course: ReleasedCourse,
) -> None:
    course.release()
    rules = RequestRules(days=14, to="instructors")
    number = ask(course.book, rules, ("A1", "alice", "Essay"), "Please look.", later(1))
    request = RegradeRequests(course.book).find(number)
    made = Decision("ina", "You are right.", 9, request.last)
    course.mark("bob", 8)
    release_while(course, lambda: decide(course.feedback(4), request, made))
    assert visible(course, 6) == {"alice": 16.5, "bob": 16.5}, "his new mark is not released"


def test_marks_and_the_reasons_for_them_are_those_of_one_time(course: ReleasedCourse) -> None:
    def marks_again() -> None:
        marks = QuestionMarks(course.book)
        entry = MarkEntry(10, "", MarkDetails(reason="It is all there."))
        version = marks.state("A1", "alice", "Essay").version
        marks.give("A1", "alice", Change("Essay", entry, "ina", later(2), version))

    with Meanwhile(course.loaded.gradebook_path) as book:
        book.after_look = marks_again
        seen = replace(course.feedback(3), book=book)
        before, after = (marks_now(*seen.works(("alice",))) for _ in range(2))
    assert (before.grade.final, dict(before.reasons)) == (13.5, {})
    assert (after.grade.final, after.reasons["Essay"].reason) == (17.5, "It is all there.")


# Hidden tests, due dates and extensions --------------------------------------------------


def open_course_due(path: Path, minutes: float) -> AbstractContextManager[ReleasedCourse]:
    """Open the course with a due date some minutes after :data:`AT`."""
    due = int(later(minutes).timestamp())
    return open_released_course(path, f'[[assignments]]\nname = "A1"\nduedate = {due}\n')


def extend(course: ReleasedCourse, student: str, minutes: float, *, at: float) -> None:
    """Give an extension that ends so many minutes after :data:`AT`."""
    given = extension("A1", student, until=later(minutes))
    LateWork(course.book).record([given], by="prof", at=later(at))


def told(course: ReleasedCourse, minutes: float) -> set[str]:
    """Return the students who are told their marks, by their pages and to other systems."""
    feedback = course.feedback(minutes)
    rows = MarkReleases(course.book).rows("A1")
    tells = telling(feedback)
    found = {student for student, own in rows.items() if tells.of(own).later is None}
    assert {student for student, mark in due_marks(feedback).marks.items() if mark} == found
    untold = set(untold_students(feedback, tells))
    assert untold == {each for each in released_marks(feedback) or {} if each not in found}
    for student in rows:
        mark = marks_of_student(course.loaded, course.book, b"", student, feedback.now).get("A1")
        assert (mark is not None and mark.mark != "") == (student in found)
    return found


def told_from(course: ReleasedCourse, student: str, minutes: float) -> datetime | None:
    shown = standing(MarkReleases(course.book).rows_for("A1", student), later(minutes)).shown
    assert shown is not None
    return telling(course.feedback(minutes)).held_until(shown)


def test_an_extension_takes_no_marks_back_that_students_have_seen(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        course.release("alice", minutes=1)
        assert told(course, 2) == {"alice"}
        extend(course, "bob", 100, at=3)
        assert told(course, 4) == {"alice"}
        course.release("bob", minutes=5)
        assert told(course, 6) == {"alice"}, "what is released now waits for the extension"
        assert told(course, 101) == {"alice", "bob"}


def test_an_extension_before_the_due_date_holds_back_what_was_released_before(
    tmp_path: Path,
) -> None:
    with open_course_due(tmp_path, 60) as course:
        course.grade_hidden("alice", "bob")
        course.release("alice", minutes=1)
        extend(course, "bob", 100, at=3)
        assert told(course, 61) == set()
        removed = removal(LateWork(course.book).facts(), "A1", "bob")
        LateWork(course.book).record([removed], by="prof", at=later(70))
        assert told(course, 71) == {"alice"}
        extend(course, "bob", 100, at=80)
        assert told(course, 81) == {"alice"}, "she saw them in between"


def test_marks_that_were_seen_are_seen_again_when_they_are_released_anew(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        course.release(minutes=1)
        extend(course, "bob", 100, at=3)
        for student in ("alice", "bob"):
            course.mark(student, 3)
        course.release(minutes=5)
        assert told(course, 6) == {"alice", "bob"}, "they know the results of their work"
        course.grade_hidden("bob", seconds=9.0)
        course.mark("bob", 2)
        course.release("bob", minutes=6)
        assert told(course, 6.5) == {"alice", "bob"}, "the same work was graded again"
        course.grade_hidden("alice", "bob", submission_sha256="c" * 64)
        for student in ("alice", "bob"):
            course.mark(student, 4)
        course.release(minutes=7)
        assert told(course, 8) == {"alice"}, "bob may still improve the new work"
        assert told(course, 101) == {"alice", "bob"}


def test_a_release_that_was_never_seen_does_not_count_as_told(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        course.release("alice", minutes=1, at=later(50))
        course.release("bob", minutes=1)
        take_back(course.feedback(2), ["bob"], by="prof", note="Wrong.")
        extend(course, "bob", 100, at=3)
        course.release("bob", minutes=4)
        assert told(course, 5) == {"bob"}, "he had seen them, and they are of the same work"
        assert told(course, 51) == {"bob"}, "hers was not visible when the extension came"


def test_marks_that_were_seen_stay_seen_when_the_due_date_is_moved_in_the_file(
    tmp_path: Path,
) -> None:
    with open_course_due(tmp_path, 10) as course:
        course.grade_hidden("alice", "bob", "carol")
        course.mark("carol", 1)
        course.release("bob", minutes=5)
        course.release("alice", minutes=20)
        course.release("carol", minutes=20, at=later(30))
    with open_course_due(tmp_path, 600) as course:
        assert told(course, 40) == {"alice"}, "when the date was moved is not known for others"
        assert told_from(course, "alice", 40) is None


def test_marks_held_back_for_an_extension_are_told_when_it_is_withdrawn(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        extend(course, "bob", 100, at=0.5)
        course.release("alice", minutes=1)
        assert told_from(course, "alice", 69) == later(100)
        removed = removal(LateWork(course.book).facts(), "A1", "bob")
        LateWork(course.book).record([removed], by="prof", at=later(70))
        assert told(course, 71) == {"alice"}
        assert told_from(course, "alice", 71) == later(70)
        extend(course, "bob", 200, at=80)
        assert told_from(course, "alice", 81) == later(70), "they stay told"
        assert told_from(course, "alice", 300) == later(70)


def test_the_preview_of_an_extension_says_who_sees_marks_and_who_waits(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        course.release("alice", minutes=1)
        given = [extension("A1", "bob", until=later(100))]
        found = preview_late(course.loaded, course.book, given, later(2))
        first, second = (moment(later(minutes)) for minutes in (100, 200))
        assert found.dues == (f"A1, bob: due {first}; before: {moment(later(-60))}",)
        (told,) = found.told
        assert f"are told after {first}; before: at once." in told
        assert told.endswith("not hidden again: the marks of alice.")
        assert "Released" not in told
        extend(course, "bob", 100, at=3)
        course.release("bob", minutes=4)
        more = [extension("A1", "bob", until=later(200))]
        (told,) = preview_late(course.loaded, course.book, more, later(5)).told
        assert f"are told after {second}; before: after {first}." in told
        assert "told then: the marks of bob. Seen already" in told
        assert told.endswith("the marks of alice.")
        gone = [removal(LateWork(course.book).facts(), "A1", "bob")]
        (told,) = preview_late(course.loaded, course.book, gone, later(5)).told
        assert told.endswith(f"are told at once; before: after {first}.")


def test_a_preview_of_who_enters_a_group_says_from_when_hidden_tests_are_told(
    tmp_path: Path,
) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.grade_hidden("alice", "bob")
        course.release("alice", minutes=1)
        given = [extension("A1", group="Lab", until=later(100))]
        LateWork(course.book).record(given, by="prof", at=later(1))
        found = preview_late(course.loaded, course.book, [Membership("Lab", "bob")], later(2))
        until = moment(later(100))
        assert found.dues == (f"A1, bob: due {until}; before: {moment(later(-60))}",)
        (told,) = found.told
        assert f"are told after {until}; before: at once." in told


def test_a_preview_says_nothing_of_hidden_tests_where_there_are_none(tmp_path: Path) -> None:
    with open_course_due(tmp_path, -60) as course:
        course.release(minutes=1)
        given = [extension("A1", "bob", until=later(100))]
        assert preview_late(course.loaded, course.book, given, later(2)).told == ()


NOT_RUN = GradingState.NOT_RUN


def test_without_any_release_nothing_is_said(course: ReleasedCourse) -> None:
    assert released_marks(course.feedback()) is None
    assert states(course)["alice"] is ReleaseState.NOT_RELEASED
    assert states(course)["carol"] is ReleaseState.NO_MARK


def test_all_with_a_mark_are_released_and_the_others_named(course: ReleasedCourse) -> None:
    done = course.release()
    assert done.students == ("alice", "bob")
    assert done.left_out == (("carol", "Essay is not marked yet"),)
    assert visible(course) == {"alice": 13.5, "bob": 16.5}
    assert states(course)["alice"] is ReleaseState.RELEASED


def test_hostile_text_is_inert_on_the_page(course: ReleasedCourse) -> None:
    evil = graded_result().checks[0].model_copy(update={"reason": EVIL, "state": NOT_RUN})
    course.grade("alice", checks=(evil,))
    course.mark("alice", 6)
    course.release("alice")
    page = page_of(course)
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_pages_are_written_for_released_marks_only(course: ReleasedCourse, tmp_path: Path) -> None:
    course.release("alice")
    feedback = course.feedback(1)
    marks = released_marks(feedback) or {}
    place = tmp_path / "pages"
    place.mkdir()
    assert list(write_released_pages(feedback, marks.values(), place)) == []
    assert [page.name for page in place.iterdir()] == ["alice.html"]
