"""An assignment that its author corrects, and copies of it in all stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mograder.core.names import ItemName, Username
from mograder.store.versions.kept_releases import KeptReleases
from tests.support import releases
from tests.support.hub_app import Hub
from tests.support.notebooks import notebook

ITEM = "A1"
OLD = notebook(
    """
    @app.cell(hide_code=True)
    import marimo as mo

    return (mo,)
    """,
    '''
    @app.cell(hide_code=True)
    mo.md("""
    Compute the area of a circle of radius 2.
    """)
    ''',
    """
    from mograder.runtime import check

    return (check,)
    """,
    """
    # YOUR ANSWER
    area = 0
    """,
    'check("Q1: the area", [(area == 12, "The area is wrong.")])',
    """
    # YOUR ANSWER
    around = 0
    """,
    'check("Q2: the circumference", [(abs(around - 12.566) < 0.01, "It is wrong.")])',
    head="""\
import marimo

__generated_with = "0.23.9"
app = marimo.App()
""",
)
"""As marimo itself writes it: opening it in the editor changes no more than the version."""

WRONG, RIGHT = "(area == 12", "(abs(area - 12.566) < 0.01"
NEW = OLD.replace(WRONG, RIGHT).replace("of a circle of radius 2", "of a disc of radius 2")
ANSWER = "area = 3.14159 * 2**2"
HALF = OLD.replace("# YOUR ANSWER\n    area = 0", ANSWER)
DONE = HALF.replace("# YOUR ANSWER\n    around = 0", "around = 2 * 3.14159 * 2")
BROKEN = HALF.replace("= 3.14159", "= (3.14159")
TEXT_CHANGED = HALF.replace("Compute the area of a circle", "Compute the area of my circle")


def _cells(text: str) -> tuple[str, list[str], str]:
    head, *cells = text.split("@app.cell")
    body, foot = cells[-1].split("\n\n\nif __name__")
    return (
        head,
        [f"@app.cell{each}" for each in (*cells[:-1], f"{body}\n\n\n")],
        f"if __name__{foot}",
    )


def with_cells(text: str, change: Callable[[list[str]], list[str]]) -> str:
    """Return a notebook with its cells in another order or number."""
    head, cells, foot = _cells(text)
    return head + "".join(change(cells)) + foot


MOVED = with_cells(HALF, lambda cells: [*cells[:3], *cells[5:7], *cells[3:5]])
DUPLICATED = with_cells(HALF, lambda cells: [*cells[:2], cells[1], *cells[2:]])
DELETED = with_cells(HALF, lambda cells: [*cells[:1], *cells[2:]])
OWN_CELL = with_cells(
    HALF,
    lambda cells: [*cells[:4], "@app.cell\ndef _():\n    mine = 42\n    return\n\n\n", *cells[4:]],
)
STAGES: Mapping[str, str] = {
    "untouched": OLD,
    "half": HALF,
    "done": DONE,
    "broken": BROKEN,
    "text": TEXT_CHANGED,
    "moved": MOVED,
    "duplicated": DUPLICATED,
    "deleted": DELETED,
    "own": OWN_CELL,
}


def publish(hub: Hub, text: str, files: Mapping[str, bytes] | None = None) -> None:
    """Put a release of the item in place, as the hub publishes it."""
    own = {f"{ITEM}.py": text.encode(), **(files or {})}
    release = releases.publish(hub.services.releases, own, ITEM)
    KeptReleases(hub.engine).keep(release, hub.clock.now())


def take_copy(hub: Hub, user: str, text: str | None = None) -> Path:
    """Give a student a copy of the published release, perhaps edited; return the notebook."""
    name, item = Username(user), ItemName(ITEM)
    release = hub.services.releases.get(item)
    assert release is not None
    hub.services.workspaces.ensure(name, release)
    hub.services.recorder.look(name, item)
    notebook = hub.services.workspaces.notebook(name, item)
    if text is not None and text != notebook.read_text():
        notebook.write_text(text)
        hub.services.recorder.look(name, item)
    return notebook


def correct(hub: Hub, text: str = NEW, files: Mapping[str, bytes] | None = None) -> None:
    """Publish the corrected release, some time after the copies were made."""
    hub.clock.advance(3600)
    publish(hub, text, files)
