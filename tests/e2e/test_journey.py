"""The main path in real Chromium: publish, deep link, edit, autosave, reload, stop.

B48, B53, B54, B58, B61-B72, B86-B99, B114-B125.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import BUILT_WITHIN, People, Person, insert, notebook
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import from_proxy, instructor_token
from tests.support.prefix_proxy import PrefixProxy

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

ASSIGNMENT = "A1-Measuring-Pi"
LECTURE = "L01-Random-Numbers"
TYPED = "print('typed', 6 * 7)"
SAVED_WITHIN = 60.0


async def test_a_student_comes_by_a_deep_link_edits_reloads_and_stops(
    start_hub: Callable[..., HubProcess], people: People
) -> None:
    """B48, B53, B54, B66, B68, B72, B114, B123."""
    hub = start_hub()
    publish(hub, hub.url, ASSIGNMENT, "--force")
    alice = await people.person("alice", headers=from_proxy("alice"))
    await edit_journey(alice, hub.url, hub.course / "hub-notebooks" / "alice")


@pytest.mark.long  # test_fronts.py opens an editor behind a front in every run
@pytest.mark.parametrize("strips", [True, False], ids=["stripping", "passing-on"])
async def test_the_same_below_a_path_prefix_behind_nginx(
    start_hub: Callable[..., HubProcess],
    start_front: Callable[..., PrefixProxy],
    people: People,
    strips: bool,
) -> None:
    settings = {} if strips else {"hub.base_url": "/live/hub"}
    hub = start_hub(settings=settings)
    front = start_front(hub, strips=strips, remote_user="alice")
    # Past the front, which would name alice for this request too.
    publish(hub, hub.url, ASSIGNMENT, "--force")
    alice = await people.person("alice")
    await edit_journey(alice, front.url, hub.course / "hub-notebooks" / "alice")
    publish(hub, hub.url, LECTURE)
    await lecture_journey(alice, front.url)


async def test_a_lecture_runs_read_only_with_its_code_in_sight(
    start_hub: Callable[..., HubProcess], people: People
) -> None:
    """B60, B61, B62, B63, B67, B125; its links lead to other published items (B64)."""
    hub = start_hub()
    publish(hub, hub.url, ASSIGNMENT, "--force")
    publish(hub, hub.url, LECTURE)
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await lecture_journey(alice, hub.url)
    link = (await notebook(page)).locator("a", has_text=re.compile("A1|Pi|pi")).first
    async with alice.context.expect_page() as opened:
        await link.click(modifiers=["Control"])
    editor = await opened.value
    await editor.wait_for_url(f"**/edit/user/alice/{ASSIGNMENT}/")


async def edit_journey(person: Person, base: str, notebooks: Path) -> None:
    """Deep link → editor → type and run a cell → on disk → reload → stop."""
    page = await person.open(f"{base}/edit/{ASSIGNMENT}")
    await page.wait_for_url(f"**/edit/user/*/{ASSIGNMENT}/", timeout=BUILT_WITHIN)
    await type_into_a_new_cell(page, TYPED)
    await expect((await notebook(page)).get_by_text("typed 42")).to_be_visible()
    copy = notebooks / ASSIGNMENT / f"{ASSIGNMENT}.py"
    await until(lambda: TYPED in copy.read_text("utf-8"))
    first = await session_of(person, base)
    await page.reload()
    await expect((await notebook(page)).get_by_text("typed 42")).to_be_visible()
    assert await session_of(person, base) == first, "the reload found the same session"
    dashboard = await person.open(f"{base}/")
    await dashboard.get_by_role("button", name=re.compile("Stop")).first.click()
    await expect(dashboard.get_by_role("button", name=re.compile("Stop"))).to_have_count(0)
    assert await session_of(person, base) is None
    assert TYPED in copy.read_text("utf-8")


async def lecture_journey(person: Person, base: str) -> Page:
    page = await person.open(f"{base}/run/{LECTURE}")
    await page.wait_for_url(f"**/run/user/*/{LECTURE}/?*", timeout=BUILT_WITHIN)
    lecture = await notebook(page)
    await expect(lecture.get_by_role("heading").first).to_be_visible()
    await expect(lecture.locator(".cm-editor, pre code, .marimo-cell code").first).to_be_attached()
    assert await lecture.locator("[data-testid=create-cell-button]").count() == 0
    return page


async def type_into_a_new_cell(page: Page, code: str) -> None:
    """Append a cell as a person does: the button below the last one, type, Ctrl+Enter."""
    editor = await notebook(page)
    await expect(editor.locator(".cm-content").first).to_be_visible()
    # The outputs of a long notebook come one by one and push the button down: wait for the end.
    await editor.wait_for_load_state("networkidle")
    await expect(editor.get_by_text("Your Score").first).to_be_visible()
    await editor.get_by_role("button", name="Python", exact=True).last.click()
    await expect(editor.locator(".cm-content:focus")).to_be_visible()
    await insert(editor, code)
    await page.keyboard.press("Control+Enter")


async def session_of(person: Person, base: str) -> str | None:
    """Return the person's running sessions as one comparable text."""
    answer = await person.context.request.get(f"{base}/sessions")
    rows = await answer.json()
    return (
        str([(row["username"], row["assignment"], row["mode"]) for row in rows]) if rows else None
    )


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something on disk; the editor saves a second after the last key."""
    async with asyncio.timeout(SAVED_WITHIN):
        while not holds():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.1)


def publish(hub: HubProcess, url: str, item: str, *options: str) -> None:
    """Publish from the course's release directory, by the command that an instructor uses."""
    done = run_mograder(
        *("hub", "publish", item, "--url", url, "--token", instructor_token(), *options),
        cwd=hub.course,
    )
    assert done.status == 0, done.output + done.errors
