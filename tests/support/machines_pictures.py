"""The screenshot of the page of machines in the guides.

``python -m tests.support.machines_pictures DIRECTORY`` writes it, as the script
``scripts.docs_screenshots`` does with ``--only machines``.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Engine

from tests.support.browser import People, chromium
from tests.support.framed_session import framed
from tests.support.identity import from_proxy
from tests.support.joined_nodes import GIGABYTE, connected, lapse

_SETTINGS = "[nodes]\nenabled = true\n"
_MEMORY = 58 * GIGABYTE


def _fill(engine: Engine) -> None:
    """Have the nodes of the guide's list."""
    for name, count, used, load in (("node-1", 47, 5.1, 2.3), ("node-2", 12, 1.4, 0.4)):
        connected(
            engine,
            name,
            version="1.4.0",
            sessions=tuple(f"{name}-{each}" for each in range(count)),
            memory=_MEMORY,
            used=int(used * GIGABYTE),
            processors=8,
            load=load,
            draining=name == "node-2",
        )
    connected(engine, "node-3", version="1.4.0")
    lapse(engine, "node-3")


async def take_picture(into: Path) -> None:
    """Write the picture into a directory."""
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        async with chromium() as browser:
            people = People(browser)
            async with framed(Path(place), people, settings=_SETTINGS) as scene:
                prof = await people.person("prof", headers=from_proxy("prof"))
                page = await prof.context.new_page()
                await page.set_viewport_size({"width": 1000, "height": 870})
                _fill(scene.hub.engine)
                await page.goto(f"{scene.address}/course/machines")
                await page.screenshot(path=into / "machines.png")
                await people.close()


if __name__ == "__main__":
    asyncio.run(take_picture(Path(sys.argv[1])))
