"""A notebook with a timeline, for its tests and for the screenshots in the guides.

``python -m tests.support.timeline_pictures DIRECTORY`` writes these, as the script
``scripts.docs_screenshots`` does with ``--only timeline``.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from mograder.core.names import ItemName, Username
from mograder.store.versions.versions import Origin
from tests.support.browser import People, chromium
from tests.support.framed_session import ITEM, Framed, framed
from tests.support.identity import from_proxy

_CELL = "\n\n@app.cell\ndef {}():\n{}\n    return\n"
_END = '\n\nif __name__ == "__main__":\n    app.run()\n'
_IMPORTS = "from random import random"
_DARTS = "inside = 0\nfor _ in range(1000):\n    x, y = random(), random()\n    {}"
_COUNTED = "inside += x * x + y * y < 1"
_ESTIMATE = "pi = 4 * inside / 1000\nprint(pi)"


def text(**cells: str) -> str:
    """A notebook of these cells, by name."""
    indented = {
        name: "\n".join(f"    {line}" for line in code.split("\n")) for name, code in cells.items()
    }
    body = "".join(_CELL.format(name, code) for name, code in indented.items())
    return f"import marimo\n\napp = marimo.App()\n{body}{_END}"


STATES = (
    text(imports=_IMPORTS, darts="inside = ...\n# YOUR CODE HERE\npass"),
    text(imports=_IMPORTS, darts=_DARTS.format(_COUNTED)),
    text(imports=_IMPORTS, darts=_DARTS.format(_COUNTED), estimate=_ESTIMATE),
    text(imports=f"{_IMPORTS}, seed", darts=_DARTS.format("inside += x + y < 1"), notes="seed(1)"),
)
"""A student's notebook, from the release to the present; in the last one ``estimate`` is gone."""

_ORIGINS = (Origin.RELEASE, Origin.EDITOR, Origin.UPLOAD, Origin.EDITOR)


def copy_of(scene: Framed) -> Path:
    """Alice's notebook."""
    return scene.hub.course / "hub-notebooks" / "alice" / ITEM / f"{ITEM}.py"


def live_through(scene: Framed) -> None:
    """Let alice's notebook have been in all these states, and once not be saved."""
    hub = scene.hub
    record = hub.services.recorder.versions.record
    user, item = Username("alice"), ItemName(ITEM)
    for origin, state in zip(_ORIGINS, STATES, strict=True):
        record(user, item, state.encode(), origin, hub.clock.now())
        hub.clock.advance(1234)
    unsaved = STATES[-1].replace("seed(1)", "seed(1)\n    print(inside)")
    record(user, item, unsaved.encode(), Origin.UNSAVED, hub.clock.now())
    copy_of(scene).write_text(STATES[-1])


async def take_pictures(into: Path) -> None:
    """Write the pictures into a directory."""
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        async with chromium() as browser:
            people = People(browser)
            async with framed(Path(place), people) as scene:
                live_through(scene)
                await _take(scene, people, into)
            await people.close()


async def _take(scene: Framed, people: People, into: Path) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"))
    address = f"{scene.address}/versions/alice/{ITEM}"
    for name, path in (("versions", ""), ("version-changes", "/3?to=now")):
        page = await alice.open(address + path)
        await page.set_viewport_size({"width": 960, "height": 800})
        await page.wait_for_load_state("load")
        picture = page.locator("main")
        await picture.screenshot(path=into / f"{name}.png", animations="disabled", caret="hide")


if __name__ == "__main__":
    asyncio.run(take_pictures(Path(sys.argv[1])))
