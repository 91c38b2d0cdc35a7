"""The format of a backup file: a gzip-compressed tar with a header and a manifest.

The first member is the header, the last the manifest with the SHA-256 of every file. So a
truncated archive has no manifest, and a changed one does not match it (`backup`, `restore`).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput

HEADER, MANIFEST = "mograder-backup.json", "mograder-manifest.json"
COURSE = "course"
"""The name of the course's root, which every backup has."""

FORMAT = 1
DEEPEST = 64
"""Most nested directories; deeper trees are assumed to be an attack and are left out."""

_DIRECTORIES = ("source", "release", "submitted", "autograded", "feedback", "import")
OUTSIDE = frozenset(
    {"hub.notebooks_dir", "hub.release_dir", "gradebook.path", "database.url"}
    | {f"dirs.{name}" for name in _DIRECTORIES}
)
"""The settings that may name a place outside the course, which is a root of its own."""

_MOST_TEXT = 256 << 20
"""Most bytes of the manifest: enough for a million files."""

_MOST_HEADER = 1 << 20

_CHUNK = 1 << 20
_DAMAGED = "Take another backup: this one was cut off or changed since it was made."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Root(_Strict):
    """One tree of the backup: its name in the archive, and its original path."""

    name: str
    path: str
    key: str = ""
    """The setting with its path; empty for the course itself."""

    kind: Literal["directory", "file"] = "directory"


class Header(_Strict):
    """The first member of the archive, which describes it."""

    format: int
    version: str
    """The version of the mograder that made the backup."""

    made: datetime
    owner: int
    """The uid of the course's owner."""

    roots: tuple[Root, ...]
    databases: tuple[str, ...] = ()
    """Members that are SQLite files."""

    external_database: bool = False
    """Whether the hub's state was on a database server, and so is not in the backup."""


class Held(_Strict):
    """One file of the archive, with its size in bytes."""

    path: str
    """The member's name as returned by :func:`written`."""

    sha256: str
    size: int


class Manifest(_Strict):
    """Every file of the archive, and messages about files that were left out.

    ``unsettled`` has messages about files that are included but changed while they were read.
    """

    files: tuple[Held, ...]
    left_out: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()


@contextlib.contextmanager
def opened(archive: Path, *, whole: bool = False) -> Iterator[tarfile.TarFile]:
    """Open an archive for sequential reading.

    With ``whole`` the rest is read at the end of the block, to verify gzip's final checksum.
    Raises: :class:`InvalidInput` if the file does not exist or is not an archive.
    """
    with contextlib.ExitStack() as stack:
        try:
            packed = stack.enter_context(gzip.open(archive))
            tar = stack.enter_context(tarfile.open(fileobj=packed, mode="r|"))
        except FileNotFoundError as error:
            raise InvalidInput(f"There is no file {archive}.") from error
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidInput(f"{archive} is no backup of a mograder course.") from error
        except OSError as error:
            raise InvalidInput(f"{archive} cannot be read: {error.strerror}.") from error
        yield tar
        with explained():
            while whole and packed.read(_CHUNK):
                pass


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Convert the errors of tarfile, gzip and zlib to :class:`InvalidInput`."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged("it ends too early or cannot be unpacked") from error


def read_first(tar: tarfile.TarFile) -> Header:
    """Read the header, which is the first member.

    Raises: :class:`InvalidInput` if it is not a backup, or one of a newer mograder.
    """
    first = tar.next()
    if first is None or first.name != HEADER:
        raise InvalidInput("This is no backup of a mograder course.")
    try:
        header = Header.model_validate_json(_read_text(tar, first, _MOST_HEADER))
    except ValidationError as error:
        raise InvalidInput("This is no backup of a mograder course.") from error
    if header.format != FORMAT:
        raise InvalidInput(
            f"The backup was made by a newer mograder ({header.version}).",
            hint="Restore it with that version, then upgrade or go on with it.",
        )
    keys = [root.key for root in header.roots if root.name != COURSE]
    names = {root.name for root in header.roots if member_parts(root.name) == (root.name,)}
    if len(names) < len(header.roots) or COURSE not in names or not OUTSIDE.issuperset(keys):
        raise damaged("it names places that no course has")
    return header


def read_manifest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Manifest:
    """Read the manifest, which is the last member.

    Raises: :class:`InvalidInput` when it cannot be read.
    """
    try:
        return Manifest.model_validate_json(_read_text(tar, member))
    except ValidationError as error:
        raise damaged("its list of files cannot be read") from error


def _read_text(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int = _MOST_TEXT) -> bytes:
    stream = tar.extractfile(member)
    if stream is None or member.size > most:
        raise damaged(f"{member.name} cannot be read")
    return stream.read()


def unpack(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: IO[bytes] | None = None
) -> tuple[str, int]:
    """Read a file of the archive, and write it to ``target``; return SHA-256 and size in bytes.

    Raises: :class:`InvalidInput` if the archive is damaged.
    """
    stream = tar.extractfile(member)
    if stream is None:
        raise damaged(f"{member.name!r} cannot be read")
    digest, size = hashlib.sha256(), 0
    while data := stream.read(_CHUNK):
        digest.update(data)
        size += len(data)
        if target is not None:
            target.write(data)
    return digest.hexdigest(), size


def compared(manifest: Manifest | None, sums: Mapping[str, tuple[str, int]]) -> Manifest:
    """Return the manifest after comparing it with the files that were read.

    ``sums`` has SHA-256 and size in bytes by member.
    Raises: :class:`InvalidInput` if there is no manifest, or a file differs from it.
    """
    if manifest is None:
        raise damaged("it ends too early")
    wanted = {held.path: (held.sha256, held.size) for held in manifest.files}
    for name in sorted(wanted.keys() | sums.keys()):
        if wanted.get(name) != sums.get(name):
            raise damaged(f"{name} is not as it was")
    return manifest


def damaged(why: str) -> InvalidInput:
    """Return the error for a damaged archive."""
    return InvalidInput(f"The backup is damaged: {why}.", hint=_DAMAGED)


def written(name: str) -> str:
    """Return a member's name percent-encoded, as in the manifest: file names may be any bytes."""
    return quote(os.fsencode(name), safe="/ ")


def member_parts(name: str) -> tuple[str, ...]:
    """Return the components of a member's name; the first is the root's name.

    Raises: :class:`InvalidInput` for a name that would lead out of its root.
    """
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or ".." in parts or not parts or "\0" in name:
        raise damaged(f"it holds the name {name!r}")
    return parts
