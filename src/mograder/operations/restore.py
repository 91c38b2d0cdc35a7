"""``mograder hub restore``: restores a backup completely or not at all.

The whole backup is read and compared with its checksums, then unpacked to temporary directories,
and moved to its places in the end, or back if that fails; only a kill there leaves a part. Existing
files are never overwritten. Of students' work, what has too long a name for the disk is left out
and listed: one of them could prevent every restore.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files.disk import DISK, Place, explained_when_full
from mograder.core.log import printable
from mograder.core.names import LOST_AND_FOUND
from mograder.core.settings import FILE_NAME, load_settings
from mograder.core.tasks import Progress
from mograder.operations.archive import (
    COMPANIONS,
    COURSE,
    DAMAGED,
    MANIFEST,
    STATE,
    Header,
    Root,
    Verified,
    member_parts,
    members,
    opened,
    verify,
    written,
)
from mograder.store.database.database import open_engine, sqlite_url
from mograder.store.database.upgrades import awaits_upgrade
from mograder.store.filesystem.files import remove_tree

_STAGED = ".restoring-"
_LATEST_TIME = 1 << 62
"""In seconds; a student may give a file a time that no disk takes back."""
_DATABASES = {"": ".mograder/hub.db", STATE: "hub.db", "database.url": ""}
"""Where the hub's database is in a root, by its key."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored backup: its contents, and each of its roots with where it is now."""

    whole: Verified
    roots: tuple[tuple[Root, Path], ...]

    def left_to_do(self) -> list[str]:
        """Return a line for each setting, and each link of the course, that names another place.

        A hub with these would work in the old place, or make an empty one there. A relative link
        may lead to the new place as it is.
        """
        course, now = next(each for each in self.roots if each[0].name == COURSE)
        links = {
            os.path.realpath(Path(course.path, path.readlink())): path
            for path in now.iterdir()
            if path.is_symlink()
        }
        moved = [
            (root, target, links.get(root.path))
            for root, target in self.roots
            if root.key and str(target) != root.path and not target.name.endswith(DAMAGED)
        ]
        return [
            _left_to_do(root, target, now, link)
            for root, target, link in moved
            if link is None or os.path.realpath(link) != os.path.realpath(target)
        ]


def _left_to_do(root: Root, target: Path, course: Path, link: Path | None) -> str:
    if link is not None:
        said = f"The link {link} leads to {os.path.realpath(link)}; change it: "
        return printable(f"{said}ln -sfn {shlex.quote(str(target))} {shlex.quote(str(link))}")
    section, _, name = root.key.partition(".")
    if not name:
        return printable(f"Nothing in {course} leads to {target}, where {root.key} is now.")
    value = sqlite_url(target) if root.key == "database.url" else str(target)
    setting = f"[{section}] {name} = {json.dumps(value, ensure_ascii=False)}"
    return printable(f"Write into {course / FILE_NAME}: {setting}")


@dataclass(frozen=True, slots=True)
class _Place:
    """The target of one root, and the directory where it is unpacked first."""

    root: Root
    target: Path
    staged: Path

    @property
    def grown(self) -> Path:
        return self.staged / "root"


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
    whole = verify(archive, report)
    with opened(archive) as (header, tar), explained_when_full():
        chosen = _places(header, directory, places)
        try:
            for place in chosen:
                _ensure_directory(place.staged.parent)
                place.staged.mkdir(mode=0o700)
            report(f"Unpacking the backup of {header.made:%Y-%m-%d %H:%M} UTC")
            too_long = _unpack(tar, header, chosen)
            _demand_students_names(too_long, chosen)
            for place in chosen:
                _check_version(place)
            os.sync()
            _move_all([move for place in chosen for move in _moves(place)])
            os.sync()
        finally:
            for place in chosen:
                remove_tree(place.staged)
    told = tuple(printable(f"{each.name}: too long a name for this disk") for each in too_long)
    files = whole.files - sum(each.isreg() for each in too_long)
    whole = replace(whole, files=files, left_out=(*told, *whole.left_out))
    return Restored(whole, tuple((place.root, place.target) for place in chosen))


def _places(
    header: Header, directory: Path | None, places: Mapping[str, Path]
) -> tuple[_Place, ...]:
    """Choose each root's target and staging directory, and check that the target is empty."""
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
        if root.kind == "file" and written(root.name) not in header.databases:
            target = target.with_name(target.name + DAMAGED)
        _demand_empty(target, root)
        # Stage inside a target directory, since it may be the root of a volume.
        inside = target if root.kind == "directory" else target.parent
        chosen.append(_Place(root, target, inside / f"{_STAGED}{secrets.token_hex(6)}"))
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
    paths = [target]
    if root.kind == "file":  # SQLite would write an older database's journal into the restored one
        paths += [target.with_name(f"{target.name}{end}") for end in COMPANIONS]
    found = [path for path in paths if os.path.lexists(path)]
    if found and root.kind == "directory" and target.is_dir():
        found = sorted(path for path in target.iterdir() if path.name != LOST_AND_FOUND)
    if not found:
        return
    option = f" or choose another place by --place {root.key}=…" if root.key else ""
    raise Conflict(  # what is named may be hidden, such as what a killed restore has left
        f"There is something at {found[0]}, which a backup never overwrites.",
        hint=f"Move it away{option}.",
    )


def _unpack(
    tar: tarfile.TarFile, header: Header, places: tuple[_Place, ...]
) -> list[tarfile.TarInfo]:
    """Write every member below its staged root, with its mode, time and, as root, its owner.

    Returns the members whose names are too long to be written.
    """
    places_by_name = {place.root.name: place for place in places}
    too_long = []

    def placed() -> Iterator[tarfile.TarInfo]:
        for member in members(tar, header):
            if member.name == MANIFEST:
                return
            top, *rest = member_parts(member.name)
            place = places_by_name[top]
            path = place.grown.joinpath(*rest)
            if _is_too_long(path, member):
                too_long.append(member)
                continue
            member.name = str(path)
            member.mode &= 0o777
            member.mtime = min(member.mtime, _LATEST_TIME)
            if member.uid in (0, header.owner):  # who may have another uid on this machine
                owner = place.staged.parent.stat()
                member.uid, member.gid = owner.st_uid, owner.st_gid
            yield member

    tar.errorlevel = 2
    tar.extraction_filter = lambda member, path: member
    tar.extractall("/", placed(), numeric_owner=True)  # noqa: S202 - members() has checked them
    return too_long


def _is_too_long(path: Path, member: tarfile.TarInfo) -> bool:
    """Return whether the disk refuses a path, or the target of a link, for its length."""
    try:
        if member.issym():  # XFS takes no target of more than 1,023 bytes
            path.symlink_to(member.linkname)
            path.unlink()
        else:
            path.lstat()
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ENOENT):
            raise
        return error.errno == errno.ENAMETOOLONG
    return False


def _demand_students_names(too_long: list[tarfile.TarInfo], places: tuple[_Place, ...]) -> None:
    """Raises: :class:`InvalidInput` if a name that is too long is not of a student's work."""
    if not too_long:
        return
    course = next(place for place in places if place.root.name == COURSE)
    named = load_settings(course.grown, environ={}).settings.hub.notebooks_dir
    inside = os.path.relpath(Path(course.root.path, named), course.root.path)
    apart = [place.root.name for place in places if place.root.key == "hub.notebooks_dir"]
    top = apart[0] if apart else f"{COURSE}/{inside}"
    for member in too_long:
        if not member.name.startswith(f"{top}/"):
            raise InvalidInput(
                printable(f"{member.name} has too long a name for this disk."),
                hint="Restore into a directory with a shorter path, or on another disk.",
            )


def _check_version(place: _Place) -> None:
    """Check that this mograder can read the hub's tables. Raises: :class:`Conflict`."""
    if place.root.key not in _DATABASES or place.target.name.endswith(DAMAGED):
        return
    file = place.staged.resolve() / place.grown.name / _DATABASES[place.root.key]
    # A link may lead to the running hub's database, or to any file if the backup was forged.
    if not file.is_file() or file.resolve() != file:
        return
    engine = open_engine(sqlite_url(file))
    try:
        awaits_upgrade(engine)
    finally:
        engine.dispose()


def _moves(place: _Place) -> list[tuple[Path, Path]]:
    if not os.path.lexists(place.grown):
        return []
    if place.root.kind == "file":
        return [(place.grown, place.target)]
    return [(path, place.target / path.name) for path in sorted(place.grown.iterdir())]


def _move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move each path to its target; after an error, those that were moved are back."""
    for _, target in moves:
        if os.path.lexists(target):
            raise _taken(target)
    try:
        for path, target in moves:
            _move(path, target)
    except BaseException:
        for path, target in moves:
            if not os.path.lexists(path):
                _move(target, path)
        raise


def _taken(target: Path) -> Conflict:
    return Conflict(
        f"There is something at {target} by now, so nothing was restored.",
        hint="Give each --place a directory of its own, which nothing else writes to.",
    )


def _move(path: Path, target: Path) -> None:
    """Raise :class:`Conflict` when the target was created since it was checked."""
    mode = path.lstat().st_mode
    closed = stat.S_ISDIR(mode) and not mode & stat.S_IWUSR
    try:
        if closed:  # only a directory that its owner may write to can be moved to another one
            path.chmod(stat.S_IMODE(mode) | stat.S_IWUSR)
        DISK.place(Place.of(path), Place.of(target))
        if closed:
            target.chmod(stat.S_IMODE(mode))
    except FileExistsError as error:
        raise _taken(target) from error
