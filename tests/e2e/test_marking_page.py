"""Marking by keyboard alone, in real Chromium through a real hub: nothing of it is ever lost.

Screenshots of every state are left as artefacts for people to look at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Error, Page, Request, Route, expect

from mograder.core.settings import load_settings
from mograder.grading.submissions.autograde import run_of
from mograder.grading.submissions.grading_result import grading_key
from mograder.notebook.source.release import make_release
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import QuestionGrade
from mograder.web.marking.context import answer_id
from tests.support.browser import People, tab_to, wait_in_page
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.looks import faults
from tests.support.marked_course import put_marked_course, student_name
from tests.support.marking_course import SOURCE, A, graded, submission_of
from tests.support.marking_desk import Desk, sit_down
from tests.support.shared_hub import HEADER, until

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

STUDENTS = 30
WRITTEN = ("Essay", "Q4")
"""The questions that people mark."""


@pytest.fixture
def start(
    start_hub: Callable[..., HubProcess], work_directory: Path
) -> Callable[[int], HubProcess]:
    """Start a hub with so many graded submissions; ``prof`` instructs and ``marta`` marks."""

    def make(students: int) -> HubProcess:
        course = put_marked_course(work_directory / "course", students)
        settings = {"hub.instructors": ["prof"], "marking.markers": ["marta"]}
        return start_hub(course, settings=settings)

    return make


@dataclass(frozen=True)
class Book:
    """The course's gradebook, by the names that answers have on pages."""

    course: Path
    students: int

    def marks(self, question: str) -> Mapping[str, QuestionGrade]:
        """Return the marks of a question by the answer's name."""
        with self._open() as (book, key):
            grades = {each.student: each for each in book.grades(A)}
        return {
            answer_id(key, A, student): each
            for student in map(student_name, range(self.students))
            for each in grades[student].questions
            if each.key == question
        }

    @contextmanager
    def _open(self) -> Iterator[tuple[Gradebook, bytes]]:
        loaded = load_settings(self.course)
        with Gradebook(loaded.gradebook_path) as book:
            yield book, grading_key(loaded)


def share_out(hub: HubProcess, *markers: str) -> None:
    """Share all answers out among markers, as an instructor does."""
    with hub.client(from_proxy("prof")) as client:
        answer = client.post(f"/marking/{A}/share", data={"markers": " ".join(markers)})
        assert answer.status_code == 303, answer.text


def grade_by_judge_and_worker(hub: HubProcess, source: str) -> None:
    """Send the source, have the hub grade what was handed in, and wait until it has."""
    with hub.client(from_proxy("prof")) as client:
        sent = client.put(f"/source/{A}", files={"files": (f"{A}.py", source.encode())})
        assert sent.status_code == 200, sent.text
        begun = client.post(f"/autograde/{A}", json={})
        assert begun.status_code == 202, begun.text

        def job() -> tuple[str, str]:
            told = client.get(f"/autograde/{A}").json()["job"]
            return told["state"], told["error"]

        until(lambda: job()[0] not in ("queued", "running"), 400)
        assert job() == ("done", "")


@pytest.mark.journey
async def test_a_mark_on_the_page_joins_those_by_judge_and_worker(
    start_hub: Callable[..., HubProcess], work_directory: Path, people: People
) -> None:
    course, source = work_directory / "course", HEADER + SOURCE
    release = make_release(source, filename=f"{A}.py", assignment=A)
    assert release is not None
    put_release(course, A, release.text)
    submitted = course / "submitted" / A
    submitted.mkdir(parents=True)
    (submitted / f"{student_name(0)}.py").write_text(HEADER + submission_of("n^{-1/2}.", "2.5"))
    hub = start_hub(course, settings={"hub.instructors": ["prof"]})
    await asyncio.to_thread(grade_by_judge_and_worker, hub, source)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.write("p", "7.5")
    await prof.is_saved()
    book = Book(course, 1)
    marks = {question: book.marks(question).values() for question in ("Q1", "Q2", "Essay")}
    told = {name: [(each.points, each.marker) for each in of] for name, of in marks.items()}
    assert told == {"Q1": [(0, "")], "Q2": [(5, "")], "Essay": [(7.5, "prof")]}


async def test_two_mark_thirty_answers_to_two_questions_by_keyboard_and_a_kill_loses_nothing(
    start: Callable[[int], HubProcess], people: People, artifacts: Path
) -> None:
    hub = start(STUDENTS)
    share_out(hub, "prof", "marta")
    book = Book(hub.course, STUDENTS)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.new_item("States the rate", "5")
    await prof.new_item("Says why", "4")
    await prof.press("1", "2")
    await prof.is_saved()  # without a mark, before a second page of prof's shows this answer
    for question in WRITTEN:
        prof = await sit_down(people, hub, "prof", f"questions/{question}")
        marta = await sit_down(people, hub, "marta", f"questions/{question}")
        middle = asyncio.Event()
        by_rubric = mark_by_rubric if question == "Essay" else mark_by_number
        given = await asyncio.gather(
            by_rubric(prof, middle), mark_by_number(marta), kill(hub, middle)
        )
        await prof.page.screenshot(path=artifacts / f"marked-{question}.png")
        await both_are_saved(prof, marta)
        told = book.marks(question)
        assert {name: mark.points for name, mark in told.items()} == {**given[0], **given[1]}
        by = {name: mark.marker for name, mark in told.items()}
        assert by == {**dict.fromkeys(given[0], "prof"), **dict.fromkeys(given[1], "marta")}


async def test_the_keyboard_leads_from_the_gradebook_over_a_student_to_a_mark(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub, name = start(3), student_name(1)
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{hub.url}/course/gradebook")
    for link in (name, f"Marking of {A}", name):
        await tab_to(page, link)
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
    await expect(page.locator("#desk")).to_be_visible()
    desk = Desk(page)
    await desk.onward()
    await desk.write("p", "4.5")
    await desk.is_saved()
    marks = [
        each.points for question in WRITTEN for each in Book(hub.course, 3).marks(question).values()
    ]
    assert marks.count(4.5) == 1


async def mark_by_rubric(desk: Desk, middle: asyncio.Event) -> dict[str, float]:
    """Mark a share with number keys and comments; return the points by answer."""
    given: dict[str, float] = {}
    for number in range(STUDENTS // 2):
        keys = ("1", "2")[: number % 3]
        given[await desk.answer()] = (0.0, 5.0, 9.0)[number % 3]
        await desk.press(*(keys or "0"))
        if number % 4 == 0:
            await desk.write("c", f"Comment {number}: $n^{{-1/2}}$.")
        if number == STUDENTS // 4:
            middle.set()
        await go_on(desk, number)
    return given


async def mark_by_number(desk: Desk, middle: asyncio.Event | None = None) -> dict[str, float]:
    """Mark a share with points and Enter; return the points by answer."""
    given: dict[str, float] = {}
    await desk.press("p")
    for number in range(STUDENTS // 2):
        points = number * 7 % 11 / 2
        given[await desk.answer()] = points
        await desk.page.keyboard.type(f"{points:g}")
        if middle and number == STUDENTS // 4:
            middle.set()
        await go_on(desk, number, "Enter")
    return given


async def go_on(desk: Desk, number: int, key: str = "n") -> None:
    """Go to the next answer of the share, if there is one."""
    if number < STUDENTS // 2 - 1:
        await desk.onward(key)


async def kill(hub: HubProcess, when: asyncio.Event) -> None:
    """Kill the hub in the middle, and start it again."""
    await when.wait()
    await asyncio.to_thread(hub.kill)
    await asyncio.to_thread(hub.restart)


async def both_are_saved(*desks: Desk) -> None:
    for desk in desks:
        await desk.press("Escape")
        await desk.is_saved()


async def test_the_second_of_two_markers_sees_the_first_ones_mark_and_decides(
    start: Callable[[int], HubProcess], people: People, artifacts: Path
) -> None:
    hub = start(3)
    book = Book(hub.course, 3)
    names = list(book.marks("Essay"))
    for name, keys, points, by in (
        (names[0], "t", 3.0, "prof"),
        (names[1], "y", 6.5, "marta"),
        (names[2], "e", 6.5, "marta"),
    ):
        path = f"questions/Essay?answer={name}"
        prof = await sit_down(people, hub, "prof", path)
        marta = await sit_down(people, hub, "marta", path)
        await prof.write("p", "3")
        await prof.write("c", "It lacks the reason.")
        await prof.is_saved()
        await marta.write("p", "6.5")
        await marta.write("c", "Right, but short.")
        await expect(marta.page.get_by_role("alert")).to_contain_text("prof saved first")
        await marta.press("d")
        dialog = marta.page.get_by_role("dialog")
        await expect(dialog).to_contain_text("3 points")
        await expect(dialog).to_contain_text("It lacks the reason.")
        await expect(dialog).to_contain_text("6.5 points")
        await marta.page.screenshot(path=artifacts / "conflict.png")
        await marta.press(keys)
        await expect(dialog).to_be_hidden()
        if keys == "e":
            await expect(marta.comment).to_be_focused()
            both = "Right, but short.\n\nIt lacks the reason."
            await expect(marta.comment).to_have_value(both)
            await marta.press("Escape")
        await expect(marta.page.get_by_role("alert")).to_be_empty()
        if keys != "t":
            await marta.is_saved()
        mark = book.marks("Essay")[name]
        assert (mark.points, mark.marker) == (points, by)


async def test_undo_takes_back_and_a_change_of_an_item_counts_in_all_marks_that_use_it(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(4)
    book = Book(hub.course, 4)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.new_item("States the rate", "5")
    first = await prof.answer()
    await prof.onward()
    await prof.press("1")
    second = await prof.answer()
    await prof.is_saved()
    await prof.put("a", "1.5")
    await prof.is_saved()
    assert book.marks("Essay")[second].points == 6.5
    await prof.press("u")
    await expect(prof.points).to_have_value("5")
    assert book.marks("Essay")[second].points == 5
    await prof.onward()
    third = await prof.answer()
    await prof.press("1")
    await prof.write("p", "2")
    await prof.is_saved()
    await prof.press("v")
    await tab_to(prof.page, "Edit States the rate")
    await prof.press("Enter", "Tab")
    await prof.press("Control+a")
    await prof.page.keyboard.type("4")
    await expect(prof.page.get_by_text("2 marks change.")).to_be_visible()
    await prof.press("Control+Enter")
    await expect(prof.page.locator("#item")).to_be_hidden()
    await prof.press("Escape")
    told = {name: mark.points for name, mark in book.marks("Essay").items()}
    assert (told[first], told[second], told[third]) == (4, 4, 2)
    await prof.press("k")
    await expect(prof.points).to_have_value("4")


async def test_a_mark_keeps_the_points_of_an_item_that_was_removed_since(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(2)
    book = Book(hub.course, 2)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.new_item("States the rate", "5")
    first = await prof.answer()
    await prof.is_saved()
    await prof.press("v")
    await tab_to(prof.page, "Edit States the rate")
    await prof.press("Enter")
    await prof.page.locator("#item-remove").click()
    await expect(prof.page.locator("#item")).to_be_hidden()
    await prof.press("Escape")
    await prof.page.reload()
    await expect(prof.points).to_have_value("5")
    item = prof.page.get_by_role("checkbox", name="States the rate")
    await expect(item).to_be_checked()
    await item.uncheck()
    await expect(prof.points).to_have_value("")
    await prof.is_saved()
    assert book.marks("Essay")[first].points is None


async def test_a_students_questions_are_shown_though_others_still_have_more(
    start: Callable[[int], HubProcess], people: People
) -> None:
    """As after a source without one of them, until all are graded again."""
    hub = start(2)
    loaded, student = load_settings(hub.course), student_name(0)
    key, result = grading_key(loaded), graded(student, submission_of())
    fewer = result.model_copy(update={"questions": result.questions[:3]})
    with Gradebook(loaded.gradebook_path) as book:
        book.record_run(run_of(fewer, key))
    prof = await sit_down(people, hub, "prof", f"answers/{answer_id(key, A, student)}")
    await expect(prof.page.locator("#jump option")).to_have_count(3)


async def test_answers_that_are_read_again_late_do_not_change_whose_mark_it_is(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(4)
    book = Book(hub.course, 4)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    asked, late = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await late.wait()
        await route.continue_()

    await prof.page.route("**/queue?*", hold)
    await prof.page.evaluate("{ const now = Date.now; Date.now = () => now() + 20000; }")
    await prof.onward()
    await asked.wait()
    await prof.onward()
    shown = await prof.answer()
    async with prof.page.expect_response("**/queue?*"):
        late.set()
    await prof.page.wait_for_timeout(500)
    await prof.write("p", "3")
    await prof.is_saved()
    marks = {name: mark.points for name, mark in book.marks("Essay").items()}
    assert {name for name, points in marks.items() if points == 3} == {shown}


async def test_a_mark_of_another_marker_is_shown_in_the_field_that_has_the_keyboard(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(3)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.onward("j")
    second = await prof.answer()
    async with prof.page.expect_response(f"**/answers/{second}/**"):  # read before it is marked
        await prof.onward("k")
    marta = await sit_down(people, hub, "marta", f"questions/Essay?answer={second}")
    await marta.write("p", "3")
    await marta.is_saved()
    await prof.press("p")
    await prof.page.keyboard.type("5")
    await prof.onward("Enter")
    assert await prof.answer() == second
    await expect(prof.points).to_be_focused()
    await expect(prof.points).to_have_value("3")


async def test_what_the_hub_answers_late_is_of_the_answer_for_which_it_was_asked(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(3)
    book = Book(hub.course, 3)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    first = await prof.answer()
    await prof.write("p", "3")
    await prof.is_saved()
    await prof.put("c", "Why so?")
    await prof.is_saved()
    asked, late = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            asked.set()
            await late.wait()
        await route.continue_()

    await prof.page.route(f"**/marking/-/api/{A}/**", hold)
    shown = []
    for key, written, news in (
        ("u", "One of its own", "Undone"),
        ("b", "Another of its own", "Added"),
    ):
        await prof.press(key)
        await asked.wait()
        await prof.onward("j")
        await prof.write("c", written)
        late.set()
        await expect(prof.page.locator("#news")).to_contain_text(news)
        await expect(prof.comment).to_have_value(written)
        await prof.is_saved()
        shown.append(await prof.answer())
        asked.clear()
        late.clear()
    kept = prof.page.get_by_role("checkbox", name="One of its own")
    await expect(kept).not_to_be_checked()
    marks = {name: (mark.points, mark.comment) for name, mark in book.marks("Essay").items()}
    assert marks == {
        first: (3, ""),
        shown[0]: (None, "One of its own"),
        shown[1]: (None, "Another of its own"),
    }


async def test_an_answer_that_is_read_again_is_not_shown_in_place_of_the_one_gone_to(
    start: Callable[[int], HubProcess], people: People
) -> None:
    prof = await sit_down(people, start(3), "prof", "questions/Essay")
    first, title = await prof.answer(), await prof.title.text_content() or ""
    await prof.onward("j")
    second = await prof.answer()
    saved, gone, read, asked = (asyncio.Event() for _ in range(4))

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            await saved.wait()
        elif f"/{first}/" in route.request.url:
            await gone.wait()
        elif f"/{second}/" in route.request.url:
            asked.set()
            await read.wait()
        await route.continue_()

    await prof.page.route(f"**/marking/-/api/{A}/answers/**", hold)
    await prof.press("l", "Enter")
    await prof.page.keyboard.type("Why?")
    await prof.press("Control+Enter", "Escape", "k")
    saved.set()
    await asked.wait()
    gone.set()
    await expect(prof.title).to_have_text(title)
    async with prof.page.expect_response(f"**/{second}/**"):
        read.set()
    await prof.page.wait_for_timeout(300)
    await expect(prof.title).to_have_text(title)
    assert await prof.answer() == first


async def test_a_rubric_that_comes_late_is_not_that_of_another_question(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(2)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.new_item("States the rate", "5")
    await prof.is_saved()
    prof = await sit_down(people, hub, "prof", f"answers/{await prof.answer()}")
    jump = prof.page.locator("#jump")
    texts = await jump.locator("option").all_text_contents()
    [essay] = [at for at, text in enumerate(texts) if text.startswith("Essay")]
    before, after, *_ = (at for at in range(len(texts)) if at != essay)
    asked, late = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await late.wait()
        await route.continue_()

    def named(at: int) -> str:
        return texts[at].partition(" · ")[0]

    await jump.select_option(index=before)
    await expect(prof.title).to_contain_text(named(before))
    await prof.page.route("**/questions/Essay/comments", hold)
    await jump.select_option(index=essay)
    await asked.wait()
    await jump.select_option(index=after)
    await expect(prof.title).to_contain_text(named(after))
    async with prof.page.expect_response("**/questions/Essay/comments"):
        late.set()
    await prof.page.wait_for_timeout(300)
    assert await prof.page.get_by_role("checkbox", name="States the rate").count() == 0


async def test_what_is_saved_twice_by_a_double_click_is_there_once(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(2)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    sent: list[str] = []
    twice = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.url.rpartition("/")[2])
            await twice.wait()
        await route.continue_()

    await prof.page.route(f"**/marking/-/api/{A}/**", hold)
    await prof.press("i")
    await prof.page.keyboard.type("States the rate")
    await prof.press("Tab", "5", "Control+Enter", "Control+Enter")
    twice.set()
    await expect(prof.page.get_by_role("checkbox", name="States the rate")).to_be_checked()
    await prof.is_saved()
    await expect(prof.points).to_have_value("5")
    twice.clear()
    await prof.page.locator("#cells").get_by_role("button", name="Comment").first.click()
    await prof.page.keyboard.type("Why?")
    await prof.press("Control+Enter", "Control+Enter")
    twice.set()
    await expect(prof.page.get_by_role("note")).to_have_count(1)
    twice.clear()
    await prof.page.locator("#comment").fill("Again and again")
    await prof.page.locator("#keep").dblclick()
    twice.set()
    await expect(prof.page.get_by_role("checkbox", name="Again and again")).to_be_checked()
    await prof.is_saved()
    written = sorted(each for each in sent if each != "preview")
    assert written == ["annotations", "comments", "comments"]


async def test_a_comment_that_waits_for_the_hub_is_sent_as_it_stands_there(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(1)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    tries, written_more = 0, asyncio.Event()

    async def fail_once(route: Route) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            return await route.abort()
        await written_more.wait()
        return await route.continue_()

    await prof.page.route("**/annotations", fail_once)
    await prof.page.locator("#cells").get_by_role("button", name="Comment").first.click()
    await prof.page.keyboard.type("Why?")
    await prof.press("Control+Enter")
    await expect(prof.page.locator("#note-trouble")).to_contain_text("and sent again")
    await prof.page.keyboard.type(" And more.")
    written = await prof.page.locator("#note-text").input_value()
    written_more.set()
    await expect(prof.page.get_by_role("note")).to_contain_text(written)


async def test_a_number_that_cannot_be_read_is_told_also_after_the_one_before_was_saved(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(1)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    asked, late = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PUT":
            asked.set()
            await late.wait()
        await route.continue_()

    await prof.page.route(f"**/marking/-/api/{A}/**", hold)
    await prof.press("p")
    await prof.page.keyboard.type("5")
    await asked.wait()
    await prof.page.keyboard.type("x")
    async with prof.page.expect_response(lambda answer: answer.request.method == "PUT"):
        late.set()
    await prof.page.wait_for_timeout(1500)
    await expect(prof.saved).to_have_text("Not saved: “5x” is not a number.")


async def test_a_mark_whose_answer_was_lost_is_no_conflict_with_what_was_typed_since(
    start: Callable[[int], HubProcess], people: People
) -> None:
    prof = await sit_down(people, start(1), "prof", "questions/Essay")

    async def lose(route: Route) -> None:
        await (route.fetch() if route.request.method == "PUT" else asyncio.sleep(0))
        await route.abort()

    await prof.page.route("**/answers/*/questions/Essay", lose)
    await prof.put("c", "Sent")
    await expect(prof.page.get_by_role("alert")).to_contain_text("does not answer")
    await prof.put("c", " and more")
    await prof.page.unroute_all(behavior="wait")
    await prof.is_saved()


async def test_who_is_signed_out_while_marking_is_told_so_and_the_mark_is_sent_later(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(1)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    await prof.page.context.set_extra_http_headers({})
    await prof.page.context.clear_cookies()
    await prof.write("p", "3")
    alert = prof.page.get_by_role("alert")
    await expect(alert).to_contain_text("Not saved: you are signed out. Kept in this browser")
    await prof.page.context.set_extra_http_headers(from_proxy("prof"))
    await prof.page.evaluate(
        "document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))"
    )
    await prof.is_saved()


async def test_unsaved_text_outlives_a_dead_hub_and_a_reload_and_is_sent_again(
    start: Callable[[int], HubProcess], people: People, artifacts: Path
) -> None:
    hub = start(3)
    book = Book(hub.course, 3)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    name = await prof.answer()
    await asyncio.to_thread(hub.kill)
    await prof.write("p", "8")
    await prof.write("c", "Written while nobody listened.")
    alert = prof.page.get_by_role("alert")
    await expect(alert).to_contain_text(
        "Not saved: the server does not answer. Kept in this browser"
    )
    await prof.page.screenshot(path=artifacts / "away.png")
    await asyncio.to_thread(hub.restart)
    await prof.is_saved()
    await expect(alert).to_be_empty()
    assert book.marks("Essay")[name].comment == "Written while nobody listened."
    await asyncio.to_thread(hub.kill)
    await prof.write("c", " And more.")
    await expect(alert).to_contain_text("Not saved")
    address = prof.page.url
    with pytest.raises(Error, match="ERR_CONNECTION_REFUSED"):
        await prof.page.reload()
    assert prof.asked_to_stay == ["beforeunload"]
    await asyncio.to_thread(hub.restart)
    await read_before_saved(prof.page)
    await prof.page.goto(address)
    await expect(prof.comment).to_have_value("Written while nobody listened. And more.")
    await prof.is_saved()
    assert book.marks("Essay")[name].comment == "Written while nobody listened. And more."
    await prof.page.reload()
    assert prof.asked_to_stay == ["beforeunload"]
    await expect(prof.comment).to_have_value("Written while nobody listened. And more.")
    await prof.page.unroute_all(behavior="wait")
    await asyncio.to_thread(hub.kill)
    await prof.write("c", " Once more.")
    await expect(alert).to_contain_text("Not saved")
    context = prof.page.context
    async with prof.page.expect_event("close"):
        await prof.page.close(run_before_unload=True)
    await asyncio.to_thread(hub.restart)
    other = Desk(await context.new_page())
    await other.page.goto(address)
    await expect(other.comment).to_have_value("Written while nobody listened. And more. Once more.")
    await other.is_saved()


async def test_a_tab_leaves_the_unsaved_marks_of_open_tabs_and_takes_up_those_of_crashed_ones(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(1)
    prof = await sit_down(people, hub, "prof", "questions/Essay")

    async def lose(route: Route) -> None:
        await (route.abort() if route.request.method == "PUT" else route.continue_())

    await prof.page.route("**/answers/*/questions/*", lose)
    await prof.write("c", "Unsaved.")
    await expect(prof.page.get_by_role("alert")).to_contain_text("Not saved")
    other = Desk(await prof.page.context.new_page())
    await other.page.goto(prof.page.url)
    await expect(other.page.locator("#desk")).to_be_visible()
    await expect(other.comment).to_be_empty()
    await prof.page.close()  # as after a crash: the page hears nothing of it
    one = "navigator.locks.query().then((locks) => locks.held.length === 1)"
    await wait_in_page(other.page, one)  # the browser frees the closed tab's a moment later
    await other.page.reload()
    await expect(other.comment).to_have_value("Unsaved.")
    await other.is_saved()


async def read_before_saved(page: Page) -> None:
    """Let an answer be read before its mark is saved, and arrive after that."""
    read, saved = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PUT":
            await read.wait()
            return await route.continue_()
        answer = await route.fetch()
        read.set()
        await saved.wait()
        return await route.fulfill(response=answer)

    def note(request: Request) -> None:
        if request.method == "PUT":
            saved.set()

    page.on("requestfinished", note)
    await page.route("**/answers/*/questions/*", hold)


async def test_every_state_passes_axe_wide_on_a_phone_and_in_the_dark(
    start: Callable[[int], HubProcess], people: People, artifacts: Path
) -> None:
    hub = start(6)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    page = prof.page
    wrong: list[str] = []

    async def look(state: str) -> None:
        wrong.extend(await faults(page, artifacts, state, whole=False))

    await look("unmarked")
    await prof.new_item("States the rate", "5")
    await prof.new_item("Says **why**: $\\sigma^2/n$", "4.5")
    await prof.write("c", "Good, but *why* $n^{-1/2}$?\n\n- one\n- two")
    await expect(page.get_by_role("group", name="Preview of the comment")).to_be_visible()
    await prof.is_saved()
    await look("marked")
    for key, name in (("?", "keys"), ("i", "item"), ("v", "rubric"), ("h", "history")):
        await prof.press(key)
        await expect(page.get_by_role("dialog")).to_be_visible()
        await look(name)
        await prof.press("Escape")
    await prof.press("v")
    await tab_to(page, "Edit States the rate")
    await prof.press("Enter", "Tab", "Control+a", "3")
    await expect(page.get_by_text("One mark changes.")).to_be_visible()
    await look("effect")
    await prof.press("Escape", "Escape")
    await annotate(prof)
    await look("annotated")
    await hide_and_go(prof, hub, "questions/Q1")
    await prof.write("p", "2")
    await expect(prof.saved).to_contain_text("say why this replaces the automatic mark")
    await look("reason")
    await prof.write("r", "The check was too strict.")
    await prof.is_saved()
    await prof.press("s", "Escape")
    await look("automatic")
    await prof.press("t")
    await expect(page.get_by_role("heading", name="All questions")).to_be_visible()
    await expect(page.locator("#desk")).to_be_visible()
    await look("student")
    await asyncio.to_thread(hub.kill)
    await prof.press("f")
    await expect(page.get_by_role("alert")).to_contain_text("Not saved")
    await look("away")
    assert wrong == []


async def annotate(desk: Desk) -> None:
    """Comment at two lines by keyboard."""
    page = desk.page
    await desk.press("l", "ArrowDown", "Shift+ArrowDown", "Enter")
    await expect(page.get_by_role("dialog")).to_contain_text("lines 2–3")
    await page.keyboard.type("Which `error` is meant?")
    await desk.press("Control+Enter")
    await expect(page.get_by_role("note")).to_contain_text("Which error is meant?")


async def hide_and_go(desk: Desk, hub: HubProcess, path: str) -> None:
    """Open another page of marking."""
    await desk.page.goto(f"{hub.url}/marking/{A}/{path}")
    await expect(desk.page.locator("#desk")).to_be_visible()


async def test_an_answer_is_inert_and_keeps_its_students_name(
    start: Callable[[int], HubProcess], people: People
) -> None:
    hub = start(3)
    prof = await sit_down(people, hub, "prof", "questions/Essay")
    page = prof.page
    for _ in range(3):
        frame = page.frame_locator("#frame")
        await expect(frame.get_by_text("An example.", exact=True)).to_be_visible()
        assert await page.locator("#frame").get_attribute("sandbox") == ""
        assert "student0" not in await page.content()
        assert "student0" not in await frame.locator("html").inner_html()
        assert await page.locator("#cells script, #cells img, #other-cells script").count() == 0
        assert await page.title() != "taken"
        await prof.press("j")
    await prof.page.get_by_label("Names").check()
    await expect(prof.title).to_contain_text("student0")
