"""Sending an assignment's source to a hub after its release, so that the hub can grade."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import tell
from mograder.clients.hub import HubClient
from mograder.core.names import ItemName
from mograder.publishing.local_release import LocalRelease, read_release
from mograder.publishing.release_diff import changes, digests
from mograder.store.filesystem.files import entry_named


class SourceSent(StrEnum):
    """What became of a source; the values are those of ``--json``."""

    NONE = "none"
    """There is no source here, or it is not to be sent."""
    NOT_TAKEN = "not taken"
    """The hub has its own source, or is too old to grade."""
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    """It would be sent, in a dry run."""
    SENT = "sent"


def find_source(name: ItemName, source_dir: Path) -> LocalRelease | None:
    """Return the source of an assignment, or None if there is none.

    Raises:
        InvalidInput: It cannot be sent.
    """
    directory = entry_named(source_dir, name)
    if not entry_named(directory, f"{name}.py").is_file():
        return None
    return read_release(directory)


def send_source(source: LocalRelease, client: HubClient, *, dry_run: bool) -> SourceSent:
    """Send a source unless the hub has it already; print what was done.

    Raises:
        MograderError: The hub refused it or could not be reached.
    """
    held = client.held_source(source.name)
    if held is None:
        return SourceSent.NOT_TAKEN
    held.check(source.size, len(source.files))
    found = changes(digests(source.files), "", held)
    if found.none:
        tell("Source: unchanged.")
        return SourceSent.UNCHANGED
    names = ", ".join(file.name for file in source.files)
    if dry_run:
        tell(f"Source: would be sent ({names}).")
        return SourceSent.CHANGED
    with reporting() as report:
        client.send_source(source.name, source.files, report)
    tell(f"Sent the source, for grading on the hub: {names}")
    return SourceSent.SENT
