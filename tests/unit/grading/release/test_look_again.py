"""grading.release.look_again: the person who is asked, and that only a decision changes a mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mograder.auth.credentials import Role
from mograder.core.errors import Conflict, Forbidden, InvalidInput
from mograder.grading.release.regrade_requests import (
    MOST_MESSAGES,
    Decided,
    Decision,
    RequestRules,
    answer,
    ask,
    assign,
    decide,
    reopen,
    reply,
    withdraw,
)
from mograder.grading.release.releasing import take_back
from mograder.grading.release.student_marks import released_marks
from mograder.store.gradebook.grading_records import WHOLE, MarkEntry
from mograder.store.marking.regrade_requests import (
    MessageKind,
    RegradeRequest,
    RegradeRequests,
    RequestState,
)
from mograder.web.marking.context import Marker
from mograder.web.marking.regrade_pages import may_answer
from tests.support.gradebooks import Meanwhile
from tests.support.released_course import ReleasedCourse, later, open_released_course

RULES = RequestRules(days=14, to="marker")
DAY = 24 * 60


@pytest.fixture
def course(tmp_path: Path) -> Iterator[ReleasedCourse]:
    with open_released_course(tmp_path) as course:
        yield course


def asking(
    course: ReleasedCourse,
    question: str = "Essay",
    *,
    student: str = "alice",
    rules: RequestRules = RULES,
    minutes: float = 1,
    text: str = "The second part is right, I think.",
) -> RegradeRequest:
    number = ask(course.book, rules, ("A1", student, question), text, later(minutes))
    return RegradeRequests(course.book).find(number)


def found(course: ReleasedCourse, request: RegradeRequest) -> RegradeRequest:
    return RegradeRequests(course.book).find(request.number)


def seen(course: ReleasedCourse, minutes: float = 60) -> float | None:
    marks = released_marks(course.feedback(minutes)) or {}
    return marks["alice"].grade.final


def present(course: ReleasedCourse) -> float | None:
    return course.book.grades("A1")[0].final


def test_nothing_can_be_asked_about_marks_that_are_not_released(course: ReleasedCourse) -> None:
    with pytest.raises(Forbidden, match="not released"):
        asking(course)
    course.release("bob")
    with pytest.raises(Forbidden, match="not released"):
        asking(course)
    course.release("alice", at=later(60))
    with pytest.raises(Forbidden, match="not released"):
        asking(course, minutes=59)
    assert asking(course, minutes=60).state is RequestState.OPEN


def test_the_time_for_requests_begins_with_the_release(course: ReleasedCourse) -> None:
    course.release()
    with pytest.raises(Forbidden, match="is over"):
        asking(course, minutes=14 * DAY + 1)
    asking(course, minutes=14 * DAY)
    with pytest.raises(Forbidden, match="takes no requests"):
        asking(course, "Q1", rules=RequestRules(0, "marker"))


def test_control_characters_are_replaced(course: ReleasedCourse) -> None:
    course.release()
    said = asking(course, text="why\x00\u202e?\r\nThanks").messages[0].text
    assert said == "why\ufffd\ufffd?\nThanks"


def test_a_question_that_does_not_exist_is_refused(course: ReleasedCourse) -> None:
    course.release()
    with pytest.raises(InvalidInput, match="no question 'Q9'"):
        asking(course, "Q9")


@pytest.mark.parametrize(
    ("to", "question", "assignee"),
    [
        ("marker", "Essay", "mia"),
        ("marker", "Q1", ""),
        ("other", "Essay", "max"),
        ("other", "Q1", ""),
        ("instructors", "Essay", ""),
    ],
)
def test_the_person_who_is_asked(
    course: ReleasedCourse, to: str, question: str, assignee: str
) -> None:
    course.release()
    rules = RequestRules(14, to)  # type: ignore[arg-type]  # one of its values
    assert asking(course, question, rules=rules).assignee == assignee


def test_the_other_marker_is_the_one_with_fewer_requests(course: ReleasedCourse) -> None:
    course.mark("carol", 5, marker="abe")
    course.release()
    rules = RequestRules(14, "other")
    assert asking(course, rules=rules).assignee == "abe"
    assert asking(course, student="carol", rules=rules).assignee == "max"


@pytest.mark.parametrize("to", ["marker", "other"])
def test_nobody_is_asked_about_the_own_mark_in_whatever_spelling(
    course: ReleasedCourse, to: str
) -> None:
    """A front names a person Alice, and their work was collected as alice's."""
    course.mark("carol", 5, marker="Alice")
    course.mark("alice", 5, marker="Alice" if to == "marker" else "mia")
    course.mark("bob", 5, marker="max")
    course.release()
    asked = asking(course, rules=RequestRules(14, to))  # type: ignore[arg-type]
    assert asked.assignee == ("" if to == "marker" else "max")
    assert not may_answer(Marker("Alice", Role.INSTRUCTOR), asked)
    assert may_answer(Marker("mona", Role.INSTRUCTOR), asked)


def test_a_mark_by_grading_can_be_replaced_by_a_decision(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course, "Q1")
    decide(course.feedback(5), request, Decision("prof", "Fair.", 10, request.last))
    assert seen(course) == 16


def test_another_mark_for_the_whole_leaves_the_comment_on_the_submission(
    course: ReleasedCourse,
) -> None:
    holistic = replace(course, assignment="A2")
    holistic.grade("alice", questions=(), max_mark=100.0)
    marks = {WHOLE: MarkEntry(60, "A clear text.")}
    course.book.record_marks("A2", "alice", marks, marker="mia", at=later(0))
    holistic.release()
    number = ask(course.book, RULES, ("A2", "alice", WHOLE), "It is longer.", later(1))
    request = RegradeRequests(course.book).find(number)
    decide(holistic.feedback(5), request, Decision("mia", "You are right.", 70, request.last))
    (present,) = course.book.grades("A2")
    assert (present.final, present.comment) == (70, "A clear text.")
    shown = (released_marks(holistic.feedback(6)) or {})["alice"].grade
    assert (shown.final, shown.comment) == (70, "A clear text.")


def test_a_question_under_a_mark_for_the_whole_gets_none_of_its_own_by_a_request(
    course: ReleasedCourse,
) -> None:
    """Nor does one that was asked about before: the mark for the whole would not count any more."""
    course.release()
    request = asking(course)
    marks = {WHOLE: MarkEntry(9)}
    course.book.record_marks("A1", "alice", marks, marker="mia", at=later(2))
    with pytest.raises(Conflict, match="One mark for the whole submission counts"):
        decide(course.feedback(5), request, Decision("mia", "Yes.", 8, request.last))
    assert present(course) == 16.5
    decide(course.feedback(5), request, Decision("mia", "See the whole.", None, request.last))
    closed = found(course, request).decision
    assert closed is not None
    assert closed.after is None
    course.release("bob")
    course.book.record_marks("A1", "bob", marks, marker="mia", at=later(6))
    course.release("bob", minutes=7)
    with pytest.raises(InvalidInput, match="Essay has no mark of its own"):
        asking(course, student="bob", minutes=8)
    assert asking(course, "Q1", student="bob", minutes=8).waits


def test_a_mark_for_the_whole_that_newer_ones_of_questions_replaced_gets_no_points(
    course: ReleasedCourse,
) -> None:
    marks = {WHOLE: MarkEntry(9)}
    course.book.record_marks("A1", "alice", marks, marker="mia", at=later(0))
    course.release()
    request = asking(course, WHOLE)
    course.mark("alice", 7, marker="max")
    with pytest.raises(Conflict, match="Marks of questions count in place"):
        decide(course.feedback(5), request, Decision("mia", "Yes.", 8, request.last))
    assert present(course) == 14.5
    decide(course.feedback(5), request, Decision("mia", "See those.", None, request.last))
    request = found(course, request)
    assert request.decision is not None
    assert (request.decision.kind, request.decision.after) == (MessageKind.KEPT, None)
    reopen(course.book, request, "prof", "Again.", seen=request.last, now=later(6))
    request = found(course, request)
    course.book.record_marks("A1", "alice", {"Essay": MarkEntry(None)}, marker="max", at=later(6))
    decide(course.feedback(7), request, Decision("mia", "Yes.", 8, request.last))
    assert present(course) == 15.5


def test_a_mark_that_is_kept_is_recorded_as_kept(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    before = len(course.book.history("A1", "alice"))
    for points in (None, 6):
        request = found(course, request)
        made = Decision("mia", "It is right.", points, request.last)
        assert not decide(course.feedback(5), request, made).released
        request = found(course, request)
        assert request.messages[-1].kind is MessageKind.KEPT
        reopen(course.book, request, "prof", "Again.", seen=request.last, now=later(6))
    assert len(course.book.history("A1", "alice")) == before


def test_a_decision_back_to_the_released_points_is_told_as_kept(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course, "Q1")
    course.book.record_marks("A1", "alice", {"Essay": MarkEntry(None)}, marker="mia", at=later(2))
    for points, kind in ((9, MessageKind.CHANGED), (7.5, MessageKind.KEPT)):
        request = found(course, request)
        made = Decision("prof", "So.", points, request.last)
        assert not decide(course.feedback(5), request, made).released, "the essay has no mark"
        request = found(course, request)
        assert request.messages[-1].kind is kind
        reopen(course.book, request, "prof", "Again.", seen=request.last, now=later(6))
    history = course.book.history("A1", "alice")
    assert [each.points for each in history if each.marker == "prof"] == [9, 7.5]


def test_a_mark_that_was_taken_back_stays_so(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    take_back(course.feedback(2), ["alice"], by="prof", note="Later.")
    made = Decision("mia", "Yes.", 8, request.last)
    assert not decide(course.feedback(5), request, made).released
    assert "alice" not in (released_marks(course.feedback(6)) or {})
    assert present(course) == 15.5


def test_a_planned_release_has_the_mark_that_was_decided_meanwhile(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    take_back(course.feedback(2), ["alice"], by="prof", note="Later.")
    course.release("alice", minutes=3, at=later(60))
    made = Decision("mia", "Yes.", 8, request.last)
    assert not decide(course.feedback(5), request, made).released
    assert "alice" not in (released_marks(course.feedback(59)) or {})
    assert seen(course, 60) == 15.5


def test_a_decision_for_points_that_were_recorded_already_tells_the_right_difference(
    course: ReleasedCourse,
) -> None:
    """The marker has changed the mark where all answers are marked, and decides then."""
    course.release()
    request = asking(course)
    course.mark("alice", 8.5)
    history = len(course.book.history("A1", "alice"))
    done = decide(course.feedback(5), request, Decision("mia", "Yes.", 8.5, request.last))
    assert (done.before, done.after, done.released) == (6, 8.5, True)
    assert len(course.book.history("A1", "alice")) == history
    assert seen(course) == 16


def test_a_decision_releases_no_mark_of_another_question_that_came_meanwhile(
    course: ReleasedCourse,
) -> None:
    course.release()
    request = asking(course, "Q1")
    made = Decision("prof", "So.", 9, request.last, str(course.book.grades("A1")[0].version))
    course.mark("alice", 1, marker="max")
    with pytest.raises(Conflict, match="marks of this student were changed meanwhile"):
        decide(course.feedback(5), request, made)
    assert seen(course) == 13.5
    decide(course.feedback(5), request, replace(made, points=None))
    assert not found(course, request).waits, "words release nothing"
    assert seen(course) == 13.5


def test_a_mark_that_was_changed_since_is_not_told_as_kept(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    course.mark("alice", 8.5)
    with pytest.raises(Conflict, match=r"changed to 8\.5 since"):
        decide(course.feedback(5), request, Decision("mia", "It stays.", None, request.last))
    assert found(course, request).waits


def decide_while(
    course: ReleasedCourse,
    request: RegradeRequest,
    points: float | None,
    does: Callable[[], object],
) -> Decided:
    with Meanwhile(course.loaded.gradebook_path) as book:
        book.before_change = does
        feedback = replace(course.feedback(5), book=book)
        return decide(feedback, request, Decision("mia", "So.", points, request.last))


def test_a_decision_that_is_refused_for_a_newer_message_leaves_the_mark(
    course: ReleasedCourse,
) -> None:
    course.release()
    request = asking(course)
    before = course.book.history("A1", "alice")
    with pytest.raises(Conflict, match="newer message"):
        decide_while(course, request, 2, lambda: withdraw(course.book, request, later(4)))
    assert course.book.history("A1", "alice") == before
    assert found(course, request).state is RequestState.WITHDRAWN
    assert seen(course) == 13.5


def test_marks_that_are_taken_back_during_a_decision_stay_so(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    back = partial(take_back, course.feedback(4), None, by="prof", note="A mistake.")
    assert not decide_while(course, request, 8, back).released
    assert not released_marks(course.feedback(6))
    assert present(course) == 15.5


def test_a_mark_that_is_changed_during_a_decision_is_not_told_as_kept(
    course: ReleasedCourse,
) -> None:
    course.release()
    request = asking(course)
    with pytest.raises(Conflict, match=r"changed to 8\.5 since"):
        decide_while(course, request, None, lambda: course.mark("alice", 8.5))
    assert found(course, request).waits


def test_a_closed_request_takes_no_more_words_until_it_is_reopened(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    decide(course.feedback(5), request, Decision("mia", "No.", None, request.last))
    request = found(course, request)
    with pytest.raises(Forbidden, match="closed"):
        reply(course.book, request, "But!", later(6))
    with pytest.raises(Forbidden, match="closed"):
        withdraw(course.book, request, later(6))
    with pytest.raises(Conflict, match="closed"):
        answer(course.book, request, "mia", "x", seen=request.last, now=later(6))
    with pytest.raises(Conflict, match="asked about Essay already"):
        asking(course)
    reopen(course.book, request, "prof", "A second look.", seen=request.last, now=later(7))
    reply(course.book, found(course, request), "Thanks.", later(8))


def test_a_request_can_be_withdrawn_and_given_to_somebody_else(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    assign(course.book, request, "prof", "max", seen=request.last, now=later(2))
    request = found(course, request)
    assert (request.assignee, request.state) == ("max", RequestState.OPEN)
    withdraw(course.book, request, later(3))
    assert not found(course, request).waits


def test_a_thread_is_bounded(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    for number in range(MOST_MESSAGES - 1):
        reply(course.book, found(course, request), f"and {number}", later(2))
    with pytest.raises(Forbidden, match="at most 20 messages"):
        reply(course.book, found(course, request), "more", later(3))
    withdraw(course.book, found(course, request), later(4))
    with pytest.raises(Forbidden, match="at most 20 messages"):
        asking(course)


def test_words_alone_change_no_mark(course: ReleasedCourse) -> None:
    course.release()
    request = asking(course)
    answer(course.book, request, "mia", "Which part?", seen=request.last, now=later(2))
    request = found(course, request)
    assert request.state is RequestState.ANSWERED
    reply(course.book, request, "Line 7.", later(3))
    assert found(course, request).state is RequestState.OPEN
    assert (present(course), seen(course)) == (13.5, 13.5)
