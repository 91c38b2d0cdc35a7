"""The format of a backup file, and ``mograder hub backup --verify``, which reads one.

It is a gzip-compressed tar. The first member is the header, the last the manifest with the SHA-256
of every file. So a truncated archive has no manifest, and a changed one does not match it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import Busy, InvalidInput, is_disk_full
from mograder.core.tasks import Progress
from mograder.store.database.sqlite_files import check_sqlite

M = TypeVar("M", bound=BaseModel)
HEADER, MANIFEST = "mograder-backup.json", "mograder-manifest.json"
COURSE = "course"
"""The name of the course's root, which every backup has."""

FORMAT = 3
DEEPEST = 64
"""Most nested directories; deeper trees are assumed to be an attack and are left out."""

STATE = "state"
"""The key of the program's own directory, if it is a link that leads out of the course."""

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database file, after its name; no backup has it of a good one."""

DAMAGED = ".damaged"
"""The end of a damaged database's name, in a backup and where it is restored."""

OUTSIDE = frozenset(
    {
        *("hub.notebooks_dir", "hub.release_dir", "gradebook.path", "database.url", STATE),
        *("dirs.source", "dirs.release", "dirs.submitted"),
        *("dirs.autograded", "dirs.feedback", "dirs.import"),
    }
)
"""The keys of places outside the course, each a root of its own: settings, and :data:`STATE`."""

_MOST_TEXT = 256 << 20
"""Most bytes of the manifest besides its files, each of which takes its name and _ENTRY bytes."""

_ENTRY = len('"":"",') + 64

_MOST_HEADER = 1 << 20

_CHUNK = 1 << 20
_UNREADABLE = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Format(BaseModel):
    """The part of a header that every version writes."""

    format: int
    version: str = ""


class Root(_Strict):
    """One tree of the backup: its name in the archive, and its original path."""

    name: str
    path: str
    key: str = ""
    """One of :data:`OUTSIDE`; empty for the course itself."""

    kind: Literal["directory", "file"] = "directory"


class Header(_Strict):
    format: int
    version: str
    """The version of the mograder that made the backup."""

    made: datetime
    owner: int
    """The uid of the course's owner."""

    roots: tuple[Root, ...]
    databases: tuple[str, ...] = ()
    """Members that are SQLite files, as :func:`written`."""

    external_database: bool = False
    """Whether the hub's state was on a database server, and so is not in the backup."""


class Manifest(_Strict):
    """The SHA-256 of every file, by member as :func:`written`, and what was left out."""

    files: dict[str, str]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """The contents of a verified backup. ``left_out`` has messages about omitted files."""

    files: int
    databases: int
    size: int
    """Bytes of all files, unpacked."""
    made: datetime
    version: str
    left_out: tuple[str, ...]
    external_database: bool


def verify(archive: Path, report: Progress) -> Verified:
    """Read a whole backup, compare every file with its checksum, and check every database.

    Raises: :class:`InvalidInput` if the file is not a backup or is damaged; the message names the
    first member that differs. :class:`Busy` if there is no room for a copy of a database.
    """
    files: dict[str, str] = {}
    size, manifest = 0, None
    full = f"No room to look at the backup: the disk of {tempfile.gettempdir()} is full."
    hint = "Databases are copied there: free some space, or name another place by TMPDIR."
    with opened(archive) as (header, tar), naming_full_disk(full, hint):
        report(f"Reading back the backup of {header.made:%Y-%m-%d %H:%M} UTC")
        for member in members(tar, header):
            if member.name == MANIFEST:
                most = _MOST_TEXT + sum(len(name) + _ENTRY for name in files)
                manifest = _parse(Manifest, _read_text(tar, member, most))
            elif member.isreg():
                files[written(member.name)] = _digest(tar, member, header)
                size += member.size
    if manifest is None:
        raise damaged("it ends too early or its list of files cannot be read")
    for name in sorted(manifest.files.keys() | files.keys() | set(header.databases)):
        if name not in files or manifest.files.get(name) != files[name]:
            raise damaged(f"{name} is missing or not as it was")
    return Verified(
        files=len(files),
        databases=len(header.databases),
        size=size,
        made=header.made,
        version=header.version,
        left_out=manifest.left_out,
        external_database=header.external_database,
    )


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[tuple[Header, tarfile.TarFile]]:
    """Open an archive for sequential reading and read its header."""
    with contextlib.ExitStack() as stack:
        try:
            packed = stack.enter_context(gzip.open(archive))
            tar = stack.enter_context(tarfile.open(fileobj=packed, mode="r|"))
        except FileNotFoundError as error:
            raise InvalidInput(f"There is no file {archive}.") from error
        except _UNREADABLE as error:
            raise InvalidInput(f"{archive} is no backup of a mograder course.") from error
        except OSError as error:
            raise InvalidInput(f"{archive} cannot be read: {error.strerror}.") from error
        try:
            yield _read_header(tar), tar
            while packed.read(_CHUNK):
                pass
        except _UNREADABLE as error:
            raise damaged("it ends too early or cannot be unpacked") from error


def members(tar: tarfile.TarFile, header: Header) -> Iterator[tarfile.TarInfo]:
    """Yield the members after the header, up to the manifest, which is the last.

    So a member can be written where its name says: it is a file, a directory or a link of a name
    of its own, in a directory that is in the archive, not through a link.

    Raises: :class:`InvalidInput` for any other.
    """
    directories: set[tuple[str, ...]] = {()}
    others: set[tuple[str, ...]] = set()
    roots = {root.name for root in header.roots}
    for member in tar:
        if member.name == HEADER:  # read already; iterating a stream yields it again
            continue
        if member.name == MANIFEST:
            yield member
            return
        parts = member_parts(member.name)
        if parts[0] not in roots or parts[:-1] not in directories:
            raise damaged(f"it holds {member.name!r}, which belongs to nothing")
        if parts in directories or parts in others:
            raise damaged(f"it holds {member.name!r} twice")
        if not (member.isreg() or member.isdir() or member.issym()):
            raise damaged(f"{member.name!r} is neither a file, a directory nor a link")
        (directories if member.isdir() else others).add(parts)
        yield member


def _read_header(tar: tarfile.TarFile) -> Header:
    first = tar.next()
    if first is None or first.name != HEADER:
        raise InvalidInput("This is no backup of a mograder course.")
    text = _read_text(tar, first, _MOST_HEADER)
    made_by = _parse(_Format, text)
    if made_by.format != FORMAT:
        raise InvalidInput(
            f"The backup was made by another mograder ({made_by.version}), in a form that this one "
            "does not read.",
            hint="Restore it with that version, then upgrade or go on with it.",
        )
    header = _parse(Header, text)
    keys = [root.key for root in header.roots if root.name != COURSE]
    names = {root.name for root in header.roots if member_parts(root.name) == (root.name,)}
    if len(names) < len(header.roots) or COURSE not in names or not OUTSIDE.issuperset(keys):
        raise damaged("it names places that no course has")
    return header


def _parse(shape: type[M], text: bytes) -> M:
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise damaged("its header or its list of files cannot be read") from error


def _read_text(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    stream = tar.extractfile(member)
    if stream is None or member.size > most:
        raise damaged(f"{member.name} cannot be read")
    return stream.read()


@contextlib.contextmanager
def naming_full_disk(text: str, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise Busy(text, hint=hint) from error


def _digest(tar: tarfile.TarFile, member: tarfile.TarInfo, header: Header) -> str:
    """Return the SHA-256 of a file of the archive; a database is also checked for damage."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(prefix="mograder-verify-") as copy:
        database = written(member.name) in header.databases
        stream = tar.extractfile(member)
        while stream is not None and (data := stream.read(_CHUNK)):
            digest.update(data)
            if database:
                copy.write(data)
        copy.flush()
        if database:
            check_sqlite(Path(copy.name))
    return digest.hexdigest()


def damaged(why: str) -> InvalidInput:
    hint = "Take another backup: this one was cut off or changed since it was made."
    return InvalidInput(f"The backup is damaged: {why}.", hint=hint)


def written(name: str) -> str:
    """Return a member's name percent-encoded, as in the manifest: file names may be any bytes."""
    return quote(os.fsencode(name), safe="/ ")


def member_parts(name: str) -> tuple[str, ...]:
    """Return a name's components; raises :class:`InvalidInput` if it leads out of its root."""
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or ".." in parts or not parts or "\0" in name:
        raise damaged(f"it holds the name {name!r}")
    return parts
