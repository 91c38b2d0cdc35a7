"""A marker at the marking page in Chromium, with nothing but a keyboard."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.async_api import Dialog, Locator, Page, expect

from tests.support.browser import People
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.marking_course import A


@dataclass
class Desk:
    """A marker at the page, with nothing but a keyboard."""

    page: Page
    asked_to_stay: list[str] = field(default_factory=list)

    @property
    def saved(self) -> Locator:
        return self.page.locator("#saved")

    @property
    def title(self) -> Locator:
        return self.page.locator("#place")

    @property
    def comment(self) -> Locator:
        return self.page.get_by_label("Comment", exact=True)

    @property
    def points(self) -> Locator:
        return self.page.get_by_label("Points", exact=True)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def write(self, key: str, text: str) -> None:
        """Go to a field by its key, write, and leave it."""
        await self.press(key)
        await self.page.keyboard.type(text)
        await self.press("Escape")

    async def put(self, key: str, text: str) -> None:
        """As :meth:`write`, in one step: what is half written, and saved, would be one more."""
        await self.press(key)
        await self.page.keyboard.insert_text(text)
        await self.press("Escape")

    async def answer(self) -> str:
        """Return the name of the answer that is shown."""
        return str(await self.page.evaluate("new URL(location.href).searchParams.get('answer')"))

    async def onward(self, key: str = "n") -> None:
        """Go to the next unmarked answer, which is another one."""
        before = await self.title.text_content() or ""
        await self.press(key)
        await expect(self.title).not_to_have_text(before)

    async def new_item(self, text: str, points: str) -> None:
        """Add an item to the rubric; it is turned on for this answer."""
        await self.press("i")
        await self.page.keyboard.type(text)
        await self.press("Tab")
        await self.page.keyboard.type(points)
        await self.press("Control+Enter")
        await expect(
            self.page.get_by_role("checkbox", name=text.split("*", maxsplit=1)[0])
        ).to_be_checked()
        await self.press("Escape")

    async def is_saved(self) -> None:
        await expect(self.saved).to_have_text("Saved")


async def sit_down(people: People, hub: HubProcess, name: str, path: str) -> Desk:
    """Open a page of marking as this person."""
    person = await people.person(name, headers=from_proxy(name))
    page = await person.open(f"{hub.url}/marking/{A}/{path}")
    desk = Desk(page)

    async def stay(dialog: Dialog) -> None:
        desk.asked_to_stay.append(dialog.type)
        await dialog.accept()

    page.on("dialog", stay)
    await expect(page.locator("#desk")).to_be_visible()
    return desk
