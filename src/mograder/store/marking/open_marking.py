"""The assignments that are open for marking by markers: ``marking.json`` in the course's directory.

See compatibility-0.3.16.md 5. Instructors mark every assignment. A file that cannot be read opens
none.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mograder.core.disk import DISK, Disk
from mograder.core.log import get_logger
from mograder.core.name_lookup import nfc
from mograder.core.names import ItemName
from mograder.core.shared_files import look_for
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.records import locked_directory

_FILE, _LIMIT = "marking.json", 1_000_000
_NAMES = TypeAdapter(list[str])
_changing = threading.Lock()
_log = get_logger(__name__)


def open_for_marking(course_dir: Path) -> frozenset[str]:
    """Return the names of the assignments that markers may mark; blocks."""
    look_for(course_dir)  # on a share another hub may just have replaced the file
    try:
        with (course_dir / _FILE).open("rb") as file:
            names = _NAMES.validate_json(file.read(_LIMIT), strict=True)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValidationError) as error:
        _log.error("%s cannot be read, so no assignment is open for markers: %s", _FILE, error)
        return frozenset()
    return frozenset(nfc(name) for name in names)


def set_open_for_marking(
    course_dir: Path, name: str, *, is_open: bool, disk: Disk = DISK
) -> frozenset[str]:
    """Open or close an assignment for markers, and return all open ones; blocks.

    Raises:
        InvalidInput: The name is not one of an assignment.
        Busy: The disk is full.
    """
    item = str(ItemName.parse(name))
    with _changing, locked_directory(course_dir, disk=disk):
        others = open_for_marking(course_dir) - {item}
        names = others | {item} if is_open else others
        data = f"{json.dumps(sorted(names))}\n".encode()
        atomic_write(course_dir / _FILE, data, disk=disk)
    return names
