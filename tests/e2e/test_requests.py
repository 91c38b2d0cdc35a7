"""Released marks and requests in Chromium: a student asks, the marker answers, the mark changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from mograder.grading.release.regrade_requests import Decision, RequestRules, ask, decide
from mograder.grading.release.releasing import take_back
from mograder.store.marking.regrade_requests import RegradeRequests
from tests.support.browser import People
from tests.support.feedback_pages import EVIL
from tests.support.gradebooks import AT
from tests.support.hub_app import Hub, open_hub
from tests.support.hub_pages import serving
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults, faults_at
from tests.support.released_course import ReleasedCourse, later, open_released_course

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]


@dataclass(frozen=True, slots=True)
class Served:
    """A hub at an address, with marks in its gradebook."""

    hub: Hub
    course: ReleasedCourse
    url: str


@pytest_asyncio.fixture(loop_scope="session")
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with open_hub(tmp_path / "course") as hub:
        hub.clock.advance((AT - hub.clock.now()).total_seconds())
        with open_released_course(hub.course) as course:
            course.mark("alice", 6, marker="marta")
            (hub.course / "marking.json").write_text('["A1"]\n')
            async with serving(hub) as url:
                yield Served(hub, course, url)


async def test_a_student_asks_and_the_mark_changes(
    served: Served, people: People, artifacts: Path
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    alice = await people.person("alice", headers=from_proxy("alice"))
    marta = await people.person("marta", headers=from_proxy("marta"))
    release = await prof.open(f"{served.url}/marking/A1/release")
    await release.get_by_role("textbox", name="Note").fill("To be taken back")
    await release.get_by_role("textbox", name="Note").press("Enter")
    await release.get_by_role("button", name="Release").click()
    await expect(release.get_by_text("2 students were released.")).to_be_visible()
    home = await alice.open(f"{served.url}/")
    await expect(home.get_by_text("13.5/20")).to_be_visible()
    await home.get_by_role("link", name="13.5/20 marks of A1: why").click()
    await expect(home.get_by_text("ValueError: ü")).to_be_visible()
    await ask_by_keyboard(home)
    await answer_and_change(await marta.open(f"{served.url}/marking/-/requests"))
    await home.reload()
    await expect(home.get_by_text("16 of 20 marks")).to_be_visible()
    await expect(home.get_by_text("6 → 8.5 (+2.5)")).to_be_visible()
    said = home.get_by_role("list", name="Messages").get_by_text("You are right.")
    await expect(said).to_be_visible()
    async with home.expect_popup() as opened:
        await home.get_by_role("link", name="See it with your notebook, as it ran").click()
    page = await opened.value
    await expect(page.get_by_text("16 of 20 marks")).to_be_visible()
    await expect(page.get_by_text("8.5 of 10 marks")).to_be_visible()
    await home.goto(f"{served.url}/")
    await expect(home.get_by_text("16/20")).to_be_visible()
    await expect(home.get_by_text("1 request decided")).to_be_visible()
    # A page that is left while it loads breaks off its stream of events or its icon.
    usual = ("/events", "ERR_ABORTED")
    notes = [note for each in (prof, alice, marta) for note in each.notes]
    assert [note for note in notes if not any(word in note for word in usual)] == []


async def ask_by_keyboard(page: Page) -> None:
    """Open the form of Essay and send it, without a mouse."""
    summary = page.get_by_text("Ask to look again at Essay")
    await summary.focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Is the second part not right?")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Your request was sent.")).to_be_visible()


async def answer_and_change(page: Page) -> None:
    """Open the only request, and give another mark, by the Enter key in its field."""
    await page.get_by_role("link", name="A1, Essay: request 1").click()
    await expect(page.get_by_text("Is the second part not right?")).to_be_visible()
    await page.get_by_label("Your words, which the student reads").fill("You are right.")
    await page.get_by_text("Give another mark").click()
    await page.get_by_label("New points of 10").fill("8.5")
    await page.get_by_label("New points of 10").press("Enter")
    await expect(page.get_by_text("The new mark is recorded.")).to_be_visible()


@pytest.mark.long
async def test_the_pages_of_marks_pass_axe_wide_on_a_phone_and_in_the_dark(
    served: Served, people: People, artifacts: Path
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    alice = await people.person("alice", headers=from_proxy("alice"))
    fill(served)
    wrong: list[str] = []
    for person, name, path in (
        (prof, "release", "/marking/A1/release?done=marks-release&item=2"),
        (prof, "requests", "/marking/-/requests"),
        (prof, "request", "/marking/A1/requests/1"),
        (prof, "request-decided", "/marking/A1/requests/2"),
        (prof, "feedback-preview", "/marking/A1/release/alice"),
        (alice, "marks", "/marks/alice/A1"),
        (alice, "home", "/"),
        (alice, "feedback", "/marks/alice/A1/page"),
    ):
        page = await person.context.new_page()
        address = served.url + path
        if name.startswith("feedback"):  # its policy allows no script, axe's neither
            await page.goto(address, wait_until="load")
            wrong += await faults(page, artifacts, name, EVERY_LOOK, axe=False)
        else:
            wrong += await faults_at(page, address, artifacts, name, EVERY_LOOK)
        await page.close()
    assert wrong == []


def fill(served: Served) -> None:
    """Have a request that waits and one that is decided, a changed mark, and one taken back."""
    course, rules = served.course, RequestRules(14, "marker")
    course.release()
    words = f"I think that the second part is right, since the area is the sum.\n\n{EVIL}"
    ask(course.book, rules, ("A1", "alice", "Essay"), words, later(1))
    ask(course.book, rules, ("A1", "alice", "Q1"), "Is 7.5 not too little?", later(2))
    requests = RegradeRequests(course.book)
    second = requests.find(2)
    made = Decision("prof", "It was a mistake of the check.", 9.0, second.last)
    decide(course.feedback(3), second, made)
    take_back(course.feedback(4), ["bob"], by="prof", note="The check was wrong.")
    course.mark("alice", 7, marker="marta")
    served.hub.clock.advance(600)
