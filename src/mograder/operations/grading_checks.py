"""Checks of what a hub grades with: the sources of what was submitted. They change nothing."""

from __future__ import annotations

from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok
from mograder.store.course.sources import SENT
from mograder.store.filesystem.files import entry_named

_SHOWN = 3


def source_line(loaded: LoadedSettings) -> Line:
    """Report submissions of items whose source the hub does not have."""
    submitted = loaded.path(loaded.settings.dirs.submitted)
    names = [path.name for path in submitted.iterdir()] if submitted.is_dir() else []
    items = sorted(item for name in names if (item := ItemName.valid(name)) is not None)
    waiting = [item for item in items if any((submitted / item).glob("*.py"))]
    missing = [item for item in waiting if not _has_source(item, loaded)]
    if not missing:
        return ok("sources", f"sources: there for all {len(waiting)} items with submissions")
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    text = f"sources: none for {', '.join(missing[:_SHOWN])}{more}, which have submissions"
    hint = "Their marks would be unprotected. Send it: mograder hub publish, or the item's page."
    return note("sources", text, hint)


def _has_source(item: ItemName, loaded: LoadedSettings) -> bool:
    places = (loaded.path(loaded.settings.dirs.source), loaded.state_dir / SENT)
    return any(entry_named(entry_named(each, item), f"{item}.py").is_file() for each in places)
