"""The JSON of copies' timelines, beside ``support.models``."""

from __future__ import annotations

from mograder.notebook.versions.version_diff import CellChange, LineChange
from mograder.store.versions.versions import Origin
from mograder.web.hub.core.models import Body, Done


class VersionEntry(Body):
    """A version of a copy; ``saved`` is a Unix time, ``size`` in bytes.

    ``origin`` is what saved it, ``present`` whether it is the copy's text now.
    """

    number: int
    saved: float
    origin: Origin
    digest: str
    size: int
    present: bool


class LineEntry(Body):
    """A line of a difference; the text of a folded one is the number of unchanged lines."""

    change: LineChange
    text: str


class CellChanges(Body):
    """What became of one cell; ``before`` and ``after`` are its indexes in the two versions.

    ``heading`` is the nearest one above it or in it.
    """

    change: CellChange
    moved: bool
    name: str
    before: int | None
    after: int | None
    lines: list[LineEntry]
    heading: str = ""


class VersionChanges(Body):
    """The difference between two versions: cells that differ, and lines outside of cells.

    ``problem`` says why the texts were compared by lines only, or is "". ``cut`` is whether there
    are more lines than are told here.
    """

    earlier: int
    later: int
    cells: list[CellChanges]
    outside: list[LineEntry]
    problem: str
    cut: bool


class CellRestored(Done):
    """One cell of a version is in the notebook again; ``archive`` is the file with the one before.

    ``replaced`` is whether it took a present cell's place, ``twice`` are the names that two cells
    define now.
    """

    archive: str | None
    replaced: bool
    twice: list[str]


class Unsaved(Done):
    """Work that could not be saved is the version ``number`` now; None if nothing was lost.

    ``lines`` is the number of lines that the notebook lacks.
    """

    number: int | None
    lines: int = 0
