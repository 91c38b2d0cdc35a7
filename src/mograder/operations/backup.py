"""``mograder hub backup``: writes all data that cannot be recreated to one file; a hub may run.

Databases are copied by SQLite's backup API, which gives a consistent snapshot. A file that changes
while it is read is read again, to avoid partial contents; students' files are not trusted
(security.md). Directories that can be rebuilt (environments, caches) are left out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from mograder import __version__
from mograder.core.atomic_file import move_file
from mograder.core.disk import explained_when_full
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.settings import LoadedSettings
from mograder.core.single_flight import Progress
from mograder.operations.archive import (
    COURSE,
    DEEPEST,
    FORMAT,
    HEADER,
    MANIFEST,
    Header,
    Held,
    Manifest,
    Root,
    written,
)
from mograder.operations.tree_walk import DIRECTORY, walk
from mograder.store.database.database import copy_sqlite, database_url, sqlite_file

_TRIES = 3
_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20
_SPARSE_BYTES, _SPARSE_TIMES = 16 << 20, 64
"""Sparse files larger than this, with less than 1/64 allocated, are skipped: slow to read."""

_LEVEL = 6
_AGAIN = frozenset({".venv", "__pycache__", "node_modules"})
"""Directories outside students' work that tools recreate."""

_STATE_AGAIN = frozenset(
    {
        "environments",
        "uv-cache",
        "copies",
        "grading",
        "wheels",
        "runtime",
        "hub.lock",
        "supervisor.log",
        "supervisor.log.1",
    }
)
_STUDENTS_DOING = frozenset({errno.EACCES, errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
"""Errors that a file's owner can cause, by its mode or by replacing it with something else."""

_COMPANIONS = ("-wal", "-shm", "-journal")
_STAGING = ".staging"


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup, ``size`` in bytes. ``left_out`` has messages about omitted files.

    The last ``by_students`` of these can be caused by students in their own workspaces, for
    instance by a file without read permission. ``unsettled`` has messages about files that are
    included but changed while they were read.
    """

    files: int
    size: int
    sha256: str
    left_out: tuple[str, ...]
    by_students: int
    unsettled: tuple[str, ...]
    external_database: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """The trees and databases to back up, and the paths to skip."""

    roots: tuple[Root, ...]
    databases: tuple[Path, ...]
    external_database: bool
    skipped: frozenset[Path]
    students: Path

    @property
    def students_member(self) -> str:
        """The name in the archive of the directory with students' work."""
        if not _within(self.students, self.roots):
            return "nowhere"  # the directory does not exist
        return _member_of(self.students, self.roots).removesuffix("/.")


@dataclass(slots=True)
class _Record:
    students: str
    """The name of the member with students' workspaces, which are STUDENT/ITEM in it."""

    held: list[Held] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    by_students: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def leave_out(self, member: str, why: str, *, students_doing: bool) -> None:
        """Record a member that is not in the backup, and why.

        ``students_doing``: a student can cause this; it counts so only below a workspace.
        """
        below = member.removeprefix(f"{self.students}/")
        within = below != member and len(Path(below).parts) > 1
        found = self.by_students if students_doing and within else self.left_out
        found.append(_printable(f"{member}: {why}"))

    def unread(self, member: str, error: OSError) -> None:
        """Record a file that could not be read, unless it was removed in the meantime."""
        if not isinstance(error, FileNotFoundError):
            doing = error.errno in _STUDENTS_DOING
            self.leave_out(member, error.strerror or str(error), students_doing=doing)

    def note_unsettled(self, member: str) -> None:
        """Record a file that changed while it was read, and so may be inconsistent."""
        self.unsettled.append(_printable(f"{member}: changed while it was read (it is in)"))


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def back_up(loaded: LoadedSettings, target: Path, report: Progress) -> Made:
    """Write a backup of the course to a new file (mode 0600).

    Raises: :class:`Conflict` when the file exists, :class:`InvalidInput` when it would be inside
    the course or its directory is missing, :class:`Busy` when the disk is full.
    """
    target = target.absolute()
    if target.exists():
        raise Conflict(f"There is a file {target} already.", hint="Choose another name.")
    if not target.parent.is_dir():
        raise InvalidInput(f"There is no directory {target.parent}.")
    if target.resolve().is_relative_to(loaded.course_dir.resolve()):
        raise InvalidInput(
            "A backup inside the course would be lost with it.",
            hint="Name a file elsewhere, best on another machine's disk.",
        )
    temporary = target.with_name(f".{target.name}.partial")
    temporary.unlink(missing_ok=True)
    with explained_when_full():
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                made = write_backup(loaded, file, report)
            move_file(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return made


def write_backup(loaded: LoadedSettings, stream: IO[bytes], report: Progress) -> Made:
    """Write a backup to ``stream``, for instance to send it to another machine.

    A damaged database is included as a plain file, and reported as left out.
    Raises: :class:`Busy` when a database is locked.
    """
    plan = _plan(loaded)
    packed = _Packed(stream)
    record = _Record(plan.students_member)
    with (
        tempfile.TemporaryDirectory(prefix="mograder-backup-") as scratch,
        # Databases first: files may then be newer than the rows about them, but never older.
        tarfile.open(fileobj=cast(IO[bytes], packed), mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        copies = _copy_databases(plan, Path(scratch), record, report)
        members = tuple(_member_of(path, plan.roots) for path in copies)
        _add_text(tar, HEADER, _header(loaded, plan, members).model_dump_json())
        for path, copy in copies.items():
            with copy.open("rb") as file:
                _add_copy(tar, _member_of(path, plan.roots), file, path.stat(), record)
        for path in plan.databases:
            if path not in copies:
                _add_damaged(tar, path, plan, record)
        for root in plan.roots:
            if root.kind == "directory":
                report(f"Reading {root.path}")
                _add_tree(tar, root, plan, record)
        whole = Manifest(
            files=tuple(record.held),
            left_out=(*record.left_out, *record.by_students),
            unsettled=tuple(record.unsettled),
        )
        _add_text(tar, MANIFEST, whole.model_dump_json())
    packed.finish()
    return Made(
        files=len(record.held),
        size=packed.size,
        sha256=packed.digest.hexdigest(),
        left_out=whole.left_out,
        by_students=len(record.by_students),
        unsettled=tuple(record.unsettled),
        external_database=plan.external_database,
    )


def _copy_databases(
    plan: _Plan, scratch: Path, record: _Record, report: Progress
) -> dict[Path, Path]:
    """Copy a snapshot of each database; return the copies by original path, without damaged ones.

    Damaged ones are recorded.
    """
    copies = {}
    for number, path in enumerate(plan.databases):
        report(f"Copying the database {path.name}")
        copy = scratch / str(number)
        try:
            copy_sqlite(path, copy)
        except InvalidInput as error:
            member = _member_of(path, plan.roots)
            record.leave_out(member, error.message, students_doing=False)
        else:
            copies[path] = copy
    return copies


def _add_damaged(tar: tarfile.TarFile, path: Path, plan: _Plan, record: _Record) -> None:
    """Add a damaged database as a regular file under another name: it may be the last copy."""
    member = f"{_member_of(path, plan.roots)}.damaged"
    try:
        directory = os.open(path.parent, DIRECTORY)
    except OSError as error:
        record.unread(member, error)
        return
    try:
        _add_file(tar, member, (path.name, directory), record)
    finally:
        os.close(directory)


class _Packed:
    """A gzip compressor in front of a stream; computes the size in bytes and SHA-256 of its output.

    ``gzip.GzipFile`` is not used, since from Python 3.12 on it writes to the stream once more when
    it is garbage-collected after a failure.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._compressor = zlib.compressobj(_LEVEL, wbits=16 + zlib.MAX_WBITS)  # 16: as gzip
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        """Compress a piece of the archive."""
        self._pass_on(self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write the rest of the compressed data."""
        self._pass_on(self._compressor.flush())

    def _pass_on(self, data: bytes) -> None:
        self._stream.write(data)
        self.digest.update(data)
        self.size += len(data)


def _plan(loaded: LoadedSettings) -> _Plan:
    course = loaded.course_dir
    hub, dirs, state = loaded.settings.hub, loaded.settings.dirs, loaded.state_dir
    named = {
        "hub.notebooks_dir": loaded.path(hub.notebooks_dir),
        "hub.release_dir": loaded.path(hub.release_dir),
        "dirs.source": loaded.path(dirs.source),
        "dirs.release": loaded.path(dirs.release),
        "dirs.submitted": loaded.path(dirs.submitted),
        "dirs.autograded": loaded.path(dirs.autograded),
        "dirs.feedback": loaded.path(dirs.feedback),
        "dirs.import": loaded.path(dirs.import_),
    }
    roots = [Root(name=COURSE, path=str(course.resolve()))]
    # A directory outside the course (by a link or an absolute path) is a separate root.
    for key, path in named.items():
        real = path.resolve()
        if real.is_dir() and not _within(real, roots):
            roots.append(Root(name=f"outside-{len(roots)}", path=str(real), key=key))
    databases, external = _databases(loaded)
    for key, path in databases.items():
        if not _within(path, roots):
            name = f"outside-{len(roots)}"
            roots.append(Root(name=name, path=str(path), key=key, kind="file"))
    skipped = {state / name for name in _STATE_AGAIN}
    skipped |= {named[key] / _STAGING for key in ("hub.release_dir", "hub.notebooks_dir")}
    skipped.add(loaded.path(hub.environments_dir))
    if hub.uv_cache_dir:
        skipped.add(loaded.path(hub.uv_cache_dir))
    for path in databases.values():
        skipped |= {path, *(path.with_name(path.name + end) for end in _COMPANIONS)}
    return _Plan(
        roots=tuple(roots),
        databases=tuple(databases.values()),
        external_database=external,
        skipped=frozenset(path.parent.resolve() / path.name for path in skipped),
        students=named["hub.notebooks_dir"].resolve(),
    )


def _databases(loaded: LoadedSettings) -> tuple[dict[str, Path], bool]:
    """Return the existing SQLite files by setting, and whether the hub uses a database server."""
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    file = sqlite_file(url)
    found = {"gradebook.path": loaded.gradebook_path}
    if file is not None:
        found["database.url"] = file
    existing = {key: path.resolve() for key, path in found.items() if path.is_file()}
    return existing, file is None


def _within(path: Path, roots: Sequence[Root]) -> bool:
    return any(path.is_relative_to(root.path) for root in roots)


def _member_of(path: Path, roots: tuple[Root, ...]) -> str:
    root = next(root for root in roots if path.is_relative_to(root.path))
    below = path.relative_to(root.path).as_posix()
    return root.name if root.kind == "file" else f"{root.name}/{below}"


def _header(loaded: LoadedSettings, plan: _Plan, databases: tuple[str, ...]) -> Header:
    return Header(
        format=FORMAT,
        version=__version__,
        made=datetime.now(UTC),
        owner=loaded.course_dir.stat().st_uid,
        roots=plan.roots,
        databases=databases,
        external_database=plan.external_database,
    )


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _add_tree(tar: tarfile.TarFile, root: Root, plan: _Plan, record: _Record) -> None:
    top = Path(root.path)
    passed = plan.skipped | {Path(each.path) for each in plan.roots if each.path != root.path}

    def unread(place: Path, error: OSError) -> None:
        record.unread(_member_of(place, (root,)).removesuffix("/."), error)

    for place, directories, files, descriptor in walk(top, None, unread):
        below = place.relative_to(top)
        member = f"{root.name}/{below.as_posix()}" if below.parts else root.name
        _add_special(tar, member, os.fstat(descriptor))
        for name in tuple(directories):
            inside = place / name
            if inside in passed or (name in _AGAIN and not inside.is_relative_to(plan.students)):
                directories.remove(name)
            elif len(below.parts) >= DEEPEST:
                directories.remove(name)
                why = "nested too deeply"
                record.leave_out(f"{member}/{name}", why, students_doing=True)
        for name in files:
            if place / name not in passed:
                _add_file(tar, f"{member}/{name}", (name, descriptor), record)


def _add_file(tar: tarfile.TarFile, member: str, where: tuple[str, int], record: _Record) -> None:
    """Add a regular file or a link; sockets, pipes and devices are skipped.

    Errors in reading are recorded. Errors in writing the archive are raised.
    """
    with contextlib.ExitStack() as stack:
        try:
            status = os.stat(where[0], dir_fd=where[1], follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                link = os.readlink(where[0], dir_fd=where[1])
            elif not stat.S_ISREG(status.st_mode):
                return
            elif _is_hole(status):
                why = "a large file that is nearly empty"
                record.leave_out(member, why, students_doing=True)
                return
            else:
                copy, read, settled = stack.enter_context(_settled(*where))
        except OSError as error:
            record.unread(member, error)
            return
        if stat.S_ISLNK(status.st_mode):
            _add_link(tar, member, link, status)
            return
        if not settled:
            record.note_unsettled(member)
        _add_copy(tar, member, copy, read, record)


def _is_hole(status: os.stat_result) -> bool:
    held = status.st_blocks * 512
    return status.st_size > _SPARSE_BYTES and held * _SPARSE_TIMES < status.st_size


@contextlib.contextmanager
def _settled(name: str, directory: int) -> Iterator[tuple[IO[bytes], os.stat_result, bool]]:
    """Yield a copy of a file, its status, and whether it was unchanged while it was read.

    Copy it again if it changed, ``_TRIES`` times at most.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        for _ in range(_TRIES):
            with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
                before = os.fstat(file.fileno())
                copy.seek(0)
                copy.truncate()
                _pour(file, copy, before.st_size)
                after = os.fstat(file.fileno())
            settled = _mark(before) == _mark(after) and copy.tell() == after.st_size
            if settled:
                break
        copy.seek(0)
        yield copy, after, settled


def _pour(source: IO[bytes], target: IO[bytes], most: int) -> None:
    """Copy at most ``most`` bytes, since a file may grow without end while it is read."""
    while most and (data := source.read(min(most, _CHUNK))):
        target.write(data)
        most -= len(data)


def _mark(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _add_copy(
    tar: tarfile.TarFile,
    member: str,
    copy: IO[bytes],
    status: os.stat_result,
    record: _Record,
) -> None:
    """Add a private copy of a file, which no other process writes to."""
    size = copy.seek(0, os.SEEK_END)
    copy.seek(0)
    digest = hashlib.sha256()
    while data := copy.read(_CHUNK):
        digest.update(data)
    copy.seek(0)
    info = _info(member, status)
    info.size = size
    tar.addfile(info, copy)
    record.held.append(Held(path=written(info.name), sha256=digest.hexdigest(), size=size))


def _add_special(tar: tarfile.TarFile, member: str, status: os.stat_result) -> None:
    info = _info(member, status)
    info.type = tarfile.DIRTYPE
    tar.addfile(info)


def _add_link(tar: tarfile.TarFile, member: str, target: str, status: os.stat_result) -> None:
    """Add a symbolic link itself, without following it."""
    info = _info(member, status)
    info.linkname = target
    info.type = tarfile.SYMTYPE
    tar.addfile(info)


def _info(member: str, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member)
    info.mode = stat.S_IMODE(status.st_mode) & 0o777
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = int(status.st_mtime)
    return info
