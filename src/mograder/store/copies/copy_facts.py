"""Facts about students' copies for lists: which exist, when each was saved, whether submitted.

Only inodes are read, not contents; students can set every file time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mograder.core.names import ItemName
from mograder.store.filesystem.untrusted_dir import FileInfo, moment_of


class CopyState(StrEnum):
    """The state of a copy, in the words of the page (compatibility-0.3.16.md 2.4)."""

    DOWNLOADED = "downloaded"
    EDITED = "edited"
    EXPORTED = "exported"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """One copy: ``size`` in bytes; ``validated`` is the time of its last validation report.

    ``saved`` is the time at which it was made while nobody has edited it: its file has that of the
    release. ``touched`` is that or the file's last change by the system's clock, the later of the
    two: a file that is renamed into place keeps the time at which it was saved.
    """

    item: ItemName
    state: CopyState
    saved: datetime
    touched: datetime
    size: int
    validated: datetime | None
    submitted: datetime | None


def facts_of(item: ItemName, look: Callable[[str], FileInfo | None]) -> CopyFacts | None:
    """Return the facts of a copy, None without its notebook; ``look`` finds its files by name."""
    notebook = look(f"{item}.py")
    if notebook is None:
        return None
    submitted, report, uploaded = look(".submitted"), look(f"{item}.html"), look(".uploaded")
    changed = max(notebook.modified_ns, uploaded.modified_ns if uploaded else 0)
    state = CopyState.DOWNLOADED
    if submitted is not None and submitted.modified_ns >= changed:
        state = CopyState.SUBMITTED
    elif (exported := look(".exported")) and exported.modified_ns >= notebook.modified_ns:
        state = CopyState.EXPORTED
    elif uploaded is not None and notebook.modified_ns > uploaded.modified_ns:
        state = CopyState.EDITED
    return CopyFacts(
        item=item,
        state=state,
        saved=moment_of(changed),
        touched=moment_of(max(changed, notebook.changed_ns)),
        size=notebook.size,
        validated=report.modified if report else None,
        submitted=submitted.modified if submitted else None,
    )
