"""Help and messages in the bar above a notebook, in Chromium: by keyboard, on a phone, in the dark.

The hub is the real app; the session's server is the test's (``framed_session``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from mograder.auth.credentials import Role
from tests.support.browser import People
from tests.support.framed_session import ITEM, Framed, Tab, framed
from tests.support.looks import faults

pytestmark = pytest.mark.full

LABEL = "Q1: the estimate"


@pytest_asyncio.fixture(loop_scope="session")
async def alices(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    """A hub on which alice has the notebook open."""
    async with framed(tmp_path, people) as found:
        yield found


async def as_prof(alices: Framed, path: str, **data: str) -> httpx.Response:
    """Send one of the board's forms."""
    async with alices.hub.client("prof", role=Role.INSTRUCTOR) as client:
        return await client.post(path, data=data)


async def asks(tab: Tab, words: str = "") -> None:
    """Ask for help with the first question, by the keyboard alone."""
    await tab.press(tab.page.get_by_role("button", name="Ask for help"), "Enter")
    await expect(tab.page.get_by_label("What is it about?")).to_be_focused()
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.type(words)
    await tab.page.keyboard.press("Enter")


async def test_a_student_asks_reads_who_comes_and_withdraws(
    alices: Framed, artifacts: Path
) -> None:
    tab = await alices.open()
    ask = tab.page.get_by_role("button", name="Ask for help")
    await ask.click()
    what = tab.page.get_by_label("What is it about?")
    await expect(what).to_be_focused()  # the form opens when the hub has told the questions
    assert await faults(tab.page, artifacts, "help-form", whole=False) == []
    await tab.press(what, "Escape")
    await expect(ask).to_be_focused()
    await asks(tab, "<img src=x onerror=alert(1)>")
    await expect(tab.page.get_by_text(f"You asked for help with {LABEL}. Waiting.")).to_be_visible()
    await expect(tab.page.get_by_role("button", name="Withdraw")).to_be_focused()
    await expect(ask).to_be_hidden()
    await as_prof(alices, f"/board/{ITEM}/help/alice/take")
    await expect(tab.page.get_by_text("prof has seen that you ask for help")).to_be_visible()
    assert await faults(tab.page, artifacts, "help-taken", whole=False) == []
    await tab.page.get_by_role("button", name="Withdraw").click()
    await expect(ask).to_be_focused()
    async with alices.hub.client("alice") as client:
        assert (await client.get(f"/help/alice/{ITEM}")).json()["asked"] is None


async def test_a_message_is_shown_at_once_in_later_pages_and_until_it_is_dismissed(
    alices: Framed, artifacts: Path
) -> None:
    tab = await alices.open()
    text = "Read <b>question 2</b> again."
    await as_prof(alices, f"/board/{ITEM}/messages", text=text, minutes="5")
    shown = tab.page.get_by_role("status").filter(has_text=f"Message from prof: {text}")
    await expect(shown).to_be_visible()
    assert await faults(tab.page, artifacts, "message", whole=False) == []
    await tab.page.reload()
    await expect(shown).to_be_visible()
    await tab.click(tab.page.get_by_role("button", name="Dismiss"))
    await expect(shown).to_have_count(0)
    await as_prof(alices, f"/board/{ITEM}/messages", text="Second.", minutes="5")
    second = tab.page.get_by_text("Second.")
    await expect(second).to_be_visible()
    await expect(shown).to_have_count(0)
    await as_prof(alices, f"/board/{ITEM}/messages/2")
    await expect(second).to_have_count(0)
    await as_prof(alices, f"/board/{ITEM}/messages", text="Well done.", minutes="5", to="alice")
    await expect(tab.page.get_by_text("Message from prof to you alone: Well done.")).to_be_visible()


async def test_a_message_is_not_hidden_by_a_dismissed_one_that_had_its_number(
    alices: Framed,
) -> None:
    """As in a course that begins anew at the address of an earlier one."""
    tab = await alices.open()
    await as_prof(alices, f"/board/{ITEM}/messages", text="First.", minutes="5")
    first = tab.page.get_by_text("First.")
    await expect(first).to_be_visible()
    await tab.click(tab.page.get_by_role("button", name="Dismiss"))
    await expect(first).to_have_count(0)
    kept = await tab.page.evaluate("Object.keys(localStorage)")
    assert [key for key in kept if "dismissed" in key] == [
        f"mograder-dismissed:/standing/alice/{ITEM}"
    ]

    async def begun_anew(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        for message in told["messages"]:
            message.update(text="Ten minutes left.", sent=message["sent"] + 1e6)
        await route.fulfill(response=answer, json=told)

    await tab.page.route("**/standing/**", begun_anew)
    await tab.page.reload()
    await expect(tab.page.get_by_text("Ten minutes left.")).to_be_visible()
    await tab.page.unroute_all(behavior="wait")
    async with tab.page.expect_response("**/standing/**"):
        await tab.page.reload()
    await expect(tab.page.locator("#fold[aria-expanded]")).to_be_visible()
    await expect(first).to_have_count(0)


async def test_a_message_is_shown_where_the_bar_is_folded_away(alices: Framed) -> None:
    tab = await alices.open()
    await tab.page.get_by_role("button", name="Bar").click()
    await expect(tab.page.get_by_role("banner")).to_be_hidden()
    await as_prof(alices, f"/board/{ITEM}/messages", text="Ten minutes left.", minutes="5")
    await expect(tab.page.get_by_text("Ten minutes left.")).to_be_visible()
    await tab.page.get_by_role("button", name="Bar").click()
    await tab.page.reload()
    await expect(tab.page.get_by_text("Ten minutes left.")).to_be_visible()


async def test_a_hostile_page_reads_no_help_and_sends_none(alices: Framed) -> None:
    """What the frame may ask of the page around it is as before."""
    tab = await alices.open()
    await tab.frame.evaluate(
        """() => {
          for (const mograder of ["help", "ask", "together", "message"])
            parent.postMessage({ mograder, label: "Q1", text: "forged" }, "*");
        }"""
    )
    await tab.frame.evaluate("parent.postMessage({ mograder: 'title', text: 'told' }, '*')")
    await expect(tab.page).to_have_title("told")
    assert await tab.page.locator(".class-line, #help-form").count() == 0
    async with alices.hub.client("alice") as client:
        assert (await client.get(f"/help/alice/{ITEM}")).json()["asked"] is None
