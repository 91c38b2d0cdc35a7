"""The names of earlier versions: ``<item>.bak.<time>.py`` beside the notebook.

See compatibility-0.3.16.md 2.8.

They lie in the student's own folder, so that the editor's file browser shows them too. Pure;
``store.workspaces`` keeps and reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mograder.core.errors import NotFound
from mograder.core.names import ItemName
from mograder.store.untrusted_dir import FileInfo

MOST_ARCHIVES = 200
"""Earlier versions of one item that the hub keeps; a student's script must not fill the disk."""

MOST_ARCHIVED = 256_000_000
"""Bytes of all earlier versions of one item."""

_ENDING = re.compile(r"(?P<when>20\d{6}T\d{6})(?:-(?P<number>[1-9]\d{0,3}))?\.py")
_SAME_SECOND = 1000


@dataclass(frozen=True, slots=True, order=True)
class Archive:
    """One earlier version, ordered by when it was kept; ``modified`` is its last edit."""

    kept: datetime
    number: int
    name: str
    size: int
    modified: datetime


def archive_names(item: ItemName, now: datetime) -> Iterator[str]:
    """Yield the names under which something is kept at this moment, best first; in local time."""
    stem = f"{item}.bak.{now.astimezone():%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"


def parse_archive(name: str, item: ItemName) -> str:
    """Return the name if it is one of an archive of this item.

    Raises: :class:`NotFound`.
    """
    if not _match(name, item):
        raise NotFound("There is no such earlier version.")
    return name


def archive_of(name: str, item: ItemName, info: FileInfo | None) -> Archive | None:
    """Return what a directory's entry is as an archive; none if it is none."""
    found = _match(name, item)
    if found is None or info is None:
        return None
    try:
        # The name holds local time, as 0.3.16 wrote it; anybody may have made it up.
        kept = datetime.strptime(found["when"], "%Y%m%dT%H%M%S").astimezone()
    except ValueError:
        return None
    return Archive(kept, int(found["number"] or 0), name, info.size, info.modified)


def _match(name: str, item: ItemName) -> re.Match[str] | None:
    prefix = f"{item}.bak."
    return _ENDING.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
