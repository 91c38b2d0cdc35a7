"""The screenshots of updates in the guides: started by the script for all.

``python -m tests.support.update_pictures DIRECTORY`` writes them, as ``scripts.docs_screenshots``
does with ``--only updates``. The hub is the tests', with its real pages and merges, and without
sandboxes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx

from mograder.auth.roles import Role
from mograder.auth.tokens import make_token
from tests.support.browser import People, chromium
from tests.support.hub_app import SECRET, make_hub
from tests.support.hub_pages import serving
from tests.support.identity import from_proxy
from tests.support.updated_course import ITEM, OLD, STAGES, correct, publish, take_copy

_SETTINGS = 'title = "Numerical Experiments"\n[hub]\ninstructors = ["teacher"]\n'
_NAMES = ("alice", "bob", "cleo", "dan", "emma", "finn", "gil", "hana", "ivo")
_WIDTH = 1120


def take_pictures(into: Path) -> None:
    """Write the pictures into a directory."""
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        asyncio.run(_take(Path(place), into))


async def _take(place: Path, into: Path) -> None:
    hub = make_hub(place / "course", _SETTINGS)
    publish(hub, OLD)
    for name, text in zip(_NAMES, STAGES.values(), strict=True):
        take_copy(hub, name, text)
    correct(hub)
    token = make_token(SECRET, "teacher", Role.INSTRUCTOR)
    async with serving(hub) as address, chromium() as browser:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
            (await client.post(f"/updates/{ITEM}/preview")).raise_for_status()
        people = People(browser)
        teacher = await people.person("teacher", headers=from_proxy("teacher"))
        page = await teacher.open(f"{address}/course/updates/{ITEM}")
        await page.set_viewport_size({"width": _WIDTH, "height": 900})
        picture = into / "update-page.png"
        await page.locator("main").screenshot(path=picture, animations="disabled", caret="hide")
        await people.close()
    hub.close()


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
