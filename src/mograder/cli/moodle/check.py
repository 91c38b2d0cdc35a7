"""Compare local files with Moodle's attachments, for `hub publish` and `moodle upload`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mograder.cli.moodle.site import Site
from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment
from mograder.core.errors import NotFound
from mograder.publishing.moodle_check import MOST_BYTES, Differences, compare, remote_digests


def differences(
    client: MoodleClient, chosen: Assignment, local: Mapping[str, str], item: str
) -> Differences:
    """Return how an assignment's attachments differ from ``local``, SHA-256 by file name.

    Raises:
        MograderError: A file on Moodle cannot be downloaded.
    """
    held = remote_digests(chosen.attachments, lambda file: client.read(file, MOST_BYTES), item)
    return compare(local, held)


def local_digests(files: Sequence[Upload], item: str) -> Mapping[str, str]:
    """Return the SHA-256 of these files as students get them: a zip counts by its content.

    Raises:
        MograderError: A file cannot be read or opened.
    """
    here = [RemoteFile(file.name, str(file.path), file.path.stat().st_size) for file in files]
    found = remote_digests(here, lambda file: Path(file.address).read_bytes(), item)
    return {name: min(digests) for name, digests in found.items()}


def verify(
    site: Site, named: str, local: Mapping[str, str], item: str
) -> tuple[Assignment, Differences]:
    """Find the assignment on Moodle and compare its attachments with the local files.

    Raises:
        NotFound: Moodle has no such assignment.
        MograderError: There is no token for Moodle, or Moodle fails.
    """
    with site.client() as client:
        chosen = site.assignment(client, named)
        if not (chosen.attachments or local):
            raise NotFound(f"{chosen.name} has no files on Moodle, and there are none here.")
        return chosen, differences(client, chosen, local, item)
