"""``mograder hub restore``: restores a backup completely or not at all.

All files are unpacked to temporary directories and compared with the backup's checksums before
they are moved to their places. Existing files are never overwritten.
"""

from __future__ import annotations

import os
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.disk import DISK, Place, explained_when_full
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.single_flight import Progress
from mograder.operations.archive import (
    COURSE,
    HEADER,
    MANIFEST,
    Header,
    Manifest,
    Root,
    compared,
    damaged,
    explained,
    member_parts,
    opened,
    read_first,
    read_manifest,
    unpack,
    written,
)
from mograder.store.database.database import (
    awaits_upgrade,
    check_sqlite,
    database_url,
    open_engine,
)
from mograder.store.filesystem.files import remove_tree

_STAGED = ".restoring-"
_HARMLESS = frozenset({"lost+found"})
"""The entries of a new, empty file system."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore. ``left_out`` has the backup's messages about omitted files."""

    files: int
    places: tuple[Path, ...]
    left_out: tuple[str, ...]
    external_database: bool
    version: str


@dataclass(frozen=True, slots=True)
class _Place:
    """The target of one root, and the directory where it is unpacked first."""

    root: Root
    target: Path
    staged: Path


@dataclass(slots=True)
class _Unpacked:
    """The members unpacked so far: SHA-256 and size by file, and links and directories.

    Links are created, and owners and times of directories set, after all files are written.
    """

    sums: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: list[tuple[Path, tarfile.TarInfo]] = field(default_factory=list)
    directories: list[tuple[Path, tarfile.TarInfo]] = field(default_factory=list)
    manifest: Manifest | None = None


def restore(
    archive: Path, directory: Path | None, places: Mapping[str, Path], report: Progress
) -> Restored:
    """Restore a backup into an empty directory, by default the course's original one.

    What stood outside the course is restored to the paths in ``places``, by setting; without
    ``directory``, by default, to the original paths. Those stand in the backup, which may have been
    changed: with ``directory`` nothing is written where the caller did not say.

    Raises: :class:`Conflict` if a target is not empty, :class:`InvalidInput` if the file is not a
    backup or is damaged, or a place is missing, :class:`Busy` when the disk is full.
    """
    with opened(archive) as tar:
        header = read_first(tar)
        chosen = _places(header, directory, places)
        try:
            manifest = _carry_out(tar, header, chosen, report)
        finally:
            for place in chosen:
                remove_tree(place.staged)
    return Restored(
        files=len(manifest.files),
        places=tuple(place.target for place in chosen),
        left_out=manifest.left_out + manifest.unsettled,
        external_database=header.external_database,
        version=header.version,
    )


def _carry_out(
    tar: tarfile.TarFile, header: Header, chosen: tuple[_Place, ...], report: Progress
) -> Manifest:
    """Unpack the archive, compare it with its manifest, and move the files to their places."""
    with explained_when_full(), explained():
        report(f"Unpacking the backup of {header.made:%Y-%m-%d %H:%M} UTC")
        unpacked = _unpack(tar, chosen, header)
        report("Comparing every file with the backup's list")
        manifest = compared(unpacked.manifest, unpacked.sums)
        _check_databases(header, chosen)
        _finish(unpacked, chosen)
        os.sync()
        for place in chosen:
            _put_in_place(place)
        os.sync()
    return manifest


def _places(
    header: Header, directory: Path | None, places: Mapping[str, Path]
) -> tuple[_Place, ...]:
    """Choose each root's target, check that it is empty, and create its staging directory."""
    outside = {root.key for root in header.roots if root.name != COURSE}
    if unknown := sorted(places.keys() - outside):
        raise InvalidInput(f"The backup has nothing for {', '.join(unknown)}.")
    if directory is not None and (missing := sorted(outside - places.keys())):
        raise InvalidInput(
            f"Outside the course stood {', '.join(missing)}.",
            hint=" ".join(["Say where it goes:", *(f"--place {key}=PATH" for key in missing)]),
        )
    chosen = []
    for root in header.roots:
        wanted = directory if root.name == COURSE else places.get(root.key)
        target = Path(root.path) if wanted is None else wanted.absolute()
        _demand_empty(target, root)
        # Stage inside a target directory, since it may be the root of a volume.
        inside = target if root.kind == "directory" else target.parent
        chosen.append(_Place(root, target, inside / f"{_STAGED}{secrets.token_hex(6)}"))
    for place in chosen:
        _ensure_directory(place.staged.parent)
        place.staged.mkdir(mode=0o700)
    return tuple(chosen)


def _ensure_directory(path: Path) -> None:
    """Create a directory and its missing parents, each with the owner of its parent."""
    if path.is_dir():
        return
    _ensure_directory(path.parent)
    path.mkdir(mode=0o750)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _demand_empty(target: Path, root: Root) -> None:
    free = not os.path.lexists(target)
    if not free and root.kind == "directory" and target.is_dir():
        free = {path.name for path in target.iterdir()} <= _HARMLESS
    if free:
        return
    option = f" or choose another place by --place {root.key}=…" if root.key else ""
    raise Conflict(
        f"There is something at {target}, which a backup never overwrites.",
        hint=f"Move it away{option}.",
    )


def _unpack(tar: tarfile.TarFile, places: tuple[_Place, ...], header: Header) -> _Unpacked:
    """Write every file below its staged root. Links are made later, so no write follows one."""
    staged = {place.root.name: place.staged / "root" for place in places}
    unpacked = _Unpacked()
    for member in tar:
        if member.name == HEADER:  # read already; iterating a stream yields it again
            continue
        if member.name == MANIFEST:
            unpacked.manifest = read_manifest(tar, member)
            break
        top, *rest = member_parts(member.name)
        if top not in staged:
            raise damaged(f"it holds {member.name!r}, which belongs to nothing")
        path = staged[top].joinpath(*rest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                path.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise damaged(f"it holds something below {member.name!r}, which is a file") from error
        if member.isdir():
            unpacked.directories.append((path, member))
        elif member.issym():
            unpacked.links.append((path, member))
        elif member.isreg():
            unpacked.sums[written(member.name)] = _write(tar, member, path)
            _set(path, _owned(member, header))
        else:
            raise damaged(f"{member.name!r} is neither a file, a directory nor a link")
    unpacked.directories = [(path, _owned(member, header)) for path, member in unpacked.directories]
    unpacked.links = [(path, _owned(member, header)) for path, member in unpacked.links]
    return unpacked


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> tuple[str, int]:
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, create, 0o600)
    except FileExistsError as error:
        raise damaged(f"it holds {member.name!r} twice") from error
    with os.fdopen(descriptor, "wb") as file:
        return unpack(tar, member, file)


def _owned(member: tarfile.TarInfo, header: Header) -> tarfile.TarInfo:
    """Set the ids of the course's owner to -1: the owner may have another uid on this machine."""
    if member.uid == header.owner:
        member.uid = member.gid = -1
    return member


def _set(path: Path, member: tarfile.TarInfo) -> None:
    """Set mode, time and owner; the owner only as root."""
    if not path.is_symlink():
        path.chmod(member.mode & 0o777)
    if os.geteuid() == 0:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not path.is_symlink():
        os.utime(path, (member.mtime, member.mtime))


def _check_databases(header: Header, places: tuple[_Place, ...]) -> None:
    """Check that the databases are undamaged, and that this mograder can read the hub's tables.

    Raises: :class:`InvalidInput` for a damaged one, :class:`Conflict` for a newer one.
    """
    staged = {place.root.name: place.staged / "root" for place in places}
    for member in header.databases:
        top, *rest = member_parts(member)
        path = staged[top].joinpath(*rest)
        if not path.is_file():
            raise damaged(f"{member} is missing")
        check_sqlite(path)
    course = staged[COURSE]
    hub = course / ".mograder" / "hub.db"
    if hub.is_file():
        engine = open_engine(database_url("", course))
        try:
            awaits_upgrade(engine)
        finally:
            engine.dispose()


def _finish(unpacked: _Unpacked, places: tuple[_Place, ...]) -> None:
    for path, member in unpacked.links:
        try:
            path.symlink_to(member.linkname)
        except FileExistsError as error:
            raise damaged(f"it holds {member.name!r} twice") from error
        _set(path, member)
    for path, member in reversed(unpacked.directories):
        _set(path, member)
    if os.geteuid() == 0:
        for place in places:
            _give_to_the_places_owner(place)


def _give_to_the_places_owner(place: _Place) -> None:
    """Give files that root has created here to the owner of the target's directory."""
    owner = place.staged.parent.stat()
    os.chown(place.staged, owner.st_uid, owner.st_gid)
    for directory, directories, files, descriptor in os.fwalk(place.staged, follow_symlinks=False):
        del directory
        for name in (*directories, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_uid == 0:
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=descriptor, follow_symlinks=False)


def _put_in_place(place: _Place) -> None:
    grown = place.staged / "root"
    if not os.path.lexists(grown):
        return
    if place.root.kind == "file":
        _move_in(grown, place.target)
        return
    for path in sorted(grown.iterdir()):
        _move_in(path, place.target / path.name)


def _move_in(path: Path, target: Path) -> None:
    """Move a restored file or directory to its target.

    Raises: :class:`Conflict` when the target was created since it was checked.
    """
    try:
        DISK.place(Place.of(path), Place.of(target))
    except FileExistsError as error:
        raise Conflict(
            f"{target} was made meanwhile; it was left as it is, and not all is restored.",
            hint="Restore once more into an empty directory that nothing else writes to.",
        ) from error
