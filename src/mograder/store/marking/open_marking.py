"""The assignments that are open for marking by markers: ``marking.json`` in the course's directory.

See compatibility-0.3.16.md 5. Instructors mark every assignment. A file that cannot be read opens
none.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from pydantic import TypeAdapter

from mograder.core.errors import Conflict
from mograder.core.files.disk import DISK, Disk
from mograder.core.files.shared_files import look_for
from mograder.core.name_lookup import nfc
from mograder.core.names import ItemName
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.filesystem.records import locked_directory

_FILE, _LIMIT = "marking.json", 1_000_000
_NAMES = TypeAdapter(list[str])
_changing = threading.Lock()


def open_for_marking(course_dir: Path) -> frozenset[str]:
    """Return the names of the assignments that markers may mark; blocks."""
    try:
        return _read(course_dir)
    except UnreadableFileError:
        return frozenset()


def _read(course_dir: Path) -> frozenset[str]:
    look_for(course_dir)  # on a share another hub may just have replaced the file
    otherwise = "no assignment is open for markers"
    return ParsedFile(course_dir / _FILE, _parse, _LIMIT, otherwise).get() or frozenset()


def _parse(content: bytes) -> frozenset[str]:
    return frozenset(map(nfc, _NAMES.validate_json(content, strict=True)))


def set_open_for_marking(
    course_dir: Path, name: str, *, is_open: bool, disk: Disk = DISK
) -> frozenset[str]:
    """Open or close an assignment for markers, and return all open ones; blocks.

    Raises:
        InvalidInput: The name is not one of an assignment.
        Busy: The disk is full.
        Conflict: The file cannot be read, so that the others would be closed.
    """
    item = str(ItemName.parse(name))
    with _changing, locked_directory(course_dir, disk=disk):
        try:
            others = _read(course_dir) - {item}
        except UnreadableFileError as error:
            raise Conflict(
                f"{_FILE} cannot be read, so no assignment can be opened or closed for marking.",
                hint='Mend it, a list such as ["A1", "A2"], or remove it: nothing is open then.',
            ) from error
        names = others | {item} if is_open else others
        data = f"{json.dumps(sorted(names))}\n".encode()
        atomic_write(course_dir / _FILE, data, disk=disk)
    return names
