"""What a release consists of: its file names, its manifest ``files.json``, its kind, its version.

Everything is read through one opened directory, so that a reader sees one release even while
another takes its place. Course directories that 0.3.16 wrote must open: without a manifest, with a
``.venv`` or workshop keys inside (compatibility-0.3.16.md 2.7, 2.8, 3).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.names import FileName, ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import ItemKind, read_kind
from mograder.store.untrusted_dir import moment_of

MANIFEST = "files.json"
MOST_LEVELS = 3
"""Components of a release file's path."""

_BY_PRODUCTS = (".html", ".zip")
"""What `mograder generate` and exports leave beside a notebook: previews, and the bundle for
Moodle. They do not go to students from there (compatibility-0.3.16.md 2.8); from a folder they
do."""

_KEYS = frozenset({"keys.json", "keys_all.json"})
_MANIFEST_LIMIT = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Release:
    """One published item as it was when it was looked at.

    ``files`` are the names that people may have, the notebook among them, relative to
    ``directory``; ``version`` differs after every replacement; ``updated`` is the notebook's
    time.
    """

    name: ItemName
    kind: ItemKind
    files: tuple[str, ...]
    directory: Path
    notebook: Path
    version: str
    updated: datetime


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    files: list[str]
    type: str = ""


def parse_file(text: str) -> str:
    """Return a release file's path, each component in the one grammar, at most three of them.

    Raises: :class:`InvalidInput`; dotfiles, ``..``, absolute paths and ``files.json`` included.
    """
    parts = [FileName.parse(part) for part in text.split("/")]
    if len(parts) > MOST_LEVELS:
        raise InvalidInput(
            f"Invalid file name {text!r}: it is more than {MOST_LEVELS} levels deep."
        )
    if parts == [MANIFEST]:
        raise InvalidInput(f"Invalid file name {MANIFEST!r}: the hub writes this file itself.")
    return "/".join(parts)


def may_be_read(path: str) -> bool:
    """Whether a file may ever leave the hub: never a workshop's keys, whatever lists them."""
    return path.rpartition("/")[2] not in _KEYS


def is_support(release: Release, path: str) -> bool:
    """Whether a file is copied beside a student's notebook (compatibility-0.3.16.md 2.8)."""
    if path == release.notebook.name:
        return False
    return "/" in path or not is_by_product(path)


def is_by_product(name: str) -> bool:
    """Whether a file beside a notebook is a preview or an archive of it, by its name; pure."""
    return name.lower().endswith(_BY_PRODUCTS)


def render_manifest(files: Iterable[str], kind: ItemKind) -> bytes:
    """Return ``files.json`` as 0.3.16 writes it."""
    listed = {"files": sorted(path for path in files if may_be_read(path)), "type": kind.value}
    return (json.dumps(listed, indent=2, ensure_ascii=False) + "\n").encode()


def open_release(directory: Path) -> int | None:
    """Open an item's directory, never through a link; none if there is no such directory."""
    try:
        return os.open(directory, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _log.warning("The release directory %s cannot be opened: %s", directory.name, error)
        return None


def version_at(fd: int, name: ItemName) -> str | None:
    """Return the version of the release in an opened directory, none if it holds no notebook.

    Made of inodes and times: a replacement has new ones, and looking costs three system calls.
    """
    if _regular(f"{name}.py", fd) is None:
        return None
    stamps = [os.fstat(fd), _regular(f"{name}.py", fd), _regular(MANIFEST, fd)]
    text = ";".join(f"{s.st_ino},{s.st_mtime_ns},{s.st_size}" if s else "-" for s in stamps)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def release_at(fd: int, directory: Path, name: ItemName) -> Release | None:
    """Read the release in an opened directory; none if it holds no notebook of its name."""
    version = version_at(fd, name)
    notebook = _regular(f"{name}.py", fd)
    if version is None or notebook is None:
        return None
    manifest = _manifest_at(fd, name)
    if manifest is None:
        files, stated = _support_files(fd), ""
    else:
        files, stated = manifest.files, manifest.type
    readable = {path for path in files if _canonical(path) and _is_file(path, fd)}
    return Release(
        name=name,
        kind=_kind(stated, fd, name),
        files=tuple(sorted(readable | {f"{name}.py"})),
        directory=directory,
        notebook=directory / f"{name}.py",
        version=version,
        updated=moment_of(notebook.st_mtime_ns),
    )


def listed_at(fd: int, name: ItemName) -> frozenset[str]:
    """Return what a manifest names: everything that a publisher wrote, not what came by hand."""
    manifest = _manifest_at(fd, name)
    return frozenset(manifest.files) if manifest else frozenset()


def _manifest_at(fd: int, name: ItemName) -> _Manifest | None:
    """The manifest; one that cannot be understood lists the notebook only: fail closed."""
    content = _read(MANIFEST, fd, _MANIFEST_LIMIT)
    if content is None:
        return None
    try:
        return _Manifest.model_validate_json(content)
    except ValidationError:
        _log.warning("The %s of %s cannot be understood and is ignored.", MANIFEST, name)
        return _Manifest(files=[])


def _support_files(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        names = [entry.name for entry in entries]
    return [each for each in names if not is_by_product(each)]


def _kind(stated: str, fd: int, name: ItemName) -> ItemKind:
    if stated not in set(ItemKind):
        text = _read(f"{name}.py", fd, MAX_NOTEBOOK) or b""
        stated = read_kind(text.decode("utf-8", "replace"))
    return ItemKind(stated) if stated else ItemKind.ASSIGNMENT


def _canonical(path: str) -> bool:
    try:
        return parse_file(path) == path and may_be_read(path)
    except InvalidInput:
        return False


def _is_file(path: str, fd: int) -> bool:
    """Whether each component is what it seems, links excluded."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        above = _stat("/".join(parts[:count]), fd)
        if above is None or not stat.S_ISDIR(above.st_mode):
            return False
    return _regular(path, fd) is not None


def _regular(path: str, fd: int) -> os.stat_result | None:
    info = _stat(path, fd)
    return info if info is not None and stat.S_ISREG(info.st_mode) else None


def _stat(path: str, fd: int) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(path: str, directory: int, limit: int) -> bytes | None:
    """Read a small file; one that is larger reads as empty."""
    if _regular(path, directory) is None:
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, dir_fd=directory), "rb") as file:
        content = file.read(limit + 1)
    return content if len(content) <= limit else b""
