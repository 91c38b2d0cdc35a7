"""The assignments and students of a course that extensions may name."""

from __future__ import annotations

from collections.abc import Iterable

from mograder.core.name_lookup import nfc
from mograder.core.settings import LoadedSettings
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_facts import Change, Extension, Membership


def known_assignments(loaded: LoadedSettings, book: Gradebook) -> tuple[str, ...]:
    """Return the names of assignments, also of those without submissions."""
    settings = loaded.settings
    names = {each.name for each in book.assignments()} | set(settings.items)
    names |= {each.dir.rstrip("/").rpartition("/")[2] or each.name for each in settings.assignments}
    dirs = settings.dirs
    for place in (dirs.submitted, dirs.release, dirs.source, settings.hub.release_dir):
        base = loaded.path(place)
        if base.is_dir():
            names |= {each.name for each in base.iterdir() if each.is_dir()}
    return tuple(sorted({nfc(name) for name in names if name and not name.startswith(".")}))


def unknown_students(book: Gradebook, changes: Iterable[Change]) -> tuple[str, ...]:
    """Return students that changes name and the gradebook does not know; they may be mistyped."""
    known = {nfc(name) for name in book.known_students()}
    named = {each.student for each in changes if isinstance(each, Extension | Membership)}
    return tuple(sorted(named - known - {""}))
