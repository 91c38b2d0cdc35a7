"""The features of marimo's page for a student, and the refusal of others.

sessions.md, "What is switched off": real Chromium, the whole hub, the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Frame, expect

from tests.support.browser import BUILT_WITHIN, People
from tests.support.browser import notebook as notebook_of
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.shared_hub import HEADER, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]

ALLOWING = HEADER.replace("# ///\n\n", '# [tool.mograder]\n# allow = ["ai", "terminal"]\n# ///\n\n')
SHOWN = 'f"it runs {6 * 7}"'


async def test_the_page_offers_what_works_and_the_rest_is_refused(
    start_hub: Callable[..., HubProcess], people: People, work_directory: Path
) -> None:
    """B50: a guest comes without any sign-in."""
    course = work_directory / "course"
    course.mkdir()
    put_release(course, "A1", notebook(SHOWN))
    put_release(course, "A2", notebook(SHOWN, ALLOWING))
    hub = start_hub(course, dev=True)
    guest = await people.person("guest")
    page = await guest.open(f"{hub.url}/edit/A1")
    await page.wait_for_url("**/edit/user/**", timeout=BUILT_WITHIN)
    editor = await notebook_of(page)
    await expect(editor.get_by_text("it runs 42")).to_be_visible()
    config = await _config(editor)
    assert config["ai"]["enabled"] is False
    assert config["completion"]["copilot"] is False
    assert config["save"]["autosave"] == "after_delay"
    assert config["runtime"]["auto_instantiate"] is True
    assert await _opens(editor, "terminal/ws") is False
    assert await _status(editor, "api/packages/add") == 403
    guest.notes.clear()
    await _change_a_setting(editor)
    assert not [note for note in guest.notes if "ERR_ABORTED" not in note]

    page = await guest.open(f"{hub.url}/edit/A2")
    await page.wait_for_url("**/edit/user/**")
    editor = await notebook_of(page)
    await expect(editor.get_by_text("it runs 42")).to_be_visible()
    assert (await _config(editor))["ai"]["enabled"] is True
    assert await _opens(editor, "terminal/ws") is True
    assert await _status(editor, "api/packages/add") == 403


async def _config(editor: Frame) -> dict[str, Any]:
    """The settings that marimo's server wrote into the page."""
    return dict(
        await editor.evaluate(
            "JSON.parse(document.querySelector('marimo-user-config').dataset.config)"
        )
    )


async def _opens(editor: Frame, path: str) -> bool:
    script = """path => new Promise(done => {
        const url = new URL(path, document.baseURI);
        url.protocol = "ws:";
        const socket = new WebSocket(url);
        socket.onopen = () => { socket.close(); done(true); };
        socket.onerror = () => done(false);
    })"""
    return bool(await editor.evaluate(script, path))


async def _status(editor: Frame, path: str) -> int:
    script = "path => fetch(path, {method: 'POST', body: '{}'}).then(answer => answer.status)"
    return int(await editor.evaluate(script, path))


async def _change_a_setting(editor: Frame) -> None:
    await editor.get_by_test_id("app-config-button").click()
    await editor.get_by_role("button", name="User settings").click()
    async with editor.page.expect_response("**/api/kernel/save_user_config") as answered:
        await editor.get_by_role("checkbox", name="Signature hints").click()
    assert (await answered.value).status == 200
