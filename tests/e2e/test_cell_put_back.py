"""A cell put back while its notebook is open: real marimo, in every origin, and on a node.

What is typed in another cell and not saved yet must be in the file afterwards, and the session's
variables must be there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Frame, Page, Route, expect

from tests.support import notebooks
from tests.support.browser import BUILT_WITHIN, People, Person, insert, notebook, saved_on_disk
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.node_processes import nodes_hub
from tests.support.shared_hub import HEADER, ORIGIN_EACH, SharedCaches, module_hub, until, workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ITEM = "A1-Back"
NOTEBOOK = HEADER + notebooks.notebook(
    """
    import marimo as mo

    kept = []
    """,
    '''
    @app.cell(hide_code=True)
    mo.md(r"""
    ## As handed out

    Some *words*.
    """)
    ''',
    """
    @app.cell
    def area(kept):
        area = 4711
        kept.append(area)
        print(kept)
        return
    """,
    """
    other = 0
    return
    """,
)


_IN_FRONT = """(shown) => {
    const value = shown ? "visible" : "hidden";
    Object.defineProperty(document, "visibilityState", { value, configurable: true });
    window.draw ??= window.requestAnimationFrame;
    window.requestAnimationFrame = shown ? window.draw : () => 0;
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""What a page is told, and that it draws nothing while its tab is hidden: here none ever is."""


def _prepare(course: Path) -> None:
    put_release(course, ITEM, NOTEBOOK)


@pytest.fixture(scope="module", params=["opaque", "origin-each", "node"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub whose sessions have an opaque origin, an origin each, or run on a node."""
    if request.param == "node":
        with nodes_hub("cell", caches, _prepare, {}) as nodes, nodes.node("one"):
            until(lambda: nodes.warm() == {"one"}, 300)
            yield nodes.hub
        return
    settings = ORIGIN_EACH if request.param == "origin-each" else None
    with module_hub("cell", caches, prepare=_prepare, settings=settings) as hub:
        yield hub


def copy_of(hub: HubProcess, user: str) -> Path:
    return workspace(hub, user, ITEM) / f"{ITEM}.py"


async def text_of(hub: HubProcess, user: str) -> str:
    """A student's notebook without the version of marimo that saved it."""
    text = await asyncio.to_thread(copy_of(hub, user).read_text)
    return re.sub(r"^__generated_with.*\n", "", text, flags=re.MULTILINE)


async def opened(hub: HubProcess, person: Person) -> tuple[Page, Frame]:
    """Open the notebook as its student, and wait until it has run."""
    page = await person.open(f"{hub.url}/edit/{ITEM}")
    await page.wait_for_url(f"**/edit/user/{person.name}/{ITEM}/", timeout=BUILT_WITHIN)
    frame = await notebook(page)
    await expect(frame.get_by_text("[4711]", exact=True)).to_be_visible()
    return page, frame


async def write(page: Page, frame: Frame, old: str, new: str) -> None:
    """Replace the code of a cell, and wait until the page has saved, perhaps an earlier change."""
    await frame.locator(".cm-content", has_text=old).click()
    await page.keyboard.press("ControlOrMeta+a")
    async with page.expect_response("**/api/kernel/save*"):
        await insert(frame, new)


async def bring(page: Page, *, to_front: bool) -> None:
    """Show the notebook's tab, or hide it behind another one."""
    for frame in page.frames:
        await frame.evaluate(_IN_FRONT, to_front)


async def put_back(hub: HubProcess, person: Person, editor: Page, cell: str) -> Page:
    """Press the button of a cell of the release in a tab in front, and return that tab's page."""
    await bring(editor, to_front=False)
    page = await person.open(f"{hub.url}/versions/{person.name}/{ITEM}/1?to=now")
    await page.get_by_role("button", name=re.compile(f"Put this cell back.*{cell}")).press("Enter")
    return page


async def test_the_editor_stays_open_and_keeps_what_is_typed_in_another_cell(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"))
    page, frame = await opened(hub, alice)
    await write(page, frame, "area = 4711", "area = 1\nkept.append(2)")
    await saved_on_disk(copy_of(hub, "alice"), "area = 1\n")
    typed_over = asyncio.Event()

    async def hold(route: Route) -> None:
        await typed_over.wait()
        await route.continue_()

    await page.route("**/api/kernel/save*", hold)
    await frame.locator(".cm-content", has_text="other = 0").click()
    await page.keyboard.press("Control+End")
    await insert(frame, "\nnot_saved = 1")
    putting = asyncio.create_task(put_back(hub, alice, page, "area"))  # it waits for the next page
    await expect(frame.locator(".cm-content", has_text="area = 4711")).to_be_visible()
    assert "not_saved" not in await text_of(hub, "alice")
    typed_over.set()
    versions = await putting
    await expect(versions.get_by_role("status")).to_contain_text("in the editor that is open")
    await versions.screenshot(path=artifacts / "cell-put-back.png")
    wanted = NOTEBOOK.replace("    other = 0\n", "    other = 0\n    not_saved = 1\n")
    assert await text_of(hub, "alice") == wanted
    await bring(page, to_front=True)
    await frame.locator(".cm-content", has_text="area = 4711").click()
    await page.keyboard.press("Control+Enter")
    await expect(frame.get_by_text("[4711, 4711]", exact=True)).to_be_visible()
    await page.screenshot(path=artifacts / "cell-put-back-editor.png")


async def test_a_cell_of_markdown_is_put_back_byte_for_byte(
    hub: HubProcess, people: People
) -> None:
    bob = await people.person("bob", headers=from_proxy("bob"))
    page, frame = await opened(hub, bob)
    await frame.get_by_role("heading", name="As handed out").dblclick()
    await write(page, frame, "As handed out", "## Mine")
    await saved_on_disk(copy_of(hub, "bob"), "## Mine")
    versions = await put_back(hub, bob, page, "")
    await expect(versions.get_by_role("status")).to_contain_text("in the editor that is open")
    assert await text_of(hub, "bob") == NOTEBOOK


async def test_a_cell_that_is_being_written_closes_the_editor_as_before(
    hub: HubProcess, people: People
) -> None:
    carol = await people.person("carol", headers=from_proxy("carol"))
    page, frame = await opened(hub, carol)
    await write(page, frame, "area = 4711", "area = 1\nkept.append(area)")
    await saved_on_disk(copy_of(hub, "carol"), "area = 1\n")
    await page.route("**/api/kernel/save*", lambda route: route.abort())
    await frame.locator(".cm-content", has_text="area = 1").click()
    await insert(frame, "\n# more")
    versions = await put_back(hub, carol, page, "area")
    await expect(versions.get_by_role("status")).to_contain_text("The cell is back.")
    await expect(versions.get_by_role("link", name="Open it again")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("Everything up to ")
    assert await text_of(hub, "carol") == NOTEBOOK
