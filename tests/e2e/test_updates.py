"""A correction of a published assignment reaches the copies that students have, and goes back.

The hub, its supervisor, marimo, bubblewrap and Chromium are real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import People, notebook
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, instructor, student
from tests.support.looks import faults_at, violations
from tests.support.shared_hub import HEADER, SharedCaches, module_hub, start, stop, workspace
from tests.support.updated_course import ANSWER, NEW, OLD, RIGHT, STAGES, WRONG

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

ITEM = "C1-Circles"
PEOPLE = {f"student{n:02}": list(STAGES)[n % len(STAGES)] for n in range(30)}
WORKING, OPENING = "student01", "student10"
OPEN = {WORKING, OPENING}
"""Both half done: one has the notebook open when the update is offered, one opens it after."""

_GENERATED = re.compile(r"^__generated_with = .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    def prepare(course: Path) -> None:
        put_release(course, ITEM, HEADER + OLD)

    with module_hub("updates", caches, prepare=prepare) as hub:
        yield hub


def file_of(hub: HubProcess, user: str) -> Path:
    """A student's notebook."""
    return workspace(hub, user, ITEM) / f"{ITEM}.py"


def begin(hub: HubProcess, user: str, text: str) -> None:
    """Give a student a copy, at the stage of the text."""
    with hub.client(student(user)) as client:
        client.post(f"/download/{ITEM}").raise_for_status()
        if text == HEADER + OLD:
            return
        # Recorded as the hub does before it replaces a text: the copy comes from the release.
        client.post(
            f"/upload/{user}/{ITEM}", files={"file": (f"{ITEM}.py", (HEADER + OLD).encode())}
        )
        answer = client.post(
            f"/upload/{user}/{ITEM}", files={"file": (f"{ITEM}.py", text.encode())}
        )
    if answer.is_error:  # what does not parse is no upload; an editor saves it all the same
        file_of(hub, user).write_text(text)


def texts(hub: HubProcess) -> dict[str, str]:
    """All students' notebooks, but for the version of the marimo that saved them."""
    found = {user: file_of(hub, user).read_text() for user in PEOPLE}
    return {user: _GENERATED.sub("", text) for user, text in found.items()}


async def open_editor(people: People, hub: HubProcess, user: str) -> Page:
    """A student opens the notebook and sees it."""
    person = await people.person(user, headers=from_proxy(user))
    page = await person.open(f"{hub.url}/edit/{ITEM}")
    await page.wait_for_url(f"**/edit/user/{user}/{ITEM}/**")
    frame = await notebook(page)
    await expect(frame.locator(".cm-content").first).to_be_visible()
    return page


def publish(hub: HubProcess) -> None:
    """The author publishes the correction."""
    with hub.client(instructor()) as client:
        files = [("files", (f"{ITEM}.py", (HEADER + NEW).encode()))]
        answer = client.post(f"/publish/{ITEM}", params={"type": "assignment"}, files=files)
    assert answer.json()["status"] == "ok"


async def preview(hub: HubProcess, page: Page) -> dict[str, dict[str, Any]]:
    """The author computes a preview in the browser; returns its lines by student."""
    await page.get_by_role("link", name="Update copies").click()
    await page.get_by_role("button", name="Preview the update").click()
    await expect(page.get_by_role("button", name="Offer the update")).to_be_visible()
    with hub.client(instructor()) as client:
        lines = client.get(f"/updates/{ITEM}").json()["preview"]["copies"]
    return {line["student"]: line for line in lines}


async def look_at_one(page: Page) -> None:
    """The author looks at one student's result, cell by cell."""
    await page.get_by_role("link", name=f"Look at the result for {WORKING}", exact=True).click()
    await expect(page.locator("ins", has_text=RIGHT)).to_be_visible()
    await expect(page.locator("del", has_text=WRONG)).to_be_visible()
    await page.go_back()


async def take_in_the_bar(page: Page) -> None:
    """A student with the notebook open takes the update, and works on in the merged copy."""
    bar = page.locator("#update")
    # Not at their places, which the bar has just moved (`framed_session.Tab.click`).
    await page.get_by_role("button", name="Take the update").dispatch_event("click")
    await expect(bar).to_contain_text("This closes the editor")
    await page.get_by_role("button", name="Take it now").dispatch_event("click")
    await expect(bar).to_contain_text("This notebook has the author’s corrections.")
    frame = await notebook(page)
    await expect(frame.locator(".cm-content").first).to_be_visible()


def take(hub: HubProcess, user: str, line: dict[str, Any]) -> None:
    """A student takes the update without an editor; it does what the preview said."""
    with hub.client(student(user)) as client:
        answer = client.post(f"/update/{user}/{ITEM}").json()
    assert answer["state"] == ("refused" if line["reason"] else "merged"), user
    for kind in ("replaced", "added", "removed", "conflicts"):
        assert len(answer[kind]) == line[kind], (user, kind)


def check_merged(before: dict[str, str], after: dict[str, str]) -> None:
    """Every copy has the correction and its student's answer, but those that do not parse."""
    for user, text in after.items():
        broken = PEOPLE[user] == "broken"
        assert (text == before[user]) is broken, user
        assert (RIGHT in text, WRONG in text) == (not broken, broken), user
        if PEOPLE[user] not in ("untouched", "broken"):
            assert ANSWER in text, user


async def test_a_correction_reaches_thirty_copies_as_previewed_and_undo_brings_each_back(
    hub: HubProcess, people: People
) -> None:
    for user, stage in PEOPLE.items():
        begin(hub, user, HEADER + STAGES[stage])
    before = texts(hub)
    working = await open_editor(people, hub, WORKING)
    publish(hub)
    prof = await people.person("prof", headers=instructor())
    page = await prof.open(f"{hub.url}/course/items/{ITEM}")
    planned = await preview(hub, page)
    assert texts(hub) == before
    assert set(planned) == set(PEOPLE)
    assert {PEOPLE[user] for user, line in planned.items() if line["reason"]} == {"broken"}
    assert {PEOPLE[user] for user, line in planned.items() if line["conflicts"]} == {"text"}
    await look_at_one(page)

    await page.get_by_role("button", name="Offer the update").click()
    await expect(page.get_by_text("The update is offered.")).to_be_visible()
    bar = working.locator("#update")
    await expect(bar).to_contain_text("The author has corrected this notebook.")
    assert texts(hub)[WORKING] == before[WORKING]
    assert await violations(working, "the bar") == []
    await take_in_the_bar(working)
    await open_editor(people, hub, OPENING)
    for user in sorted(PEOPLE.keys() - OPEN):
        take(hub, user, planned[user])
    after = texts(hub)
    check_merged(before, after)

    await page.get_by_role("button", name="Undo the update").click()
    await expect(page.get_by_text("The update is withdrawn.")).to_be_visible()
    assert texts(hub) == before | {user: after[user] for user in OPEN}
    for user in OPEN:
        stop(hub, user, ITEM)
        start(hub, user, ITEM)
        stop(hub, user, ITEM)
    assert texts(hub) == before


async def test_the_pages_of_an_update_work_on_a_phone_in_the_dark_and_with_axe(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    with hub.client(instructor()) as client:
        client.post(f"/updates/{ITEM}").raise_for_status()
    prof = await people.person("prof", headers=instructor())
    owner = await people.person("student04", headers=from_proxy("student04"))
    wrong: list[str] = []
    for who, path, name in (
        (prof, f"/course/updates/{ITEM}", "update"),
        (prof, f"/course/updates/{ITEM}/student04", "update-look"),
        (owner, f"/update/student04/{ITEM}", "update-copy"),
    ):
        page = await who.context.new_page()
        wrong += await faults_at(page, f"{hub.url}{path}", artifacts, name)
    assert wrong == []
