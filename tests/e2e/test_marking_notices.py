"""Notices on the marking page in real Chromium: equal answers, "look again", and requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Dialog, Locator, Page, Route, expect

from mograder.core.settings import load_settings
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.regrade_requests import Decision, RequestRules, ask, decide
from mograder.grading.release.releasing import release
from mograder.grading.submissions.autograde import run_of
from mograder.grading.submissions.grading_result import GradingState
from mograder.store.marking.question_marking import QuestionMarks
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from mograder.web.marking import api_answers
from tests.support.browser import People
from tests.support.browser_alone import answering
from tests.support.hub_pages import serving
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults
from tests.support.marking_course import (
    A,
    MarkingCourse,
    graded,
    open_marking_course,
    submission_of,
)
from tests.support.marking_desk import Desk

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

_TEXT = (
    "The error falls like one over the square root of the number of points since the variances "
    "of independent numbers add and the standard deviation is the root of their sum"
)
STUDENTS = {
    "ann": _TEXT,
    "bob": _TEXT.replace(" ", "  "),
    "cleo": f"{_TEXT} divided",
    "dan": "It is slow, as a plot of the errors of ten runs shows.",
}


@pytest_asyncio.fixture(loop_scope="session")
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    """Four students; the Essays of three are alike, and one of these differs in a word."""
    async with open_marking_course(tmp_path / "course", *STUDENTS) as course:
        submitted = course.hub.course / "submitted" / A
        submitted.mkdir(parents=True)
        for student, essay in STUDENTS.items():
            text = submission_of(essay)
            (submitted / f"{student}.py").write_text(text)
            course.grade(student, text)
        yield course


@pytest_asyncio.fixture(loop_scope="session")
async def url(course: MarkingCourse) -> AsyncIterator[str]:
    """Where the hub of the course is served."""
    async with serving(course.hub) as url:
        yield url


async def open_answer(people: People, url: str, course: MarkingCourse, student: str) -> Page:
    """Open a student's Essay as a marker, who learns of other marks only by what is sent."""
    person = await people.person("mia", headers=from_proxy("mia"))
    page = await person.open(address_of(url, course, student))
    await expect(page.locator("#desk")).to_be_visible()
    await page.clock.set_fixed_time(0)  # else the page asks for them again after 15 seconds
    return page


def address_of(url: str, course: MarkingCourse, student: str) -> str:
    return f"{url}/marking/{A}/questions/Essay?answer={course.id_of(student)}"


def notices(page: Page) -> Locator:
    return page.locator("#notices")


def marks(course: MarkingCourse) -> dict[str, tuple[float | None, str]]:
    """Return the points of each Essay, and its marker."""
    with course.book() as book:
        return {
            grade.student: (each.points, each.marker)
            for grade in book.grades(A)
            for each in grade.questions
            if each.key == "Essay"
        }


async def give(page: Page, points: str) -> None:
    """Write points by keyboard."""
    await page.keyboard.press("p")
    await page.keyboard.press("Control+a")
    await page.keyboard.type(points)
    await page.keyboard.press("Escape")


async def test_similar_answers_are_told_as_such_marked_together_and_one_is_separated(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    page = await open_answer(people, url, course, "cleo")
    await expect(notices(page)).to_contain_text("3 similar answers: some differ in a few words.")
    assert await faults(page, artifacts, "similar", EVERY_LOOK, whole=False) == []
    await page.keyboard.press("x")
    await expect(notices(page)).to_contain_text("was taken out of a group of 3 answers")
    await page.goto(address_of(url, course, "ann"))
    await expect(notices(page)).to_contain_text("2 similar answers")
    for _ in range(2):  # as one that is held down
        await page.keyboard.down("w")
    await page.keyboard.up("w")
    await expect(page.get_by_label("Mark all 2 similar answers")).to_be_checked()
    await give(page, "7")
    await expect(page.locator("#saved")).to_have_text("Saved")  # the key alone may be, before it
    await expect(page.locator("#news")).to_have_text("Saved for 2 answers")
    assert marks(course) == {
        "ann": (7, "mia"),
        "bob": (7, "mia"),
        "cleo": (None, ""),
        "dan": (None, ""),
    }
    await page.goto(address_of(url, course, "cleo"))
    await page.get_by_role("button", name="Put it back").click()
    await expect(notices(page)).to_contain_text("3 similar answers")


async def test_a_groups_mark_is_changed_though_its_points_were_written_first(
    course: MarkingCourse, url: str, people: People
) -> None:
    await course.saved("cleo", user="ben", points=2)
    page = await open_answer(people, url, course, "ann")
    saved = page.locator("#saved")
    await page.keyboard.press("w")
    await give(page, "5")
    await expect(page.locator("#news")).to_have_text("Saved for 2 answers")
    await expect(page.get_by_role("alert")).to_contain_text("one equal answer keeps another mark")
    await page.reload()
    await expect(page.locator("#points")).to_have_value("5")
    await give(page, "7")
    await expect(saved).to_have_text("Saved")
    await expect(page.get_by_role("alert")).to_be_empty()
    assert marks(course)["bob"] == (5, "mia")
    await page.keyboard.press("w")
    await expect(page.locator("#news")).to_have_text("Saved for 2 answers")
    told = {student: mark for student, mark in marks(course).items() if student != "dan"}
    assert told == {"ann": (7, "mia"), "bob": (7, "mia"), "cleo": (2, "ben")}


async def test_groups_that_are_not_known_at_first_are_shown_once_they_are(
    course: MarkingCourse, url: str, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_answers, "_PATIENCE_SECONDS", 0.0)
    page = await open_answer(people, url, course, "ann")
    await expect(notices(page)).to_contain_text("3 similar answers")


async def page_with_a_clock(people: People) -> Page:
    """A page of the marker mia's whose time the test moves on."""
    person = await people.person("mia", headers=from_proxy("mia"))
    page = await person.context.new_page()
    await page.clock.install()
    return page


async def test_groups_are_asked_for_again_after_a_save(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await page_with_a_clock(people)
    await page.goto(address_of(url, course, "ann"))
    await expect(notices(page)).to_contain_text("3 similar answers")
    hand_in_again(course, "cleo", "Handed in again, with quite other words than before.")
    await page.clock.fast_forward(20_000)
    await give(page, "6")
    await page.clock.fast_forward(2_000)
    await expect(notices(page)).to_contain_text("2 equal answers.")
    assert marks(course)["bob"] == (None, "")


async def test_a_mark_to_look_at_again_stands_until_its_marker_confirms_it(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    page = await open_answer(people, url, course, "dan")
    await give(page, "4")
    await expect(page.locator("#saved")).to_have_text("Saved")
    course.grade("dan", submission_of("It is slow. I was wrong before."), later=5)
    await page.reload()
    await expect(notices(page)).to_contain_text("Nothing changed by itself")
    assert await faults(page, artifacts, "look-again", EVERY_LOOK, whole=False) == []
    assert marks(course)["dan"] == (4, "mia")
    await page.get_by_role("button", name="The mark stands").click()
    await expect(notices(page)).to_be_empty()
    await page.reload()
    await expect(page.locator("#standing")).to_have_text("4 points")
    await expect(notices(page)).to_be_empty()
    assert marks(course)["dan"] == (4, "mia")


async def test_a_mark_for_an_answer_that_was_graded_again_waits_for_a_look_at_the_new_one(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    page = await open_answer(people, url, course, "dan")
    cells, troubles = page.locator("#cells"), page.get_by_role("alert")
    await expect(cells).to_contain_text("It is slow, as a plot")
    hand_in_again(course, "dan", "Quite other words.")
    await give(page, "8")
    await expect(troubles).to_contain_text("it was graded again meanwhile")
    assert marks(course)["dan"] == (None, "")
    await page.keyboard.press("d")
    await expect(cells).to_contain_text("Quite other words.")
    assert await faults(page, artifacts, "graded-again", EVERY_LOOK, whole=False) == []
    await page.keyboard.press("y")
    await expect(notices(page)).to_contain_text("Nothing changed by itself")
    assert marks(course)["dan"] == (8, "mia")
    await page.get_by_role("button", name="The mark stands").click()
    await expect(notices(page)).not_to_contain_text("Nothing changed by itself")


async def test_an_answer_that_was_read_ahead_is_drawn_anew_once_it_was_graded_again(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    title = page.locator("#place")
    before = await title.text_content() or ""
    await page.wait_for_load_state("networkidle")  # the next one was read ahead
    for student in STUDENTS:
        hand_in_again(course, student, f"Quite other words of {student[::-1]}.")
    await page.keyboard.press("n")
    await expect(title).not_to_have_text(before)
    await expect(page.locator("#cells")).to_contain_text("Quite other words of")
    await expect(notices(page)).to_contain_text("It was graded again")
    await give(page, "3")
    await expect(page.locator("#saved")).to_have_text("Saved")
    assert [points for points, _ in marks(course).values()].count(3) == 1


def hand_in_again(course: MarkingCourse, student: str, essay: str) -> None:
    """Record another submission of a student, as grading does."""
    text = submission_of(essay)
    (course.hub.course / "submitted" / A / f"{student}.py").write_text(text)
    course.grade(student, text, later=5)


async def test_an_item_that_another_marker_made_or_changed_is_read_once_it_is_met(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "ann")
    await expect(page.locator("#items")).to_contain_text("None yet")
    made = await course.comment("States the rate", 3)
    await course.saved("dan", user="ben", saved=[made["id"]])
    await page.locator("#jump").select_option(label=await label_of(page, course, "dan"))
    await expect(page.locator("#points")).to_have_value("3")
    await expect(page.get_by_role("checkbox", name="States the rate")).to_be_checked()
    path = f"/marking/-/api/{A}/questions/Essay/comments/{made['id']}"
    wish = {"text": "Says the rate", "points": 4, "position": 0, "version": made["version"]}
    assert (await course.ask("PUT", path, "ben", json=wish)).status_code == 200
    await page.keyboard.press("v")
    await page.get_by_role("button", name="Edit States the rate").click()
    await page.locator("#item-points").fill("5")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#item-trouble")).to_contain_text("It is now: Says the rate")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("checkbox", name="Says the rate")).to_be_checked()
    assert marks(course)["dan"] == (4, "ben")


async def label_of(page: Page, course: MarkingCourse, student: str) -> str:
    """Return how an answer is named where one goes to another."""
    asked = await course.ask("GET", f"/marking/-/api/{A}/queue", params={"question": "Essay"})
    names = [each["id"] for each in asked.json()["answers"]]
    option = page.locator("#jump option").nth(names.index(course.id_of(student)))
    return await option.text_content() or ""


async def test_the_mark_of_an_unprotected_check_is_a_proposal_that_is_confirmed_here(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    text = submission_of(STUDENTS["dan"])
    result = graded("dan", text, later=5)
    beside = result.questions[0].model_copy(update={"state": GradingState.UNPROTECTED})
    questions = (beside, *result.questions[1:])
    with course.book() as book:
        book.record_run(run_of(result.model_copy(update={"questions": questions}), course.key))
    person = await people.person("mia", headers=from_proxy("mia"))
    page = await person.open(address_of(url, course, "dan").replace("Essay", "Q1"))
    await expect(page.locator("#points-why")).to_contain_text("does not count before somebody")
    await expect(notices(page)).to_contain_text("so its mark is a proposal")
    assert await faults(page, artifacts, "proposal", EVERY_LOOK, whole=False) == []
    await page.get_by_role("button", name="Confirm 7.5").click()
    await expect(page.locator("#saved")).to_have_text("Saved")
    await expect(notices(page)).not_to_contain_text("so its mark is a proposal")
    found = await course.state("dan", "Q1")
    assert (found["mark"]["points"], found["open"]) == (7.5, "")


async def test_the_keys_of_the_browser_work_while_an_answer_is_on_its_way(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await page.route("**/answers/*/questions/*", lambda route: route.abort())
    note = "document.addEventListener('keydown', (event) => (window.typed ??= []).push(event.key))"
    await page.evaluate(note)
    jump = page.locator("#jump")
    await jump.select_option(index=(int(await jump.input_value()) + 2) % 4)  # not read ahead
    await expect(page.locator("#desk")).to_have_attribute("aria-busy", "true")
    await page.locator("#points").focus()
    for key in ("F2", "PageDown", "Control+f", "7", "Control+Enter"):
        await page.keyboard.press(key)
    assert await page.evaluate("window.typed") == ["F2", "PageDown", "Control", "f", "Control"]
    await expect(page.locator("#points")).to_have_value("")


async def test_an_answer_that_is_not_saved_is_told_at_the_end_and_keeps_what_was_written(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    title = page.locator("#place")
    for points in ("1/2", "3", "3"):
        before = await title.text_content() or ""
        await give(page, points)
        await page.keyboard.press("n")
        await expect(title).not_to_have_text(before)
    await give(page, "3")
    await page.keyboard.press("n")
    await expect(page.locator("#standing")).to_have_text("The others are marked; not saved: 1.")
    await page.get_by_role("button", name="Go there").click()
    await expect(page.locator("#points")).to_have_value("1/2")
    await expect(page.locator("#saved")).to_contain_text("“1/2” is not a number")
    await page.locator("#points").fill("0.5")
    await expect(page.locator("#saved")).to_have_text("Saved")
    assert marks(course)["dan"] == (0.5, "mia")


async def test_a_markers_own_answer_is_closed_and_left_out_of_those_that_wait(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    course.grade("mia", submission_of("An answer of the marker's own."))
    for student in ("ann", "bob", "cleo"):
        await course.saved(student, user="ben", points=4)
    page = await open_answer(people, url, course, "mia")
    await expect(notices(page)).to_contain_text("This is your own answer.")
    await expect(page.locator("#mark")).to_be_hidden()
    assert await faults(page, artifacts, "own", EVERY_LOOK, whole=False) == []
    await page.keyboard.press("f")
    await expect(page.locator("#saved")).to_be_empty()
    await page.keyboard.press("n")
    await expect(page.locator("#mark")).to_be_visible()
    await give(page, "3")
    await expect(page.locator("#saved")).to_have_text("Saved")
    assert marks(course)["dan"] == (3, "mia")
    await page.keyboard.press("n")
    left = "Everything is marked but your own answer, which others mark."
    await expect(page.locator("#standing")).to_have_text(left)
    assert marks(course)["mia"] == (None, "")


async def refuse_marks(page: Page, status: int, detail: str) -> None:
    """Have the hub refuse to save a mark."""

    async def refuse(route: Route) -> None:
        if route.request.method != "PUT":
            return await route.continue_()
        headers = {"X-Request-Id": "1"}
        return await route.fulfill(status=status, headers=headers, json={"detail": detail})

    await page.route("**/answers/*/questions/*", refuse)


async def test_a_mark_that_the_hub_refuses_for_good_is_discarded(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    page = await open_answer(people, url, course, "dan")
    await refuse_marks(page, 404, "There is no such answer.")
    await give(page, "6")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("is not saved: There is no such answer.")
    assert await faults(page, artifacts, "refused", EVERY_LOOK, whole=False) == []
    await alert.get_by_role("button", name="Discard").click()
    await expect(alert).to_be_empty()
    await expect(page.locator("#points")).to_have_value("")
    asked = answering(page, Dialog.accept)
    await page.reload()
    await expect(page.locator("#desk")).to_be_visible()
    await expect(alert).to_be_empty()
    assert (asked, marks(course)["dan"]) == ([], (None, ""))


async def test_a_mark_of_an_assignment_that_is_closed_is_sent_once_it_is_open_again(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await refuse_marks(page, 403, "This assignment is not open for marking.")
    await give(page, "6")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("is not saved: This assignment is not open for marking.")
    await expect(page.get_by_role("link", name="Sign in in a new tab")).to_have_count(0)
    await page.unroute_all(behavior="wait")
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("#saved")).to_have_text("Saved")
    await expect(alert).to_be_empty()
    assert marks(course)["dan"] == (6, "mia")


async def test_a_marker_who_is_signed_out_with_nothing_unsaved_is_told_how_to_go_on(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await page_with_a_clock(people)
    await page.goto(address_of(url, course, "dan"))
    await page.wait_for_load_state("networkidle")
    await page.context.set_extra_http_headers({})
    await page.context.clear_cookies()
    jump, alert = page.locator("#jump"), page.get_by_role("alert")
    await jump.select_option(index=(int(await jump.input_value()) + 2) % 4)  # not read ahead
    await expect(alert).to_contain_text("You are signed out.")
    await expect(alert.get_by_role("link", name="Sign in in a new tab")).to_be_visible()
    asked: list[str] = []
    last = f"{url}/marking/last"
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.fast_forward(2500)
    async with page.expect_request(last):  # after those that were due
        await page.evaluate("(url) => void fetch(url)", last)
    asked.remove(last)
    assert asked == [], "a page that is left open asked every two seconds for ever"
    await page.context.set_extra_http_headers(from_proxy("mia"))
    await page.evaluate("dispatchEvent(new Event('focus'))")
    await expect(alert).to_be_empty()
    await expect(page.locator("#desk")).not_to_have_attribute("aria-busy", "true")


async def test_the_way_to_a_conflict_at_another_question_asks_nothing(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await course.saved("dan", user="ben", points=3)
    await give(page, "6.5")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("ben saved first")
    asked = answering(page, Dialog.accept)
    await page.goto(address_of(url, course, "dan").replace("Essay", "Q4"))
    await expect(alert).to_contain_text("ben saved first")
    asked.clear()
    await alert.get_by_role("button", name="Compare and decide").click()
    await page.wait_for_url(re.compile("/questions/Essay"))
    await expect(alert).to_contain_text("ben saved first")
    assert asked == []


async def test_a_mark_withdrawn_while_another_marker_gave_one_is_a_conflict(
    course: MarkingCourse, url: str, people: People
) -> None:
    await course.saved("dan", user="mia", points=3)
    page = await open_answer(people, url, course, "dan")
    await course.saved("dan", user="ben", points=5)
    for key in ("p", "Control+a", "Delete", "Escape"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("alert")).to_contain_text("ben saved first")
    assert marks(course)["dan"] == (5, "ben")


async def begin_comment(page: Page) -> None:
    """Begin a comment at a line of the answer."""
    for key in ("l", "ArrowDown", "Enter"):
        await page.keyboard.press(key)
    await page.keyboard.type("Which plot?")


async def test_another_markers_change_of_a_comment_at_lines_is_told_before_it_is_replaced(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await begin_comment(page)
    await page.keyboard.press("Control+Enter")
    note = page.get_by_role("note")
    await expect(note).to_contain_text("Which plot?")
    await note.get_by_role("button", name="Edit").click()
    [made] = (await course.state("dan"))["annotations"]
    kept = ("question", "cell", "first_line", "last_line", "saved_comment", "version")
    wish = {name: made[name] for name in kept} | {"text": "Which of them?"}
    path = f"/marking/-/api/{A}/answers/{course.id_of('dan')}/annotations/{made['id']}"
    assert (await course.ask("PUT", path, "ben", json=wish)).status_code == 200
    await page.locator("#note-text").fill("Which one?")
    await page.keyboard.press("Control+Enter")
    trouble = page.locator("#note-trouble")
    await expect(trouble).to_contain_text("changed meanwhile by ben")
    await expect(trouble).to_contain_text("It is now: Which of them?")
    for _ in range(2):  # out of the field, and out of the dialog
        await page.keyboard.press("Escape")
    await expect(note).to_contain_text("Which of them?")


async def test_a_request_stands_at_the_answer_until_it_is_decided(
    course: MarkingCourse, url: str, people: People, artifacts: Path
) -> None:
    for question, points in (("Essay", 4), ("Q4", 2)):
        await course.saved("dan", question, points=points)
    with course.book() as book:
        now = course.hub.clock.now()
        feedback = CourseFeedback(load_settings(course.hub.course), book, A, course.key, now)
        release(feedback, ["dan"], at=None, by="prof")
        said = "Is <b>slow</b> not right?"
        number = ask(book, RequestRules(14, "marker"), (A, "dan", "Essay"), said, now)
        page = await open_answer(people, url, course, "dan")
        await expect(notices(page)).to_contain_text(f"The student asks to look again: {said}")
        assert await faults(page, artifacts, "request", EVERY_LOOK, whole=False) == []
        await page.get_by_role("link", name="Answer the request").click()
        await expect(page.get_by_role("button", name="Keep the mark")).to_be_visible()
        request = RegradeRequests(book).find(number)
        decide(feedback, request, Decision("mia", "It is.", 5.0, request.last))
    await page.goto(address_of(url, course, "dan"))
    await expect(page.locator("#standing")).to_have_text("5 points")
    await expect(notices(page)).to_be_empty()


async def test_a_comment_that_is_being_written_is_shown_again_to_nobody_but_its_marker(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await begin_comment(page)
    await page.context.set_extra_http_headers(from_proxy("prof"))
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator("#desk")).to_be_visible()
    await other.wait_for_load_state("networkidle")
    assert not await other.locator("#note").is_visible()
    await page.context.set_extra_http_headers(from_proxy("mia"))
    await page.reload()
    await expect(page.locator("#note-text")).to_have_value("Which plot?")


async def test_answers_appear_by_themselves_on_a_page_that_had_none(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await page_with_a_clock(people)

    async def none(route: Route) -> None:
        await route.fulfill(response=await route.fetch(), json={"answers": []})

    await page.route("**/queue?*", none, times=1)
    await page.goto(address_of(url, course, "dan"))
    await expect(page.get_by_text("Answers appear as soon as")).to_be_visible()
    await expect(page.get_by_role("button", name="Next")).to_have_count(0)
    await page.clock.fast_forward(20_000)
    await expect(page.locator("#desk")).to_be_visible()
    await expect(page.get_by_text("Answers appear as soon as")).to_be_hidden()


async def test_an_item_that_replaces_a_number_says_so_and_one_taken_away_leaves_a_number(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    desk, why = Desk(page), page.locator("#points-why")
    await give(page, "8")
    await desk.new_item("Names the median", "2")
    told = "8 points were replaced by the rubric’s 2; u undoes it."
    await expect(why).to_have_text(told)
    await expect(page.locator("#news")).to_have_text(told)
    await desk.is_saved()
    assert marks(course)["dan"] == (2, "mia")
    await desk.press("u")
    await expect(desk.points).to_have_value("8")
    assert marks(course)["dan"] == (8, "mia")
    await desk.press("1")
    await give(page, "9")
    await expect(why).to_have_text("Given as a number; the rubric’s sum is 2.")
    await desk.press("1")
    await expect(desk.points).to_have_value("9")
    await desk.is_saved()
    assert marks(course)["dan"] == (9, "mia")
    await give(page, "6")
    await desk.press("1")  # before the 6 is sent by itself
    await desk.is_saved()
    await desk.press("u")
    await expect(desk.points).to_have_value("6")
    assert marks(course)["dan"] == (6, "mia")


async def test_an_undo_over_an_automatic_mark_shows_the_automatic_points_again(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    await page.goto(address_of(url, course, "dan").replace("Essay", "Q1"))
    desk = Desk(page)
    listed = page.locator("#jump option:checked")
    before = await listed.text_content() or ""
    assert "points" in before
    await desk.put("p", "1")
    await desk.put("r", "The check was too strict.")
    await desk.is_saved()
    await expect(listed).not_to_have_text(before)
    await desk.press("u")
    await expect(page.locator("#news")).to_contain_text("Undone: automatic: ")
    await expect(listed).to_have_text(before)


async def test_points_of_an_item_that_another_marker_changed_are_shown_with_each_answer(
    course: MarkingCourse, url: str, people: People
) -> None:
    page = await open_answer(people, url, course, "dan")
    desk, jump, late, sent = Desk(page), page.locator("#jump"), asyncio.Event(), list[str]()
    await desk.new_item("Names the median", "5")
    await desk.is_saved()
    title, place = await desk.title.text_content() or "", await jump.input_value()

    async def hold(route: Route) -> None:
        await late.wait()
        await route.continue_()

    await page.route("**/questions/Essay/comments", hold)
    page.on("request", lambda request: sent.append(request.method))
    for points, field, words in ((4.0, desk.points, ""), (3.0, desk.comment, "Half a")):
        await jump.select_option(index=(int(place) + 2) % 4)
        await expect(desk.title).not_to_have_text(title)
        put_item(course, points)
        await jump.select_option(place)
        await expect(desk.title).to_have_text(title)
        await field.focus()
        assert "PUT" not in sent, "nothing is saved by what is shown"
        await page.keyboard.type(words)
        late.set()
        await expect(desk.points).to_have_value(f"{points:g}")
        await expect(field).to_be_focused()
        assert marks(course)["dan"] == (points, "mia")
        late.clear()
    await page.keyboard.type(" sentence")
    await desk.press("Escape")
    await desk.is_saved()
    with course.book() as book:
        given = QuestionMarks(book).state(A, "dan", "Essay").question
    assert (given.points, given.comment) == (3, "Half a sentence")


def put_item(course: MarkingCourse, points: float) -> None:
    """Change the points of the only item of the Essay's rubric, as another marker."""
    with course.book() as book:
        bank, author = SavedComments(book), Author("ben", course.hub.clock.now())
        (item,) = bank.of(A, "Essay").comments
        wish = CommentWish(item.text, points)
        bank.change(A, "Essay", item.comment, wish, author, item.version)
