"""The checks of an item's release, which are the columns of its board, and its title.

A report about any other label is dropped, so that a student's code cannot add a column.
"""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.errors import MograderError
from mograder.core.names import ItemName
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import checks_in, marks_of
from mograder.notebook.title import title_of
from mograder.store.course.course import read_notebook
from mograder.store.hub.board import MOST_LABEL
from mograder.store.releases.releases import Release, Releases

MOST_CHECKS = 200


@dataclass(frozen=True, slots=True)
class Column:
    """One check of a release, and its question's key; ``marked`` is whether that has marks."""

    label: str
    key: str
    marked: bool


_UNKNOWN: tuple[str, tuple[Column, ...], str] = ("", (), "")


class ItemChecks:
    """Reads releases, and remembers what was found; may be called from any thread.

    Mutable state: ``_known``, the columns and the title by item, with the version of the release.
    """

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._known: dict[str, tuple[str, tuple[Column, ...], str]] = {}

    def of(self, item: str) -> tuple[Column, ...]:
        """Return the checks whose labels the release states, in its order; blocks.

        None for an item that is not published or not a notebook.
        """
        name = ItemName.valid(item)
        release = None if name is None else self._releases.get(name)
        return () if release is None else self.columns(release)

    def columns(self, release: Release) -> tuple[Column, ...]:
        """Return the checks of a release, as :meth:`of`; blocks."""
        return self._read(release)[1]

    def look(self) -> None:
        """Read the releases that are new; blocks."""
        for each in self._releases.all():
            self._read(each)

    def title(self, item: str) -> str:
        """Return an item's title as it was read last, "" without one."""
        title = self._known.get(item, _UNKNOWN)[2]
        return "" if title == item else title

    def _read(self, release: Release) -> tuple[str, tuple[Column, ...], str]:
        known = self._known.get(release.name)
        if known is None or known[0] != release.version:
            known = (release.version, *_UNKNOWN[1:])
            try:
                text = read_notebook(release.notebook)
                known = (release.version, _columns(text, release.notebook.name), title_of(text))
            except MograderError:  # publishing told why it cannot be read
                pass
            self._known[release.name] = known
        return known


def _columns(text: str, filename: str) -> tuple[Column, ...]:
    notebook = parse_cells(text, filename)
    marks = marks_of(notebook) or {}
    keys = {each.label: each.key for each in checks_in(notebook)}
    short = [(label, key) for label, key in keys.items() if 0 < len(label) <= MOST_LABEL]
    return tuple(Column(*each, marked=each[1] in marks) for each in short[:MOST_CHECKS])
