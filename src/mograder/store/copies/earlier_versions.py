"""The names of earlier versions: ``<item>.bak.<time>.py`` beside the notebook.

See compatibility-0.3.16.md 2.8.

They are in the student's folder, so that the editor's file browser shows them too. This module
only handles names; ``store.copies.workspaces`` writes and reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mograder.core.errors import NotFound
from mograder.core.names import ItemName
from mograder.store.filesystem.untrusted_dir import FileInfo

MOST_ARCHIVES = 200
"""Most earlier versions of one item; a student's script must not fill the disk."""

MOST_ARCHIVED = 256_000_000
"""Most bytes of all earlier versions of one item."""

_ENDING = re.compile(r"(?P<when>20\d{6}T\d{6})(?:-(?P<number>[1-9]\d{0,3}))?\.py")
_SAME_SECOND = 1000


@dataclass(frozen=True, slots=True, order=True)
class Archive:
    """One earlier version: ``kept`` is when it was replaced, ``modified`` its last edit.

    ``number`` orders versions that were replaced in one second; ``size`` is in bytes.
    """

    kept: datetime
    number: int
    name: str
    size: int
    modified: datetime


def archive_names(item: ItemName, now: datetime) -> Iterator[str]:
    """Yield file names for a version kept at ``now``, in local time, preferred ones first."""
    stem = f"{item}.bak.{now.astimezone():%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"


def parse_archive(name: str, item: ItemName) -> str:
    """Return the name if it is that of an earlier version of this item.

    Raises: :class:`NotFound` for any other name.
    """
    if not _match(name, item):
        raise NotFound("There is no such earlier version.")
    return name


def archive_of(name: str, item: ItemName, info: FileInfo | None) -> Archive | None:
    """Return a directory entry as an earlier version; None if its name is not that of one."""
    found = _match(name, item)
    if found is None or info is None:
        return None
    try:
        # The name holds local time, as in 0.3.16. A student may have made a name with a bad time.
        kept = datetime.strptime(found["when"], "%Y%m%dT%H%M%S").astimezone()
    except ValueError:
        return None
    return Archive(kept, int(found["number"] or 0), name, info.size, info.modified)


def _match(name: str, item: ItemName) -> re.Match[str] | None:
    prefix = f"{item}.bak."
    return _ENDING.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
