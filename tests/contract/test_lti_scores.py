"""Released marks arrive at the platform once, in order, or are shown with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from mograder.core.errors import NotFound
from mograder.grading.release.releasing import take_back
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import ScoreState
from mograder.store.external.lti_platforms import Links
from tests.support.gradebooks import AT
from tests.support.lti_scores import ITEM, ScoreDesk, open_score_desk

WAITING, SENT, REFUSED = ScoreState.WAITING, ScoreState.SENT, ScoreState.REFUSED
CHANGED, STOPPED, GONE = ScoreState.CHANGED, ScoreState.STOPPED, ScoreState.GONE

_HIDDEN_UNTIL_DUE = """
[grading]
hidden_tests_after = "deadline"

[[assignments]]
name = "A1"
duedate = 1795251600
"""


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Iterator[ScoreDesk]:
    with open_score_desk(tmp_path / "course", engine) as made:
        yield made


def test_what_is_released_arrives_once_with_its_comment(desk: ScoreDesk) -> None:
    desk.run()
    assert desk.platform.taken == []
    desk.send()
    assert desk.there("alice").given == pytest.approx(13.5 / 20 * 100)
    assert desk.there("bob").given == pytest.approx(16.5 / 20 * 100)
    assert desk.there("carol").given is None
    assert desk.state("alice") is SENT
    desk.later()
    assert len(desk.platform.taken) == 2


def test_a_mark_that_is_released_again_replaces_the_first(desk: ScoreDesk) -> None:
    desk.send()
    desk.course.mark("alice", 10)
    desk.later()
    assert desk.taken("alice") == [200]
    desk.send("alice")
    assert desk.there("alice").given == pytest.approx(17.5 / 20 * 100)
    assert desk.taken("alice") == [200, 200]
    assert desk.taken("bob") == [200]


def test_two_changes_within_a_second_arrive_in_order(desk: ScoreDesk) -> None:
    desk.send()
    desk.correct("alice", 10, after=0.2)
    assert desk.state("alice") is WAITING
    assert desk.taken("alice") == [200]
    desk.later(2)
    assert desk.taken("alice") == [200, 200]
    assert desk.there("alice").given == pytest.approx(17.5 / 20 * 100)


def test_what_is_taken_back_is_erased(desk: ScoreDesk) -> None:
    desk.send()
    desk.clock.advance(60)
    feedback = desk.course.feedback(1)
    take_back(feedback, ("alice",), by="prof", note="An error in the task.")
    desk.run()
    assert desk.there("alice").given is None
    assert desk.there("bob").given is not None
    assert desk.state("alice") is SENT


def test_a_mark_that_was_never_sent_is_not_erased(desk: ScoreDesk) -> None:
    desk.release()
    desk.sending.queue_due()
    assert desk.state("alice") is WAITING
    desk.clock.advance(60)
    take_back(desk.course.feedback(1), None, by="prof", note="Too early.")
    desk.run()
    assert desk.state("alice") is STOPPED
    assert desk.platform.taken == []


def test_a_teachers_change_there_is_left_alone_and_told(desk: ScoreDesk) -> None:
    desk.send()
    desk.platform.override("alice", desk.column, 3, "by hand")
    desk.correct("alice", 10, after=600)
    assert desk.there("alice").given == 3
    assert desk.state("alice") is CHANGED
    assert "3 of 100" in desk.row("alice").detail
    assert desk.taken("alice") == [200]


def test_a_mark_there_that_the_hub_never_sent_stays_until_an_instructor_replaces_it(
    desk: ScoreDesk,
) -> None:
    column = desk.platform.state.add_line_item("4", "1", "Added by the tool", 100)
    desk.see(1, lineitem=f"{desk.platform.url}/mod/lti/services.php/4/lineitems/34/lineitem")
    desk.platform.override("alice", column, 55)
    desk.clock.advance(60)
    desk.send()
    assert desk.platform.grade("alice", column).given == 55
    assert desk.state("alice") is CHANGED
    desk.clock.advance(60)
    assert desk.sending.send_again(ITEM, desk.row("alice").number) == 1
    desk.run()
    assert desk.platform.grade("alice", column).given == pytest.approx(67.5)
    assert desk.state("alice") is SENT


def test_a_mark_that_is_overridden_there_is_not_there_though_the_platform_took_it(
    desk: ScoreDesk,
) -> None:
    desk.send()
    assert _counts(desk) == (2, 2)
    desk.platform.override("alice", desk.column, 18.5)
    desk.later()
    assert desk.state("alice") is CHANGED
    assert desk.sending.send_again(ITEM) == 1
    desk.run()
    assert desk.taken("alice") == [200, 200]
    assert desk.state("alice") is CHANGED
    assert "18.5 of 100" in desk.row("alice").detail
    assert _counts(desk) == (1, 2)


def test_a_mark_that_a_teacher_emptied_there_is_left_alone_and_told(desk: ScoreDesk) -> None:
    desk.send("alice")
    desk.platform.override("alice", desk.column, None)
    desk.correct("alice", 10, after=600)
    assert desk.taken("alice") == [200]
    assert desk.state("alice") is CHANGED
    assert "emptied" in desk.row("alice").detail
    desk.clock.advance(5)
    desk.sending.send_again(ITEM)
    desk.run()
    assert desk.state("alice") is CHANGED
    assert _counts(desk) == (0, 1)


@pytest.mark.parametrize("what", ["HTML", 200])
def test_a_success_of_something_in_between_is_no_mark_there(
    desk: ScoreDesk, what: str | int
) -> None:
    desk.send("alice")
    desk.course.mark("alice", 10)
    desk.clock.advance(600)
    desk.release("alice")
    desk.platform.always("scores", what)
    desk.run()
    assert desk.there("alice").given == pytest.approx(67.5)
    assert desk.state("alice") is WAITING
    desk.course.mark("alice", 2)
    desk.clock.advance(600)
    desk.release("alice")
    desk.platform.always("scores", None)
    desk.later()
    assert desk.state("alice") is SENT
    assert desk.there("alice").given == pytest.approx(9.5 / 20 * 100)


def test_a_mark_that_is_taken_and_never_there_is_told_in_the_end(desk: ScoreDesk) -> None:
    desk.release("alice")
    desk.platform.always("scores", 200)
    for _ in range(6):
        desk.run()
        desk.clock.advance(4000)
    assert desk.state("alice") is CHANGED
    assert _counts(desk) == (0, 1)


def test_a_change_there_is_seen_within_the_hour_and_when_it_ends(desk: ScoreDesk) -> None:
    desk.send()
    grade = desk.there("alice")
    before = grade.given
    grade.given = 3
    desk.later()
    assert desk.state("alice") is CHANGED
    assert desk.state("bob") is SENT
    grade.given = before
    desk.later()
    assert desk.state("alice") is SENT


def test_one_request_reads_what_is_there_of_all_marks(desk: ScoreDesk) -> None:
    desk.add_students(12)
    desk.send()
    assert _counts(desk) == (14, 14)
    before = len(desk.platform.asked)
    desk.later(3000)
    assert len(desk.platform.asked) == before
    desk.later(1000)
    read = [each for each in desk.platform.asked[before:] if "results" in each.path]
    assert len(read) == 1


def test_a_mark_counts_only_after_it_was_looked_at_also_by_another_process(
    desk: ScoreDesk,
) -> None:
    desk.release("alice")
    desk.sending.queue_due()
    row = desk.queue.take([desk.settings.key], desk.clock.now(), timedelta(minutes=1))
    assert row is not None
    desk.queue.took(row, desk.clock.now())  # the process ends before it looks
    assert _counts(desk) == (0, 1)
    desk.run()
    assert desk.state("alice") is WAITING
    desk.later()
    assert _counts(desk) == (1, 1)
    assert desk.taken("alice") == [200]


def _counts(desk: ScoreDesk) -> tuple[int, int]:
    """How many marks were seen at the platform, of how many."""
    shown = desk.shown()
    return shown.arrived, shown.total


def test_a_lost_answer_is_found_to_have_arrived(desk: ScoreDesk) -> None:
    desk.platform.trouble("scores", "lost")
    desk.send("alice")
    assert desk.state("alice") is WAITING
    assert desk.there("alice").given == pytest.approx(67.5)
    desk.later()
    assert desk.taken("alice") == [200, 409]
    assert desk.state("alice") is SENT


def test_a_change_after_a_lost_answer_is_no_change_by_a_teacher(desk: ScoreDesk) -> None:
    desk.platform.trouble("scores", "lost")
    desk.send("alice")
    desk.course.mark("alice", 10)
    desk.clock.advance(5)
    desk.release("alice")
    desk.later()
    assert desk.there("alice").given == pytest.approx(87.5)
    assert desk.state("alice") is SENT


@pytest.mark.parametrize("what", ["closed", "no HTTP", "HTML", 503])
def test_a_platform_that_does_not_work_is_asked_again(desk: ScoreDesk, what: str | int) -> None:
    for kind in ("token", "results", "scores"):
        desk.platform.always(kind, what)
    desk.send()
    assert desk.state("alice") is WAITING
    assert desk.row("alice").detail
    desk.later(30)
    for kind in ("token", "results", "scores"):
        desk.platform.always(kind, None)
    desk.later()
    assert desk.taken("alice") == [200]
    assert desk.state("alice") is SENT
    assert desk.there("bob").given == pytest.approx(82.5)


def test_no_more_than_three_requests_try_a_platform_that_is_down(desk: ScoreDesk) -> None:
    desk.add_students(12)
    desk.platform.down()
    desk.send()
    assert len(desk.platform.asked) == 3


def test_a_locked_grade_item_is_told(desk: ScoreDesk) -> None:
    desk.column.locked = True
    desk.send("alice")
    assert "locked" in desk.row("alice").detail
    desk.column.locked = False
    desk.later()
    assert desk.state("alice") is SENT


def test_a_locked_grade_item_does_not_keep_the_marks_of_others(desk: ScoreDesk) -> None:
    """A class of marks for it came first, and each minute three of them were tried."""
    desk.add_students(12)
    desk.see(2)
    locked, other = desk.column, desk.platform.state.line_items[29]
    locked.locked = True
    desk.send()
    assert desk.platform.grade("s11", other).given is not None
    waiting = [each for each in desk.queue.of(ITEM) if each.state is WAITING]
    assert len(waiting) == 14
    assert all("locked" in each.detail for each in waiting)
    locked.locked = False
    desk.later()
    assert desk.platform.grade("s11", locked).given is not None
    assert desk.states() == {SENT: 28}


def test_marks_are_read_back_while_several_grade_items_are_locked(desk: ScoreDesk) -> None:
    """Three that fail in a row were taken for a platform that fails."""
    desk.add_students(12)
    for number in (2, 3, 4):
        desk.see(number)
        desk.platform.state.line_items[27 + number].locked = True
    desk.send()
    open_one = [
        each for each in desk.queue.of(ITEM) if each.lineitem.endswith("/28/lineitem?type_id=1")
    ]
    assert [each.state for each in open_one] == [SENT] * 14
    assert not desk.shown().failing


def test_a_small_correction_on_the_platform_is_a_change(desk: ScoreDesk) -> None:
    """Up to half a mark of 1000 was taken for ours, and overwritten by the next release."""
    desk.send("alice")
    desk.platform.override("alice", desk.column, 67.5049)
    desk.later()
    assert desk.state("alice") is SENT
    desk.platform.override("alice", desk.column, 67.54)
    desk.later()
    assert desk.state("alice") is CHANGED


def test_a_token_that_is_refused_is_replaced_once(desk: ScoreDesk) -> None:
    desk.send("alice")
    desk.platform.forget_tokens()
    desk.clock.advance(5)
    desk.send("bob")
    assert desk.state("bob") is SENT
    tokens = [each for each in desk.platform.asked if each.path.endswith("token.php")]
    assert len(tokens) == 2


def test_somebody_who_is_no_student_there_is_refused_for_good(
    desk: ScoreDesk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.platform.state.change("alice", enrolled=False)
    book, now = desk.course.book, desk.clock.now()
    book.record_marks(ITEM, "alice", {}, marker="mia", at=now, comment="Well argued.")
    desk.send()
    assert desk.state("alice") is REFUSED
    told = caplog.text + "".join(each.detail for each in desk.queue.of(ITEM))
    assert desk.row("alice").comment == "Well argued."
    assert "Well argued." not in told
    assert "access-" not in told, "no token"
    assert desk.state("bob") is SENT
    desk.later()
    assert desk.taken("alice") == [400]
    desk.platform.state.change("alice", enrolled=True)
    desk.sending.send_again(ITEM)
    desk.run()
    assert desk.state("alice") is SENT


def test_the_mark_of_a_person_whom_the_platform_does_not_find_waits_alone(desk: ScoreDesk) -> None:
    """ILIAS answers 404 until the person has opened the activity; all marks of it were gone."""
    desk.send("alice")
    desk.platform.trouble("scores", 404)
    desk.clock.advance(60)
    desk.send("bob")
    assert desk.state("bob") is WAITING
    assert "does not find this person" in desk.row("bob").detail
    assert desk.state("alice") is SENT
    assert _counts(desk) == (1, 2)
    desk.later(600)
    assert desk.taken("bob") == [], "not before an hour"
    desk.later()
    assert _counts(desk) == (2, 2)


def test_a_student_of_one_of_two_courses_is_not_shown_as_refused_by_the_other(
    desk: ScoreDesk,
) -> None:
    desk.see(5, lineitem=f"{desk.platform.url}/mod/lti/services.php/4/lineitems/32/lineitem")
    desk.send()
    assert desk.states() == {SENT: 2, REFUSED: 2}
    assert _counts(desk) == (2, 2)
    shown = desk.shown()
    assert shown.open == []
    assert shown.counts[REFUSED] == 0


def test_a_future_time_at_the_platform_is_told(desk: ScoreDesk) -> None:
    desk.send("alice")
    desk.there("alice").seconds += 3600
    desk.correct("alice", 10, after=60)
    assert desk.state("alice") is CHANGED
    assert "67.5 of 100" in desk.row("alice").detail


def test_marks_go_on_after_a_clock_that_was_ahead_was_put_right(desk: ScoreDesk) -> None:
    """Nothing was read there for as long as the clock was ahead, and nothing told why."""
    ahead = 2 * 86_400
    desk.release()
    desk.clock.set_by(ahead)
    desk.run()
    assert desk.states() == {SENT: 2}
    desk.clock.set_by(60 - ahead)
    desk.there("alice").given = 3
    desk.course.mark("bob", 10)
    desk.send("bob")
    assert desk.state("alice") is CHANGED
    assert desk.state("bob") is WAITING
    assert "clock was ahead" in desk.row("bob").detail
    assert desk.taken("bob") == [200], "it would be refused before that time"
    desk.later(ahead)
    assert desk.taken("bob") == [200, 200]
    assert desk.state("bob") is SENT


def test_the_grade_item_is_looked_up_where_the_launch_names_none(desk: ScoreDesk) -> None:
    desk.see(1, item="")
    activity = desk.platform.state.add_activity("A1", ITEM, 50, ITEM)
    made = desk.platform.state.line_item_of(activity)
    assert made is not None
    desk.see(activity.number, lineitem="")
    desk.send("alice")
    assert desk.platform.grade("alice", made).given == pytest.approx(33.75)


def test_a_grade_item_that_is_gone_is_looked_up_once(desk: ScoreDesk) -> None:
    old = desk.platform.state.line_items.pop(28)
    made = desk.platform.state.add_line_item("4", "1", "L1", 100)
    made.resource_id, made.link = ITEM, old.link
    desk.send()
    assert desk.platform.grade("alice", made).given == pytest.approx(67.5)
    assert desk.platform.grade("bob", made).given == pytest.approx(82.5)
    desk.later()
    assert desk.taken("alice").count(200) == 1


def test_a_grade_item_that_is_gone_for_good_is_told(desk: ScoreDesk) -> None:
    del desk.platform.state.line_items[28]
    desk.send()
    assert desk.state("alice") is GONE
    assert "does not exist" in desk.row("alice").detail
    asked = len(desk.platform.asked)
    desk.later()
    assert len(desk.platform.asked) == asked


def test_marks_of_an_activity_that_was_deleted_do_not_count_and_can_be_put_away(
    desk: ScoreDesk,
) -> None:
    desk.send("alice")
    assert _counts(desk) == (1, 1)
    with pytest.raises(NotFound):
        desk.sending.put_away(ITEM, desk.row("alice").number)
    deleted = desk.platform.state.line_items.pop(28)
    desk.later()
    assert desk.state("alice") is GONE
    assert _counts(desk) == (0, 0)
    (activity,) = desk.shown().activities
    desk.sending.put_away(ITEM, activity.gone)
    assert desk.sending.of_item(ITEM) is None
    with pytest.raises(NotFound):
        desk.sending.put_away(ITEM, activity.gone)
    desk.platform.state.line_items[28] = deleted
    desk.see()  # a launch shows that it is there after all
    desk.later()
    assert desk.state("alice") is SENT


def test_a_grade_item_that_only_seemed_gone_counts_again_a_day_later(desk: ScoreDesk) -> None:
    desk.send("alice")
    desk.platform.always("results", 404)
    desk.platform.always("lineitems", 404)
    desk.later()
    assert desk.state("alice") is GONE
    desk.platform.always("results", None)
    desk.later(90_000)
    assert desk.state("alice") is SENT


def test_who_was_unlinked_gets_nothing_more(desk: ScoreDesk) -> None:
    desk.platform.down()
    desk.send()
    ExternalPeople(desk.engine).unlink(desk.settings.issuer, "alice")
    desk.platform.down(False)
    desk.later()
    assert desk.taken("alice") == []
    assert desk.shown().unlinked == 1


@pytest.mark.parametrize("other", ["alice", "zoe"])
def test_the_mark_of_somebody_who_was_linked_by_mistake_is_erased(
    desk: ScoreDesk, other: str
) -> None:
    """It stayed in the wrong student's gradebook for good, and counted as one that is there.

    ``other`` is the user to whom that person is linked in the end; zoe has no mark.
    """
    people, state = ExternalPeople(desk.engine), desk.platform.state
    desk.send()
    people.unlink(desk.settings.issuer, "alice")
    if other != "alice":
        wrong, right = state.person("alice").subject, state.add_person("right").subject
        people.link(desk.settings.issuer, wrong, other, other, "prof", desk.clock.now())
        people.link(desk.settings.issuer, right, "alice", "alice", "prof", desk.clock.now())
    desk.later()
    assert desk.there("alice").given is None
    assert desk.there("bob").given is not None
    assert _counts(desk) == ((1, 1) if other == "alice" else (2, 2))
    if other == "alice":
        desk.know("alice")
        desk.later()
        assert desk.there("alice").given == pytest.approx(67.5)


@pytest.mark.parametrize("down", [False, True])
def test_an_activity_that_is_for_another_item_now_keeps_no_mark_of_the_first(
    desk: ScoreDesk, *, down: bool
) -> None:
    """Students without a mark for the other item kept that of the first at the platform."""
    second = replace(desk.course, assignment="A2")
    desk.send()
    desk.platform.down(down)
    desk.see(item="A2")
    desk.later()
    desk.later()
    desk.platform.down(False)
    desk.later()
    assert [desk.there(each).given for each in ("alice", "bob")] == [None, None]
    second.grade("alice")
    second.mark("alice", 1)
    second.release("alice", minutes=(desk.clock.now() - AT).total_seconds() / 60)
    desk.later()
    assert desk.there("alice").given == pytest.approx(8.5 / 20 * 100)
    assert desk.there("bob").given is None
    desk.see()
    desk.later()
    assert desk.there("bob").given == pytest.approx(16.5 / 20 * 100)


def test_students_of_one_of_two_platforms_are_not_awaited_from_the_other(desk: ScoreDesk) -> None:
    other = desk.settings.model_copy(update={"issuer": "https://other.example.org"})
    link = replace(desk.see(), issuer=other.issuer, lineitem="https://other.example.org/1")
    Links(desk.engine).saw(link)
    desk.release()
    both = desk.open_sending(desk.settings, other)
    both.queue_due()
    shown = both.of_item(ITEM)
    assert shown is not None
    assert shown.unlinked == 0


@pytest.mark.parametrize("part", ["issuer", "client_id", "deployment"])
def test_activities_without_a_grade_item_are_told_apart_by_all_that_names_them(
    desk: ScoreDesk, part: str
) -> None:
    """Of two platforms' activities with equal numbers only the one launched last was known."""
    link = desk.see(2, lineitem="")
    changed: dict[str, Any] = {part: "https://other.example.org", "title": "Another"}
    other = replace(link, **changed)
    Links(desk.engine).saw(other)
    key = {"issuer": other.issuer, "client_id": other.client_id}
    shown = desk.open_sending(desk.settings, desk.settings.model_copy(update=key)).of_item(ITEM)
    assert shown is not None
    assert {*shown.homeless} == {link.title, "Another"}


def test_marks_of_a_platform_that_is_registered_anew_are_sent_to_it(desk: ScoreDesk) -> None:
    """Its grade items keep their addresses on some platforms, which do not name the tool."""
    desk.platform.down()
    desk.send()
    anew = desk.settings.model_copy(update={"client_id": "anew"})
    Links(desk.engine).saw(replace(desk.see(), client_id=anew.client_id))
    sending = desk.open_sending(anew)
    sending.queue_due()
    shown = sending.of_item(ITEM)
    assert shown is not None
    assert shown.counts[WAITING] == 2
    assert {each.platform for each in desk.queue.of(ITEM)} == {anew.key}


def test_marks_with_hidden_tests_wait_until_students_may_see_them(
    tmp_path: Path, engine: Engine
) -> None:
    with open_score_desk(tmp_path / "course", engine, _HIDDEN_UNTIL_DUE) as desk:
        desk.course.grade_hidden("alice")
        desk.course.mark("alice", 6)
        desk.send()
        assert desk.taken("alice") == []
        assert desk.state("bob") is SENT
        desk.clock.advance(86400)
        desk.run()
        assert desk.state("alice") is SENT


def test_nothing_goes_to_a_course_that_is_not_the_hubs(desk: ScoreDesk) -> None:
    link = desk.see(5, lineitem=f"{desk.platform.url}/mod/lti/services.php/5/lineitems/32/lineitem")
    assert link.context == "4"
    other = desk.open_sending(desk.settings.model_copy(update={"courses": ("9",)}))
    desk.release()
    other.run(lambda: False)
    assert desk.platform.asked == []


def test_a_platform_whose_scores_are_switched_off_gets_and_shows_none(desk: ScoreDesk) -> None:
    desk.platform.down()
    desk.send()
    desk.platform.down(False)
    asked = len(desk.platform.asked)
    off = desk.settings.model_copy(update={"scores": "off"})
    other = desk.open_sending(off)
    desk.clock.advance(4000)
    other.run(lambda: False)
    assert len(desk.platform.asked) == asked
    assert other.of_item(ITEM) is None


def test_the_bearer_token_goes_to_the_platform_only(desk: ScoreDesk) -> None:
    desk.see(1, lineitem="https://evil.example.org/lineitems/1/lineitem")
    desk.send("alice")
    assert desk.state("alice") is WAITING
    assert "another server" in desk.row("alice").detail
    assert all(each.path.endswith("token.php") for each in desk.platform.asked)


def test_hubs_that_send_at_the_same_time_send_each_mark_once(desk: ScoreDesk) -> None:
    desk.add_students(10)
    desk.release()
    hubs = [desk.open_sending() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda hub: hub.run(lambda: False), hubs))
    desk.run()
    assert [status for _, status in desk.platform.taken] == [200] * 12
    assert desk.states() == {SENT: 12}


def test_a_mark_that_another_process_has_taken_is_not_sent(desk: ScoreDesk) -> None:
    desk.release("alice")
    desk.sending.queue_due()
    taken = desk.queue.take([desk.settings.key], desk.clock.now(), timedelta(minutes=1))
    assert taken is not None
    desk.run()
    assert desk.platform.taken == []
    desk.later(61)
    assert desk.taken("alice") == [200]
