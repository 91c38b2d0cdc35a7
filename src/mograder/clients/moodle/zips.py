"""Moodle's zips of submissions and of feedback files, with the person of each file.

See compatibility-0.3.16.md 9.

Pure: bytes in, bytes out. Nothing is written here under a name from a zip; callers must validate
the name first.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from mograder.core.errors import InvalidInput, TooLarge

FILE = "file"

_ENTRY = re.compile(
    r"(?P<person>.+?)(?:_(?P<number>\d{1,18}))?_assignsubmission_(?P<plugin>file|onlinetext)"
    r"(?:_?/(?P<path>.+)|_(?P<flat>[^/]+))",
    re.DOTALL,
)
_DATED = (2025, 1, 1, 0, 0, 0)
"""A fixed date, so that the same feedback gives the same zip."""
_MOST_ENTRIES = 100_000
_MOST_BYTES = 4_000_000_000
_MOST_OF_ONE = 500_000_000
_CHUNK = 1 << 20
_NOT_IN_A_FOLDER = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|'`]")


@dataclass(frozen=True, slots=True)
class Submitted:
    """One file of a zip of submissions.

    ``participant`` is the number that Moodle's identifier has for this assignment; ``person`` the
    name in the zip's spelling, without punctuation; ``path`` is the student's own file name. Of a
    team's work they are the number and the name of the team, the number 0 for those in no team.
    """

    participant: int
    person: str
    plugin: str
    path: PurePosixPath
    content: bytes


@dataclass(frozen=True, slots=True)
class FeedbackFile:
    """One file of a zip of feedback: its person, name and content."""

    participant: int
    full_name: str
    name: str
    content: bytes


def read_submissions(data: bytes) -> tuple[Submitted, ...]:
    """Return all files of a zip of submissions, in folders or flat.

    Raises:
        InvalidInput: It is not such a zip (Moodle sends a web page if nothing was submitted).
        TooLarge: It unpacks to too many bytes.
    """
    if data[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise InvalidInput(
            "This is a web page, not a zip.",
            hint="Moodle answers so when nothing has been submitted, or you are signed out.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(_submissions(archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidInput(
            "The zip of submissions is damaged, or it is no zip.", hint="Download it again."
        ) from error


def feedback_zip(files: Iterable[FeedbackFile]) -> bytes:
    """Return a zip that Moodle's "Upload feedback files in a zip" takes.

    Raises:
        InvalidInput: Two files of one person have the same name.
    """
    buffer = io.BytesIO()
    seen: set[tuple[int, str]] = set()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(files, key=lambda each: (each.participant, each.name)):
            if (file.participant, file.name) in seen:
                raise InvalidInput(f"{file.full_name} would get two files called {file.name}.")
            seen.add((file.participant, file.name))
            # Moodle takes what stands after the first underscore for the number.
            plain = file.full_name.replace("_", " ")
            person = _NOT_IN_A_FOLDER.sub("", plain).strip() or "Participant"
            folder = f"{person}_{file.participant}_assignsubmission_file_"
            entry = zipfile.ZipInfo(f"{folder}/{file.name}", _DATED)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.content)
    return buffer.getvalue()


def _submissions(archive: zipfile.ZipFile) -> Iterator[Submitted]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > _MOST_ENTRIES:
        raise TooLarge(f"The zip holds more than {_MOST_ENTRIES} files.")
    left = _MOST_BYTES
    for entry in entries:
        found = _ENTRY.fullmatch(entry.filename)
        if found is None:
            raise InvalidInput(
                f"{entry.filename[:80]!r} does not look like a submission.",
                hint="Use the zip that Moodle makes with “Download all submissions”, unchanged.",
            )
        limit = min(left, _MOST_OF_ONE)
        too_much = f"{entry.filename[:80]} unpacks to more than {limit} bytes."
        content = read_entry(archive, entry, limit, too_much)
        left -= len(content)
        path = PurePosixPath(found["path"] or found["flat"])
        # In a zip without folders, a full name may look like another person's entry.
        is_ambiguous = "_assignsubmission_" in (found["flat"] or "")
        number = 0 if is_ambiguous else int(found["number"] or 0)
        yield Submitted(number, found["person"], found["plugin"], path, content)


def read_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, too_much: str
) -> bytes:
    """Read one file, counting the bytes that it unpacks to, since a header may be false.

    Raises:
        TooLarge: It has more than ``limit`` bytes; ``too_much`` is the message.
    """
    parts: list[bytes] = []
    size = 0
    with archive.open(entry) as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise TooLarge(too_much)
            parts.append(chunk)
    return b"".join(parts)
