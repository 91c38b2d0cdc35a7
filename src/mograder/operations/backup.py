"""``mograder hub backup``: writes all data that cannot be recreated to one file; a hub may run.

Databases are copied by SQLite's backup API, which gives a consistent snapshot. All programs of ours
replace files as a whole, so that none is read half. Students' files are not trusted (security.md).
Directories that can be rebuilt (environments, caches) are left out.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
import secrets
import stat
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from mograder import __version__
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files import open_flags
from mograder.core.files.disk import move_file
from mograder.core.log import printable
from mograder.core.names import LOST_AND_FOUND
from mograder.core.settings import LoadedSettings
from mograder.core.tasks import Progress
from mograder.operations.archive import (
    COMPANIONS,
    COURSE,
    DAMAGED,
    DEEPEST,
    FORMAT,
    HEADER,
    MANIFEST,
    STATE,
    Header,
    Manifest,
    Root,
    naming_full_disk,
    written,
)
from mograder.store.database.database import database_url, sqlite_file
from mograder.store.database.sqlite_files import check_sqlite, copy_sqlite, files_of, openable

_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20
_SPARSE_BYTES, _SPARSE_TIMES = 16 << 20, 64
"""Sparse files larger than this, with less than 1/64 allocated, are skipped: slow to read."""

_HOLES_TIMES, _HOLES_BYTES = 4, 1 << 30
"""Bytes of a student's files that are read beyond 4 times what is allocated, as on a disk that
compresses: in 4 KiB of a workspace's limit may be a file of holes of any size."""

_NAMES_BYTES = 1 << 20
"""Once a student's file was read for this much, its further names (hard links) are left out."""

_LONGEST = 3000
"""Most bytes of a member's name. Linux refuses a path of 4,096, which a restore would need; a
directory is read by its descriptor, so that a student can nest names to 16 KB."""

_NAMES_LISTED, _LINES_LISTED = 32 << 20, 1 << 20
"""Most bytes that one student's names, as :func:`written`, and messages about what is left out
of the student's work add to the manifest, which is made and read in memory."""

_LEVEL = 6
_AGAIN = frozenset({".venv", "__pycache__", "node_modules"})

_STATE_AGAIN = frozenset(
    {
        *("environments", "uv-cache", "copies", "grading", "wheels", "runtime"),
        *("runs-directory", "hub.lock", "supervisor.log", "supervisor.log.1"),
    }
)
_HOLE, _NAMES, _DEEP = errno.EFBIG, errno.EMLINK, errno.ENAMETOOLONG
_STUDENTS_DOING = frozenset(
    {errno.EACCES, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, _HOLE, _NAMES, _DEEP}
)
"""Errors that a file's owner can cause, by its mode or by replacing it with something else; the
last three are raised here, for what is left out although it could be read."""

_HUBS_OWN = ("hub.notebooks_dir", "hub.release_dir", STATE)
"""Directories that a hub has filled; the others may be those of a teacher's own machine."""

_STAGING = ".staging"


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup, ``size`` in bytes. ``left_out`` has messages about omitted files.

    The last ``by_students`` of these can be caused by students in their own workspaces, for
    instance by a file without read permission.
    """

    files: int
    size: int
    sha256: str
    left_out: tuple[str, ...]
    by_students: int
    external_database: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """The trees and databases to back up, and the paths to skip.

    ``missing`` are messages about places outside the course that are not there: perhaps a volume is
    not mounted.
    """

    roots: tuple[Root, ...]
    missing: tuple[str, ...]
    databases: tuple[Path, ...]
    external_database: bool
    skipped: frozenset[Path]
    students: Path


def back_up(loaded: LoadedSettings, target: Path, report: Progress) -> Made:
    """Write a backup of the course to a new file (mode 0600).

    Raises: :class:`Conflict` when the file exists, :class:`InvalidInput` when it would be inside
    the course or its directory is missing, :class:`Busy` when the disk is full.
    """
    target = target.absolute()
    demand_new(target)
    if not target.parent.is_dir():
        raise InvalidInput(f"There is no directory {target.parent}.")
    if _member_of(target.resolve(), _plan(loaded).roots):
        raise InvalidInput(
            "A backup inside the course would be lost with it, and be in the next one.",
            hint="Name a file elsewhere, best on another machine's disk.",
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    places = f"{target.parent} or {tempfile.gettempdir()}"
    full = f"There was no room for the backup: the disk of {places} is full."
    hint = "Free some space there. Databases are copied to the second one first."
    try:
        with naming_full_disk(full, hint):
            descriptor = os.open(temporary, open_flags.CREATE, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                made = write_backup(loaded, file, report)
            demand_new(target)  # another run may have written it meanwhile
            move_file(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    for killed in target.parent.glob(f".{glob.escape(target.name)}.????????.partial"):
        killed.unlink(missing_ok=True)
    return made


def demand_new(target: Path) -> None:
    """Raise Conflict if there is such a file already."""
    if target.exists():
        raise Conflict(f"There is a file {target} already.", hint="Choose another name.")


def write_backup(loaded: LoadedSettings, stream: IO[bytes], report: Progress) -> Made:
    """Write a backup to ``stream``, for instance to send it to another machine.

    A damaged database is included as a plain file, and reported as left out.
    Raises: :class:`Busy` when a database is locked.
    """
    plan = _plan(loaded)
    packed = _Packed(stream)
    with (
        tempfile.TemporaryDirectory(prefix="mograder-backup-") as scratch,
        tarfile.open(fileobj=cast(IO[bytes], packed), mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        writer = _Writer(tar, plan)
        # Databases first: files may then be newer than the rows about them, but never older.
        writer.copy_databases(Path(scratch), report)
        header = Header(
            format=FORMAT,
            version=__version__,
            made=datetime.now(UTC),
            owner=loaded.course_dir.stat().st_uid,
            roots=plan.roots,
            databases=writer.databases,
            external_database=plan.external_database,
        )
        writer.add_text(HEADER, header.model_dump_json())
        for root in plan.roots:
            report(f"Reading {root.path}")
            writer.add_root(root)
        by_students = writer.by_students
        manifest = Manifest(files=writer.files, left_out=(*writer.left_out, *by_students))
        writer.add_text(MANIFEST, manifest.model_dump_json())
    packed.finish()
    return Made(
        files=len(manifest.files),
        size=packed.size,
        sha256=packed.digest.hexdigest(),
        left_out=manifest.left_out,
        by_students=len(by_students),
        external_database=plan.external_database,
    )


class _Writer:
    def __init__(self, tar: tarfile.TarFile, plan: _Plan) -> None:
        self._tar = tar
        self._plan = plan
        self._students = f"{_member_of(plan.students, plan.roots)}/"
        self._copies: dict[Path, Path] = {}
        self._damaged: dict[Path, str] = {}
        """The members that a damaged database and its logs become."""
        self.files: dict[str, str] = {}
        self._linked: dict[tuple[int, int], tuple[str, int]] = {}
        """Students' files with several names, by device and inode: the first member, and the bytes
        read by all names so far."""
        self.left_out = list(plan.missing)
        self._by_students: list[str] = []
        self._spent: Counter[tuple[str, int]] = Counter()
        """Bytes that :meth:`_has_room` has taken, by student and bound; no two bounds are equal."""
        self._further: Counter[str] = Counter()

    @property
    def by_students(self) -> list[str]:
        further = self._further.items()
        more = (f"{self._students}{each}: {count} further names" for each, count in further)
        return [*self._by_students, *map(printable, more)]

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(written(_member_of(path, self._plan.roots)) for path in self._copies)

    def copy_databases(self, scratch: Path, report: Progress) -> None:
        for number, path in enumerate(self._plan.databases):
            report(f"Copying the database {path.name}")
            copy = scratch / str(number) / path.name
            try:
                copy_sqlite(openable(path, scratch / f"{number}-read-only"), copy)
                check_sqlite(copy)  # it copies damaged pages, and no such backup can be restored
            except InvalidInput as error:
                self._note_damaged(path, error.message)
            else:
                self._copies[path] = copy

    def _note_damaged(self, database: Path, why: str) -> None:
        """Leave a database out; its files, perhaps the last copy, are packed under other names."""
        member = _member_of(database, self._plan.roots)
        self._leave_out(member, why)
        for file in files_of(database):
            if "/" in member:
                end = file.name.removeprefix(database.name)
                self._damaged[file] = f"{member}{DAMAGED}{end}"
            elif file != database:  # a root of its own is one file, which the restore renames
                self._leave_out(file.name, f"the log of a damaged database; copy {file} too")

    def add_text(self, name: str, text: str) -> None:
        info = tarfile.TarInfo(name)
        data = text.encode("utf-8", "surrogateescape")
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))

    def add_root(self, root: Root) -> None:
        add = self._add_directory if root.kind == "directory" else self._add_file
        add(Path(root.path), root.name, None)

    def _add_directory(self, place: Path, member: str, above: int | None) -> None:
        """Add a directory that students may control: it is read by descriptors, through no link."""
        try:
            descriptor = os.open(_name(place, above), open_flags.READ_DIRECTORY, dir_fd=above)
        except OSError as error:
            self._unread(member, error)
            return
        try:
            self._tar.addfile(_info(member, os.fstat(descriptor), tarfile.DIRTYPE))
            for name, is_directory in self._names(descriptor, member):
                add = self._add_subdirectory if is_directory else self._add_file
                add(place / name, f"{member}/{name}", descriptor)
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int, member: str) -> list[tuple[str, bool]]:
        """Return the names to add from a directory, and for each whether it is a directory."""
        try:
            with os.scandir(descriptor) as entries:
                found = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
        except OSError as error:
            self._unread(member, error)
            return []
        return [each for each in found if self._takes(f"{member}/{each[0]}")]

    def _takes(self, member: str) -> bool:
        """Return whether a member of this name can be restored; record it otherwise."""
        if len(os.fsencode(member)) > _LONGEST:
            self._unread(member, OSError(_DEEP, "its path is too long"))
        elif not self._has_room(member, _NAMES_LISTED, len(written(member))):
            self._unread(member, OSError(_NAMES, "the student's names are too many"))
        else:
            return True
        return False

    def _has_room(self, member: str, most: int, size: int) -> bool:
        student = self._student_of(member)
        if student and self._spent[student, most] + size > most:
            return False
        self._spent[student, most] += size
        return True

    def _student_of(self, member: str) -> str:
        """Return the student whose workspace (STUDENT/ITEM) a member is or is in, or ""."""
        below = member.removeprefix(self._students)
        return below.partition("/")[0] if below != member and "/" in below else ""

    def _add_subdirectory(self, place: Path, member: str, above: int) -> None:
        rebuilt = place.name in _AGAIN and not place.is_relative_to(self._plan.students)
        apart = any(place == Path(root.path) for root in self._plan.roots)
        if rebuilt or apart or place in self._plan.skipped:
            return
        if member.count("/") > DEEPEST:
            self._unread(member, OSError(_DEEP, "nested too deeply"))
        else:
            self._add_directory(place, member, above)

    def _add_file(self, place: Path, member: str, above: int | None) -> None:
        """Add a regular file or a link; sockets, pipes and devices are skipped.

        Errors in reading are recorded. Errors in writing the archive are raised.
        """
        if place in self._copies:
            with self._copies[place].open("rb") as copy:
                self._add_copy(member, copy, place.stat())
            return
        if place in self._plan.skipped and place not in self._damaged:
            return
        member = self._damaged.get(place, member)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
            try:
                status, link = self._read(_name(place, above), above, member, copy)
            except OSError as error:
                self._unread(member, error)
                return
            if link:
                info = _info(member, status, tarfile.SYMTYPE)
                info.linkname = link
                self._tar.addfile(info)
            elif stat.S_ISREG(status.st_mode):
                self._add_copy(member, copy, status)
                if status.st_nlink > 1 and member.startswith(self._students):
                    file = status.st_dev, status.st_ino
                    first, read = self._linked.get(file, (member, 0))
                    self._linked[file] = first, read + status.st_size

    def _read(
        self, name: str, above: int | None, member: str, copy: IO[bytes]
    ) -> tuple[os.stat_result, str]:
        """Return a file's status and the target of a link; read a regular file into ``copy``.

        As many bytes are read as it had at first: it may grow without end. A file is not read again
        and again by its names: a student can make some hundred thousand of them.

        Raises: ``OSError``, also for a large file that is nearly empty.
        """
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return status, os.readlink(name, dir_fd=above)
        if not stat.S_ISREG(status.st_mode):
            return status, ""
        with os.fdopen(os.open(name, open_flags.READ_FILE, dir_fd=above), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max(_SPARSE_BYTES, status.st_blocks * 512 * _SPARSE_TIMES):
                raise OSError(_HOLE, "a large file that is nearly empty")
            first, read = self._linked.get((status.st_dev, status.st_ino), ("", 0))
            if read > _NAMES_BYTES:
                raise OSError(_NAMES, f"another name of {first}")
            holes = max(0, status.st_size - status.st_blocks * 512 * _HOLES_TIMES)
            if not self._has_room(member, _HOLES_BYTES, holes):
                raise OSError(_HOLE, "one of many files that are nearly empty")
            most = status.st_size
            while most > 0 and (data := file.read(min(most, _CHUNK))):
                most -= copy.write(data)
        return status, ""

    def _add_copy(self, member: str, copy: IO[bytes], status: os.stat_result) -> None:
        """Add a private copy of a file, which no other process writes to."""
        info = _info(member, status)
        info.size = copy.seek(0, os.SEEK_END)
        copy.seek(0)
        digest = hashlib.sha256()
        while data := copy.read(_CHUNK):
            digest.update(data)
        copy.seek(0)
        self._tar.addfile(info, copy)
        self.files[written(info.name)] = digest.hexdigest()

    def _unread(self, member: str, error: OSError) -> None:
        """Record a file that could not be read, unless it was removed in the meantime."""
        if isinstance(error, FileNotFoundError):
            return
        student = self._student_of(member)
        line = printable(f"{member}: {error.strerror or error}")
        if not student or error.errno not in _STUDENTS_DOING:
            self.left_out.append(line)
        elif self._has_room(member, _LINES_LISTED, len(line.encode())):
            self._by_students.append(line)
        else:
            self._further[student] += 1

    def _leave_out(self, member: str, why: str) -> None:
        self.left_out.append(printable(f"{member}: {why}"))


def _name(place: Path, above: int | None) -> str:
    """Return the name to open: in the opened directory ``above``, or the path of a root."""
    return str(place) if above is None else place.name


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
        self._pass_on(self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
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
        STATE: state,
    }
    roots = [Root(name=COURSE, path=str(course.resolve()))]
    missing: list[str] = []
    # A directory outside the course (by a link or an absolute path) is a separate root.
    for key, path in named.items():
        real = path.resolve()
        if _member_of(real, roots):
            continue
        if real.is_dir():
            roots.append(Root(name=f"outside-{len(roots)}", path=str(real), key=key))
        elif key in _HUBS_OWN:
            missing.append(printable(f"{key}: there is no {real}"))
    file = sqlite_file(database_url(loaded.settings.database.url, loaded.course_dir))
    found = {"gradebook.path": loaded.gradebook_path} | ({"database.url": file} if file else {})
    databases = {key: path.resolve() for key, path in found.items() if path.is_file()}
    for key, path in databases.items():
        if not _member_of(path, roots):
            name = f"outside-{len(roots)}"
            roots.append(Root(name=name, path=str(path), key=key, kind="file"))
    skipped = {state / name for name in _STATE_AGAIN}
    skipped |= {named[key] / _STAGING for key in ("hub.release_dir", "hub.notebooks_dir")}
    skipped.add(loaded.path(hub.environments_dir))
    if hub.uv_cache_dir:
        skipped.add(loaded.path(hub.uv_cache_dir))
    skipped |= {path / LOST_AND_FOUND for path in (course, *named.values())}
    for path in databases.values():
        skipped |= {path.with_name(path.name + end) for end in COMPANIONS}
    return _Plan(
        roots=tuple(roots),
        missing=tuple(missing),
        databases=tuple(databases.values()),
        external_database=file is None,
        skipped=frozenset(path.parent.resolve() / path.name for path in skipped),
        students=named["hub.notebooks_dir"].resolve(),
    )


def _member_of(path: Path, roots: Sequence[Root]) -> str:
    """Return a path's name in the archive, "" if it is below no root."""
    for root in roots:
        if path.is_relative_to(root.path):
            return "/".join((root.name, *path.relative_to(root.path).parts))
    return ""


def _info(member: str, status: os.stat_result, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member)
    info.type = kind
    info.mode = stat.S_IMODE(status.st_mode) & 0o777
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = int(status.st_mtime)
    return info
