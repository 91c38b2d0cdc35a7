"""The marking page where the hub answers late, or not at all, in real Chromium: no word is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Dialog, Route, expect

from tests.support.browser import People
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
