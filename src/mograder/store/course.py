"""Where a course's sources and releases lie, and how a release takes the place of an old one.

Names are resolved as 0.3.16 does (compatibility-0.3.16.md 7). A release is made beside the old one
and swapped in when it is complete: whatever goes wrong before, the old one stays as it was.
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

from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.lookup import Words, find_name, nfc
from mograder.core.names import ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.references import names_folder
from mograder.store.belongings import Belongings, belongings, is_private
from mograder.store.files import atomic_write, entry_named, exchange_or_rename, remove_tree

_MAX_SUPPORT = 1_000_000_000
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

    A name without a slash that does not end in ``.py`` is looked up among the directories of
    ``base`` (:mod:`mograder.core.lookup`). A path is a notebook, or a directory with notebooks.

    Raises:
        InvalidInput: No directory or several match, which the message lists; or the path is no
            notebook.
    """
    if "/" in argument or argument.endswith(".py"):
        return _at(Path(argument).expanduser().absolute())
    return _in(base / _meant(argument, _directories(base), base))


def find_notebooks(argument: str, bases: Sequence[Path]) -> tuple[Path, ...]:
    """Return the notebooks that a command line's name means, in the first base that holds it.

    The name is looked up among the directories of all bases together, so that it means the same
    wherever an item lies. A path may have any name, since a student's file lies anywhere.

    Raises:
        InvalidInput: As :func:`find_source`.
    """
    path = Path(argument).expanduser().absolute()
    if argument.endswith(".py") and path.is_file():
        return (path,)
    if "/" in argument or argument.endswith(".py"):
        return _at(path).notebooks
    places: dict[str, Path] = {}
    for base in bases:
        for name in _directories(base):
            places.setdefault(nfc(name), base / name)
    return _in(places[_meant(argument, list(places), bases[0])]).notebooks


def _meant(argument: str, names: Sequence[str], base: Path) -> str:
    """Return the name that an argument means.

    Raises:
        InvalidInput: None or several; 0.3.16 calls both a mistake of the command line.
    """
    words = Words("source", f"in {shown(base)}", f"{shown(base)} holds no sources.")
    try:
        return find_name(argument, names, words)
    except NotFound as error:
        raise InvalidInput(error.message, hint=error.hint) from error


def find_release(notebook: Path, assignment: str, bases: Sequence[Path]) -> Path | None:
    """Return the release that a student's notebook was made from, if one of the bases has it.

    ``assignment`` is what its header says; without a word there, its directory's name.
    """
    try:
        name = ItemName.parse(assignment or notebook.parent.name)
    except InvalidInput:
        return None
    folders = [entry_named(base, name) for base in bases]
    files = (notebook.name, f"{name}.py")
    places = [entry_named(folder, file) for folder in folders for file in files]
    return next((place for place in places if place.is_file()), None)


def read_notebook(path: Path) -> str:
    """Return a notebook's text, line ends as they are.

    Raises:
        InvalidInput: It is no UTF-8 text, or cannot be read; :class:`TooLarge` beyond 16 MB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_NOTEBOOK + 1)
    except OSError as error:
        raise InvalidInput(f"{shown(path)}:1: cannot be read: {error.strerror}.") from error
    if len(data) > MAX_NOTEBOOK:
        raise TooLarge(f"{shown(path)}:1: larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "Save the notebook as UTF-8."
        raise InvalidInput(f"{shown(path)}:{line}: this is no UTF-8 text.", hint=hint) from error


def support_files(item: SourceItem, texts: Sequence[str]) -> Belongings:
    """Return what goes with the notebooks: plain files beside them, ``public/``, and the folders
    that they or the Python files that go along name.

    ``texts`` are the notebooks as they are handed out: a folder that only a solution or a hidden
    test names is part of it.

    Never what is hidden, previews and archives beside the notebook, another notebook's text that
    may be a copy with solutions, or a folder that nothing names, which may hold solutions too.

    Raises:
        TooLarge: There are more than ten thousand, or a gigabyte of them.
    """
    own = {notebook.name for notebook in item.notebooks}
    modules = (
        path
        for path in sorted(item.directory.glob("*.py"))
        if not (
            path.name in own or is_private(path.name) or _is_copy_of_a_notebook(path.name, item)
        )
    )
    read = [*texts, *map(_text_or_nothing, modules)]
    found = belongings(item.directory, lambda name: any(names_folder(t, name) for t in read))
    copies = {name for name in found.files if _is_copy_of_a_notebook(name, item)}
    kept = found.without(copies, "it may be a copy of the notebook")
    files = tuple(name for name in kept.files if name not in own)
    if sum((item.directory / name).stat().st_size for name in files) > _MAX_SUPPORT:
        raise TooLarge(f"{shown(item.directory)} holds more than {_MAX_SUPPORT // 10**9} GB.")
    return Belongings(files, kept.left)


class ReleaseBuild:
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
        """Copy a file that the release does not have, or has an older one of.

        See compatibility-0.3.16.md 7.
        """
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
def staged_release(target: Path) -> Iterator[ReleaseBuild]:
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
        yield ReleaseBuild(place, target)
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
    directory = named_directory(path.parent)
    return SourceItem(ItemName.parse(directory.name), directory, (directory / path.name,))


def _in(directory: Path) -> SourceItem:
    directory = named_directory(directory)
    name = ItemName.parse(directory.name)
    main = entry_named(directory, f"{name}.py")
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


def named_directory(directory: Path) -> Path:
    """Return a path that ends in the directory's name; a link keeps the name of the link."""
    return directory if directory.name not in ("", "..") else directory.resolve()


def _directories(base: Path) -> list[str]:
    if not base.is_dir():
        return []
    return sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))


def _text_or_nothing(path: Path) -> str:
    """Return a module's text, "" if it cannot be read."""
    try:
        return read_notebook(path) if path.is_file() else ""
    except InvalidInput:
        return ""


def _is_copy_of_a_notebook(name: str, item: SourceItem) -> bool:
    stems = {notebook.stem for notebook in item.notebooks} | {str(item.name)}
    path = Path(name)
    found = _TIMESTAMPED.search(path.stem)
    if "/" in name or path.suffix != ".py" or found is None:
        return False
    return path.stem[: found.start()] in stems


def _link_or_copy(source: str, target: str) -> None:
    """Give a file a second name where the file system can: we only ever replace files."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
