"""Where a course's sources and releases lie, and how a release takes the place of an old one.

Names are resolved as 0.3.16 does (compat.md 7). A release is made beside the old one and swapped
in when it is complete: whatever goes wrong before, the old one stays as it was.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mograder.core.errors import Conflict, InvalidInput, TooLarge
from mograder.core.names import ItemName
from mograder.store.files import atomic_write, exchange_or_rename, remove_tree

SERVED = "public"
"""The one folder beside a notebook that marimo serves to its page."""

_NOT_COPIED = frozenset({".html", ".zip"})
_MAX_NOTEBOOK = 16_000_000
_MAX_FILES = 10_000
_MAX_SUPPORT = 1_000_000_000
_SHOWN = 20
_TIMESTAMPED = re.compile(r"[-_. ]\d{4}-?\d{2}-?\d{2}([-_T ]?\d{2}[-:]?\d{2}([-:]?\d{2})?)?Z?\Z")
"""What editors and 0.3.16's collecting put behind the name of a copy."""
_ZIPPED = (2025, 1, 1, 0, 0, 0)
_STAGING = ".mograder-staging-"


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A directory of sources: its name is the item's, its notebooks are what is released."""

    name: ItemName
    directory: Path
    notebooks: tuple[Path, ...]


def find_source(argument: str, base: Path) -> SourceItem:
    """Return what a command line's name means: a directory below ``base``, or a path.

    A name without a slash that does not end in ``.py`` is ``<base>/<name>/``, else the only
    directory that begins with ``<name>-``. A path is a notebook, or a directory with notebooks.

    Raises:
        InvalidInput: Nothing matches, or several do; the message lists them.
    """
    if "/" in argument or argument.endswith(".py"):
        return _at(Path(argument).expanduser().absolute())
    if argument and argument not in (".", "..") and (base / argument).is_dir():
        return _in(base / argument)
    names = _directories(base)
    candidates = [name for name in names if argument and name.startswith(f"{argument}-")]
    if len(candidates) == 1:
        return _in(base / candidates[0])
    if candidates:
        raise InvalidInput(f"'{argument}' may mean {_listed(candidates)}.", hint="Say which one.")
    there = f"{shown(base)} holds {_listed(names) if names else 'no sources'}."
    raise InvalidInput(f"There is no source '{argument}'.", hint=there)


def find_notebooks(argument: str, bases: Sequence[Path]) -> tuple[Path, ...]:
    """Return the notebooks that a command line's name means, in the first base that knows it.

    As :func:`find_source`; but a path may be called as it likes, since a student's file lies
    anywhere.

    Raises:
        InvalidInput: Nothing matches, or several do; the message lists them.
    """
    path = Path(argument).expanduser().absolute()
    if argument.endswith(".py") and path.is_file():
        return (path,)
    if "/" in argument or argument.endswith(".py"):
        return _at(path).notebooks
    for base in bases:
        names = _directories(base)
        if argument in names or any(name.startswith(f"{argument}-") for name in names):
            return find_source(argument, base).notebooks
    return find_source(argument, bases[0]).notebooks


def find_release(notebook: Path, assignment: str, bases: Sequence[Path]) -> Path | None:
    """Return the release that a student's notebook was made from, if one of the bases has it.

    ``assignment`` is what its header says; without a word there, its directory's name.
    """
    try:
        name = ItemName.parse(assignment or notebook.parent.name)
    except InvalidInput:
        return None
    places = [base / name / file for base in bases for file in (notebook.name, f"{name}.py")]
    return next((place for place in places if place.is_file()), None)


def read_notebook(path: Path) -> str:
    """Return a notebook's text, line ends as they are.

    Raises:
        InvalidInput: It is no UTF-8 text, or cannot be read; :class:`TooLarge` beyond 16 MB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_NOTEBOOK + 1)
    except OSError as error:
        raise InvalidInput(f"{shown(path)}:1: cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_NOTEBOOK:
        raise TooLarge(f"{shown(path)}:1: larger than {_MAX_NOTEBOOK // 1_000_000} MB.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "Save the notebook as UTF-8."
        raise InvalidInput(f"{shown(path)}:{line}: this is no UTF-8 text.", hint=hint) from error


def support_files(item: SourceItem) -> tuple[str, ...]:
    """Return what goes with the notebooks: plain files beside them and all below ``public/``.

    Never dotfiles, ``.html``, ``.zip``, nor another notebook's text, which may be a copy with
    solutions.

    Raises:
        TooLarge: There are more than ten thousand, or a gigabyte of them.
    """
    beside = [
        path
        for path in item.directory.iterdir()
        if path.is_file() and _goes_along(path.name) and path not in item.notebooks
    ]
    kept = [path for path in beside if not _is_copy_of_a_notebook(path, item)]
    found = [*kept, *_below(item.directory / SERVED)]
    if sum(path.stat().st_size for path in found) > _MAX_SUPPORT:
        raise TooLarge(f"{shown(item.directory)} holds more than {_MAX_SUPPORT // 10**9} GB.")
    return tuple(sorted(path.relative_to(item.directory).as_posix() for path in found))


class StagedRelease:
    """A release in the making, beside the old one; :meth:`commit` puts it in its place.

    It begins as a copy of the old release, so that what was laid there by hand stays.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._changed = not target.is_dir()

    def write(self, name: str, data: bytes) -> bool:
        """Write a file; false if it has these bytes already, and so keeps its time."""
        place = self.path / name
        if place.is_file() and place.read_bytes() == data:
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, data)
        self._changed = True
        return True

    def take(self, source: Path, name: str) -> bool:
        """Copy a file that the release does not have, or has an older one of (compat.md 7)."""
        place = self.path / name
        if place.is_file() and place.stat().st_mtime >= source.stat().st_mtime:
            return False
        data = source.read_bytes()
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, data)
        info = source.stat()
        os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns))
        self._changed = True
        return True

    def aside(self, name: str, data: bytes) -> Path:
        """Write a file that vanishes with the stage, beside the release and no part of it."""
        place = Path(tempfile.mkdtemp(dir=self.path.parent)) / name
        place.write_bytes(data)
        return place

    def differs(self, source: Path, name: str) -> bool:
        """Whether the release's file has other bytes than the source's."""
        return (self.path / name).read_bytes() != source.read_bytes()

    def zip(self, names: Sequence[str]) -> bool:
        """Bundle files as ``<item>.zip``; false if there was just this one."""
        files = {name: (self.path / name).read_bytes() for name in names}
        return self.write(f"{self._target.name}.zip", zip_bytes(files))

    def drop(self, name: str) -> None:
        """Remove a file that belongs to the old release only."""
        place = self.path / name
        if place.is_file():
            place.unlink()
            self._changed = True

    def commit(self) -> bool:
        """Take the old release's place in one step; false if nothing has changed."""
        if self._changed:
            exchange_or_rename(self.path, self._target)
        return self._changed


@contextmanager
def staged_release(target: Path) -> Iterator[StagedRelease]:
    """Make a release for ``target`` beside it; what is not committed vanishes.

    Raises:
        InvalidInput: Nothing can be written there.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from error
    try:
        place = workshop / target.name
        if target.is_dir():
            shutil.copytree(target, place, symlinks=True, copy_function=_link_or_copy)
        else:
            place.mkdir(mode=0o755)
        yield StagedRelease(place, target)
    finally:
        remove_tree(workshop)


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return an archive that depends on names and contents alone: no times, no modes, no order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _ZIPPED)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def write_new(files: Mapping[Path, str]) -> tuple[Path, ...]:
    """Write files that do not exist yet, all of them or none; return them.

    Raises:
        Conflict: One is there already.
        InvalidInput: One cannot be written.
    """
    if there := [shown(path) for path in files if path.exists() or path.is_symlink()]:
        raise Conflict(
            f"{', '.join(there)} exists already; nothing was written.",
            hint="Choose another name.",
        )
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Exclusively: whoever made it since the look above keeps theirs.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise InvalidInput(f"{shown(path)} cannot be written: {error.strerror}.") from error
    return tuple(written)


def shown(path: Path) -> str:
    """Return a path as people name it: from where they are, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _at(path: Path) -> SourceItem:
    if path.is_dir():
        return _in(path)
    if path.suffix != ".py" or not path.is_file():
        raise InvalidInput(
            f"There is no notebook {shown(path)}.", hint="Give a name, or a .py file."
        )
    directory = _named(path.parent)
    return SourceItem(ItemName.parse(directory.name), directory, (directory / path.name,))


def _in(directory: Path) -> SourceItem:
    directory = _named(directory)
    name = ItemName.parse(directory.name)
    main = directory / f"{name}.py"
    if main.is_file():
        return SourceItem(name, directory, (main,))
    found = sorted(
        path
        for path in directory.glob("*.py")
        if path.is_file() and not path.name.startswith(".") and not _TIMESTAMPED.search(path.stem)
    )
    if not found:
        _no_notebook(directory, main)
    return SourceItem(name, directory, tuple(found))


def _no_notebook(directory: Path, main: Path) -> NoReturn:
    raise InvalidInput(
        f"{shown(directory)} holds no notebook.",
        hint=f"Create it with `marimo edit {shown(main)}`.",
    )


def _named(directory: Path) -> Path:
    """Return a path that ends in the directory's name; a link keeps the name of the link."""
    return directory if directory.name not in ("", "..") else directory.resolve()


def _directories(base: Path) -> list[str]:
    if not base.is_dir():
        return []
    return sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))


def _goes_along(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() not in _NOT_COPIED


def _is_copy_of_a_notebook(path: Path, item: SourceItem) -> bool:
    stems = {notebook.stem for notebook in item.notebooks} | {str(item.name)}
    found = _TIMESTAMPED.search(path.stem)
    return path.suffix == ".py" and found is not None and path.stem[: found.start()] in stems


def _below(directory: Path) -> list[Path]:
    """List the files of a tree, without hidden ones and links to directories."""
    found: list[Path] = []
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
        if len(found) > _MAX_FILES:
            raise TooLarge(f"{directory} holds more than {_MAX_FILES} files.")
    return [path for path in found if path.is_file()]


def _link_or_copy(source: str, target: str) -> None:
    """Give a file a second name where the file system can: we only ever replace files."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
