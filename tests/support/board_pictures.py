"""The screenshot of a board in the guides.

``python -m tests.support.board_pictures DIRECTORY`` writes it, as the script
``scripts.docs_screenshots`` does with ``--only board``.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import expect

from tests.support.browser import People, chromium
from tests.support.hub_pages import course, serving, work
from tests.support.identity import from_proxy

_ITEM = "A1-Measuring-Pi"


async def take_picture(into: Path) -> None:
    """Write the picture into a directory."""
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        hub = await course(Path(place) / "course")
        async with serving(hub) as address, chromium() as browser:
            await work(hub, address)
            people = People(browser)
            prof = await people.person("prof", headers=from_proxy("prof"))
            page = await prof.context.new_page()
            await page.set_viewport_size({"width": 1000, "height": 1140})
            await page.goto(f"{address}/board/{_ITEM}")
            await expect(page.locator("#lines tr")).to_have_count(12)
            await page.screenshot(path=into / "board.png")
            await people.close()
        hub.close()


if __name__ == "__main__":
    asyncio.run(take_picture(Path(sys.argv[1])))
