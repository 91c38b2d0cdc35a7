"""Reading a release: its file names, its manifest ``files.json``, its kind and its version.

All files are read through one directory descriptor, so that a reader sees one release even while
it is replaced. Course directories of 0.3.16 must be readable: without a manifest, with a ``.venv``
or workshop keys inside (compatibility-0.3.16.md 2.7, 2.8, 3).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from itertools import accumulate
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files import open_flags
from mograder.core.files.disk import closing_fd
from mograder.core.log import get_logger
from mograder.core.names import FileName, ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import ItemKind, read_kind
from mograder.store.filesystem.untrusted_dir import moment_of

MANIFEST = "files.json"
MOST_LEVELS = 3
"""Most components of a release file's path."""

_BY_PRODUCTS = (".html", ".zip")
"""Endings of previews and of the bundle for Moodle, which `mograder generate` and exports write
beside a notebook. Students do not get them (compatibility-0.3.16.md 2.8), except from a folder."""

_KEYS = frozenset({"keys.json", "keys_all.json"})
_MANIFEST_LIMIT = 1 << 20
_DIRECTORY = os.O_RDONLY | open_flags.DIRECTORY | open_flags.NOFOLLOW | open_flags.CLOEXEC
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Release:
    """One published item as it was when it was read.

    ``files`` are the names of the files that users may read, including the notebook, relative to
    ``directory``; ``version`` differs after every replacement; ``updated`` is the notebook's
    modification time.
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
    """Return a release file's path, up to three valid names.

    Raises: InvalidInput, also for dotfiles, ``..``, absolute paths and ``files.json``.
    """
    parts = [FileName.parse(part) for part in text.split("/")]
    if len(parts) > MOST_LEVELS:
        raise InvalidInput(_too_deep(text))
    if parts == [MANIFEST]:
        raise InvalidInput(f"Invalid file name {MANIFEST!r}: the hub writes this file itself.")
    return "/".join(parts)


def _too_deep(text: str) -> str:
    return f"Invalid file name {text!r}: it is more than {MOST_LEVELS} levels deep."


def may_be_read(path: str) -> bool:
    """Whether the hub may serve a file: never a workshop's keys, even if a manifest lists them."""
    return path.rpartition("/")[2] not in _KEYS


def is_support(release: Release, path: str) -> bool:
    """Whether a file is copied beside a student's notebook (compatibility-0.3.16.md 2.8)."""
    if path == release.notebook.name:
        return False
    return "/" in path or not is_by_product(path)


def is_by_product(name: str) -> bool:
    """Whether a file's name is that of a preview or an archive beside a notebook."""
    return name.lower().endswith(_BY_PRODUCTS)


def render_manifest(files: Iterable[str], kind: ItemKind) -> bytes:
    """Return the content of ``files.json`` as 0.3.16 writes it."""
    listed = {"files": sorted(path for path in files if may_be_read(path)), "type": kind.value}
    return (json.dumps(listed, indent=2, ensure_ascii=False) + "\n").encode()


def open_release(directory: Path) -> int | None:
    """Open an item's directory; None if it does not exist, is a link or cannot be opened."""
    try:
        return os.open(directory, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _log.warning("The release directory %s cannot be opened: %s", directory.name, error)
        return None


def version_at(fd: int, name: ItemName) -> str | None:
    """Return the version of the release in an open directory; None if it has no notebook.

    It is a hash of inodes, times and sizes, which a replacement changes; a few system calls.
    """
    if _regular(f"{name}.py", fd) is None:
        return None
    stamps = [os.fstat(fd), _regular(f"{name}.py", fd), _regular(MANIFEST, fd)]
    text = ";".join(f"{s.st_ino},{s.st_mtime_ns},{s.st_size}" if s else "-" for s in stamps)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def release_at(fd: int, directory: Path, name: ItemName) -> Release | None:
    """Return the release in an open directory; None if it has no notebook of the item's name."""
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
    """Return the file names in the manifest: the published files, not those added by hand."""
    manifest = _manifest_at(fd, name)
    return frozenset(manifest.files) if manifest else frozenset()


def refused_names(root: Path) -> Iterator[str]:
    """Yield what is wrong with each name in a release directory that keeps it from students.

    0.3.16 published any name. What begins with a dot was not published, and is left out.
    """
    places = sorted(root.iterdir()) if root.is_dir() else []
    for place in (each for each in places if not each.name.startswith(".")):
        item, fd = ItemName.valid(place.name), open_release(place)
        if fd is None:
            continue
        with closing_fd(fd):
            is_item = _regular(f"{place.name}.py", fd) is not None
            files = () if item is None or item != place.name else _refused_files(fd, item)
        if is_item:
            yield from filter(None, (ItemName.complaint(place.name), *files))


def _refused_files(fd: int, name: ItemName) -> tuple[str, ...]:
    manifest = _manifest_at(fd, name)
    listed = _support_files(fd) if manifest is None else manifest.files
    told: dict[str, None] = {}  # each sentence once
    for path in (each for each in sorted(listed) if "/." not in f"/{each}"):
        parts = path.split("/")
        told |= dict.fromkeys(filter(None, map(FileName.complaint, parts)))
        if len(parts) > MOST_LEVELS:
            told[_too_deep(path)] = None
    return tuple(f"{name}: {sentence}" for sentence in told)


def _manifest_at(fd: int, name: ItemName) -> _Manifest | None:
    """Return the manifest, None if there is none; an invalid one counts as empty (fail closed)."""
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
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
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
    """Whether a path is a regular file in real directories; links do not count."""
    # One after the other: what is below a link is not looked at.
    above = (_stat(each, fd) for each in accumulate(path.split("/")[:-1], "{}/{}".format))
    in_place = all(each is not None and stat.S_ISDIR(each.st_mode) for each in above)
    return in_place and _regular(path, fd) is not None


def _regular(path: str, fd: int) -> os.stat_result | None:
    info = _stat(path, fd)
    return info if info is not None and stat.S_ISREG(info.st_mode) else None


def _stat(path: str, fd: int) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(path: str, directory: int, limit: int) -> bytes | None:
    """Return a regular file's bytes: None without one, empty if larger than ``limit`` bytes."""
    if _regular(path, directory) is None:
        return None
    with open_file(directory, path) as file:
        content = file.read(limit + 1)
    return content if len(content) <= limit else b""


def open_file(directory: int, path: str) -> BufferedReader:
    """Open a file below a directory for reading; never through a link in its place."""
    flags = os.O_RDONLY | open_flags.NOFOLLOW | open_flags.NONBLOCK | open_flags.CLOEXEC
    return os.fdopen(os.open(path, flags, dir_fd=directory), "rb")


def file_digest(directory: int, path: str) -> str:
    with open_file(directory, path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def pinned(release: Release) -> Iterator[tuple[int, Release]]:
    """Open the release's directory; yield it and the release in it, read again if it was replaced.

    Reading through the descriptor never mixes files of two releases.

    Raises: :class:`NotFound` when the release is gone, or one of its files meanwhile.
    """
    gone = f"{release.name} is not published any more."
    fd = open_release(release.directory)
    if fd is None:
        raise NotFound(gone)
    with closing_fd(fd):
        current: Release | None = release
        if version_at(fd, release.name) != release.version:
            current = release_at(fd, release.directory, release.name)
        if current is None:
            raise NotFound(gone)
        try:
            yield fd, current
        except FileNotFoundError as error:
            raise NotFound(gone) from error
