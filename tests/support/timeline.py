"""A notebook with a timeline, for its tests and for the screenshots in the guides."""

from __future__ import annotations

from pathlib import Path

from mograder.core.names import ItemName, Username
from mograder.store.versions.versions import Origin
from tests.support.framed_session import ITEM, Framed

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
