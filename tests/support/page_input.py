"""Two ways to use a page: by mouse, and by keyboard alone (WCAG 2.1.1, 2.4.7).

The keyboard goes from one thing to the next with Tab as a person does, so a thing that the order
of tabs never reaches, or that does not show its focus, fails the journey.
"""

from __future__ import annotations

from typing import Protocol

from playwright.async_api import FileChooser, Locator, Page, expect

from tests.support.browser import notebook

_MOST_TABS = 250
_HAS_FOCUS = "element => element === document.activeElement"
_SHOWS_FOCUS = """element => {
  const style = getComputedStyle(element);
  return style.outlineStyle !== "none" || style.boxShadow !== "none";
}"""


class PageInput(Protocol):
    """The actions that a journey performs, by mouse or by keyboard."""

    async def press(self, page: Page, what: Locator) -> None:
        """Follow a link, press a button or open a disclosure."""

    async def choose(self, page: Page, what: Locator) -> None:
        """Choose one of several radio buttons."""

    async def write(self, page: Page, what: Locator, text: str) -> None:
        """Put the cursor at the end of a field and type."""

    async def pick(self, page: Page, field: Locator) -> FileChooser:
        """Open the browser's file chooser."""

    async def enter_editor(self, page: Page) -> None:
        """Put the cursor into a cell of an editor."""


class Mouse:
    """Clicks, and types where it has clicked."""

    async def press(self, page: Page, what: Locator) -> None:
        await what.click()

    async def choose(self, page: Page, what: Locator) -> None:
        await what.click()

    async def write(self, page: Page, what: Locator, text: str) -> None:
        await what.click()
        await page.keyboard.press("Control+End")
        await page.keyboard.type(text)

    async def pick(self, page: Page, field: Locator) -> FileChooser:
        async with page.expect_file_chooser() as asked:
            await field.click()
        return await asked.value

    async def enter_editor(self, page: Page) -> None:
        editor = await notebook(page)
        await editor.locator(".cm-content:visible", has_text="import marimo").first.click()


class Keyboard:
    """Tab, Enter, the arrows, and typing."""

    async def press(self, page: Page, what: Locator) -> None:
        await self._go(page, what)
        await page.keyboard.press("Enter")

    async def choose(self, page: Page, what: Locator) -> None:
        """Tab leads to the one that is chosen, the arrows from there."""
        name = await what.get_attribute("name")
        group = what.locator("xpath=ancestor::fieldset[1]").locator(f"input[name={name}]")
        await self._go(page, group.and_(page.locator(":checked")))
        for _ in range(await group.count()):
            if await what.is_checked():
                return
            await page.keyboard.press("ArrowDown")
        raise AssertionError("the arrows never choose it")

    async def write(self, page: Page, what: Locator, text: str) -> None:
        await self._go(page, what)
        await page.keyboard.press("Control+End")
        await page.keyboard.type(text)

    async def pick(self, page: Page, field: Locator) -> FileChooser:
        # The browser is told first, and asked where the focus is after that: what follows at once
        # may come before it knows that it is to hand the chooser over.
        async with page.expect_file_chooser() as asked:
            await self._go(page, field)
            await page.keyboard.press("Enter")
        return await asked.value

    async def enter_editor(self, page: Page) -> None:
        editor = await notebook(page)
        for _ in range(_MOST_TABS):
            await page.keyboard.press("Tab")
            if await editor.evaluate("document.activeElement.matches('.cm-content')"):
                return
        raise AssertionError("the keyboard never gets into a cell")

    async def _go(self, page: Page, what: Locator) -> None:
        await expect(what).to_be_visible()
        for _ in range(_MOST_TABS):
            if await what.evaluate(_HAS_FOCUS):
                assert await what.evaluate(_SHOWS_FOCUS), f"{what} does not show that it has focus"
                return
            await page.keyboard.press("Tab")
        raise AssertionError(f"the keyboard never reaches {what}")
