"""The marking page where the hub answers late, or not at all, in real Chromium: no word is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Dialog, Route, expect

from tests.support.browser import People, wait_in_page
from tests.support.browser_alone import answering
from tests.support.hub_pages import serving
from tests.support.identity import from_proxy
from tests.support.marking_course import A, MarkingCourse, open_marking_course
from tests.support.marking_desk import Desk

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

COMMENTS, ANNOTATIONS = "**/questions/Essay/comments", "**/annotations"
Handler = Callable[[Route], Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="session")
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    async with open_marking_course(tmp_path / "course", "dan") as course:
        yield course


@pytest_asyncio.fixture(loop_scope="session")
async def desk(course: MarkingCourse, people: People) -> AsyncIterator[Desk]:
    """The Essay of dan, before a marker."""
    async with serving(course.hub) as url:
        person = await people.person("mia", headers=from_proxy("mia"))
        page = await person.context.new_page()
        answering(page, Dialog.accept)
        await page.goto(f"{url}/marking/{A}/questions/Essay?answer={course.id_of('dan')}")
        await expect(page.locator("#desk")).to_be_visible()
        yield Desk(page)


def held(method: str, then: Handler) -> tuple[Handler, asyncio.Event, asyncio.Event]:
    """Return what holds the requests of a method; when it holds one; and what lets it go."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method != method:
            return await route.continue_()
        asked.set()
        await go_on.wait()
        return await then(route)

    return hold, asked, go_on


async def lose(route: Route) -> None:
    await route.abort()


async def test_a_comment_stays_until_the_saved_one_stands_in_its_place(
    course: MarkingCourse, desk: Desk
) -> None:
    hold, asked, go_on = held("POST", Route.continue_)
    await desk.page.route(COMMENTS, hold)
    await desk.write("c", "Good start.")
    await desk.press("b")
    await asked.wait()
    await desk.write("c", " But it lacks n = 0.")
    go_on.set()
    item, news = desk.page.get_by_role("checkbox", name="Good start."), desk.page.locator("#news")
    await expect(news).to_have_text("Added to the saved comments.")
    await expect(item).not_to_be_checked()
    await expect(desk.comment).to_have_value("Good start. But it lacks n = 0.")
    hold, _, go_on = held("GET", lose)
    go_on.set()
    await desk.page.route(COMMENTS, hold)
    await desk.press("b")
    await expect(desk.page.get_by_role("alert")).to_contain_text("does not answer")
    await desk.put("p", "5")
    await desk.is_saved()
    mark = (await course.state("dan"))["mark"]
    assert (mark["points"], mark["comment"]) == (5, "Good start. But it lacks n = 0.")


async def test_escape_leaves_the_field_of_a_dialog_before_it_throws_its_text_away(
    desk: Desk,
) -> None:
    page = desk.page
    for dialog, keys in (("item", ("i",)), ("note", ("l", "Enter"))):
        await desk.press(*keys)
        await expect(page.locator(f"#{dialog}-text")).to_be_focused()
        await page.keyboard.type("Why?")
        await desk.press("Escape")
        await expect(page.locator(f"#{dialog}-cancel")).to_be_focused()
        await expect(page.locator(f"#{dialog}-text")).to_have_value("Why?")
        await desk.press("Escape")
        await expect(page.locator(f"#{dialog}")).to_be_hidden()
        await expect(page.locator(f"#{dialog}-cancel")).not_to_be_focused()
        await desk.press(*keys)
        await expect(page.locator(f"#{dialog}-text")).to_be_focused()
        await desk.press("Escape")
        await expect(page.locator(f"#{dialog}")).to_be_hidden()
        await expect(page.locator(f"#{dialog}-text")).not_to_be_focused()


async def test_words_that_fail_after_their_dialog_was_closed_are_told_and_offered_again(
    course: MarkingCourse, desk: Desk
) -> None:
    page, alert = desk.page, desk.page.get_by_role("alert").first
    hold, asked, go_on = held("POST", lose)
    await page.route(ANNOTATIONS, hold)
    await desk.press("l", "Enter")
    await page.keyboard.type("Why?")
    await desk.press("Control+Enter")
    await asked.wait()
    await desk.press("Escape")
    await expect(page.locator("#note")).to_be_hidden()
    go_on.set()
    await expect(alert).to_contain_text("It was not saved: the server does not answer.")
    await expect(alert).to_contain_text("You wrote: Why?")
    await page.unroute(ANNOTATIONS)
    await page.reload()
    await expect(page.locator("#note-text")).to_have_value("Why?")
    await desk.press("Control+Enter")
    await expect(page.get_by_role("note")).to_contain_text("Why?")
    assert [each["text"] for each in (await course.state("dan"))["annotations"]] == ["Why?"]
    await page.reload()
    await expect(page.get_by_role("note")).to_contain_text("Why?")
    await expect(page.locator("#note")).to_be_hidden()


async def test_a_late_answer_opens_no_dialog_over_what_is_being_written(
    course: MarkingCourse, desk: Desk
) -> None:
    for text in ("States the rate", "Says why"):
        await course.comment(text, 1)
    await desk.page.reload()
    await expect(desk.page.get_by_role("checkbox", name="Says why")).to_be_visible()
    hold, asked, go_on = held("PUT", Route.continue_)
    await desk.page.route("**/questions/Essay/comments/*", hold)
    await desk.press("v")
    await desk.page.get_by_role("button", name="↑ Says why").click()
    await asked.wait()
    await desk.press("Escape", "c")
    go_on.set()
    await expect(desk.page.locator("#news")).to_contain_text("marks were recalculated")
    await desk.page.keyboard.type("One ")
    hold, asked, go_on = held("GET", Route.continue_)
    await desk.page.route("**/history", hold)
    await desk.press("Escape", "h")
    await asked.wait()
    await desk.press("c")
    async with desk.page.expect_response("**/history") as answer:
        go_on.set()
    await (await answer.value).finished()
    await desk.page.wait_for_timeout(300)
    await desk.page.keyboard.type("word.")
    await expect(desk.comment).to_have_value("One word.")


async def test_a_mark_whose_request_is_never_answered_is_sent_again(
    course: MarkingCourse, desk: Desk
) -> None:
    async def never(_route: Route) -> None:
        pass

    alert = desk.page.get_by_role("alert")
    soon = "const soon = AbortSignal.timeout(50); AbortSignal.timeout = () => soon"
    await desk.page.evaluate(soon)
    await desk.page.route("**/answers/*/questions/*", never)
    await desk.put("p", "5")
    await expect(alert).to_contain_text("Kept in this browser, and sent again.")
    await desk.page.evaluate("AbortSignal.timeout = () => null")
    await desk.page.unroute("**/answers/*/questions/*")
    await desk.is_saved()
    assert (await course.state("dan"))["mark"]["points"] == 5


async def test_a_mark_saved_in_one_tab_leaves_the_unsaved_words_of_another(
    course: MarkingCourse, desk: Desk
) -> None:
    page, alert = desk.page, desk.page.get_by_role("alert")
    await course.saved("dan", user="ben", points=3)
    await desk.put("c", "Written in this tab.")
    await expect(alert).to_contain_text("ben saved first")
    other = Desk(await page.context.new_page())
    await other.page.goto(page.url)
    await expect(other.page.locator("#desk")).to_be_visible()
    await other.put("p", "4")
    await other.is_saved()
    await page.reload()
    await expect(alert).to_contain_text("ben saved first")
    await expect(desk.comment).to_have_value("Written in this tab.")
    await page.close()  # then the other takes them up
    await wait_in_page(other.page, "navigator.locks.query().then(({ held }) => held.length === 1)")
    await other.page.reload()
    await expect(other.comment).to_have_value("Written in this tab.")
    for why in ("ben saved first", "saved elsewhere"):
        await expect(other.page.get_by_role("alert")).to_contain_text(why)
        await other.press("d")
        await expect(other.page.get_by_role("dialog")).to_be_visible()
        await other.press("y")
    await other.is_saved()
    kept = "Object.keys(localStorage).filter((name) => name.startsWith('mograder-marking:'))"
    assert await other.page.evaluate(kept) == []
