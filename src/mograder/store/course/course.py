"""Finding a course's sources and releases, and replacing a release by a new one.

Names are resolved as 0.3.16 does (compatibility-0.3.16.md 7). A release is built beside the old
one and exchanged with it when it is complete; after an error the old one is unchanged.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.files.disk import DISK, Place, explained_when_full
from mograder.core.name_lookup import Words, find_name
from mograder.core.names import ItemName, nfc
from mograder.core.operating_system import expanded
from mograder.core.settings import FILE_NAME
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.references import names_folder
from mograder.store.course.support_files import (
    Belongings,
    belongings,
    is_private,
    marks_solution,
)
from mograder.store.filesystem.files import (
    PARKED,
    atomic_write,
    entry_named,
    exchange_or_rename,
    remove_tree,
)

_MAX_SUPPORT = 1_000_000_000
_TIMESTAMPED = re.compile(r"[-_. ]\d{4}-?\d{2}-?\d{2}([-_T ]?\d{2}[-:]?\d{2}([-:]?\d{2})?)?Z?\Z")
"""The time that editors and 0.3.16's ``collect`` append to the name of a copy."""
_ZIPPED = (2025, 1, 1, 0, 0, 0)
_STAGING = ".mograder-staging-"
_KEPT_SECONDS = 86_400
"""The age of a staging directory that only a killed run can have left: no run takes a day."""


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A directory of sources, named like the item, and its notebooks, which are released."""

    name: ItemName
    directory: Path
    notebooks: tuple[Path, ...]


def find_source(argument: str, base: Path) -> SourceItem:
    """Return the source that a command-line argument names: a directory in ``base``, or a path.

    A name without a slash that does not end in ``.py`` is looked up among the directories of
    ``base`` (:mod:`mograder.core.name_lookup`). A path is a notebook, or a directory of notebooks.

    Raises:
        InvalidInput: No directory matches, or several do (the message lists them); or the path
            is not a notebook.
    """
    if is_path(argument):
        return _at(argument_path(argument).absolute())
    if not base.is_dir() and not any((up / FILE_NAME).is_file() for up in base.parents):
        raise InvalidInput(
            f"You are not in a course: there is no {FILE_NAME} in {base.parent} or above.",
            hint="Change to the directory of your course, or name it: -C DIRECTORY.",
        )
    return _in(base / _meant(argument, _directories(base), base))


def find_notebooks(argument: str, bases: Sequence[Path]) -> tuple[Path, ...]:
    """Return the notebooks that a command-line argument names, in the first base that has it.

    The name is looked up among the directories of all bases together, so that it selects the same
    item in each of them. A path may lead anywhere, since a student's file may be anywhere.

    Raises: as :func:`find_source`.
    """
    path = argument_path(argument).absolute()
    if argument.endswith(".py") and path.is_file():
        return (path,)
    if is_path(argument):
        return _at(path).notebooks
    places: dict[str, Path] = {}
    for base in bases:
        for name in _directories(base):
            places.setdefault(nfc(name), base / name)
    return _in(places[_meant(argument, list(places), bases[0])]).notebooks


def _meant(argument: str, names: Sequence[str], base: Path) -> str:
    """Raise InvalidInput if it selects no name or several: a usage error, as in 0.3.16."""
    words = Words("source", f"in {shown(base)}", f"{shown(base)} holds no sources.")
    try:
        return find_name(argument, names, words)
    except NotFound as error:
        raise InvalidInput(error.message, hint=error.hint) from error


def find_release(notebook: Path | None, assignment: str, bases: Sequence[Path]) -> Path | None:
    """Return the released notebook that a student's notebook was made from; None if not found.

    ``assignment`` is the name in the notebook's header; if empty, its directory's name is used.
    Without a notebook the release is found by the assignment's name alone.
    """
    name = ItemName.valid(assignment or (notebook.parent.name if notebook else ""))
    if name is None:
        return None
    folders = [entry_named(base, name) for base in bases]
    own = f"{name}.py"
    files = (notebook.name if notebook else own, own)
    places = [entry_named(folder, file) for folder in folders for file in files]
    return next((place for place in places if place.is_file()), None)


def read_notebook(path: Path) -> str:
    """Return a text with its line ends. Raises: InvalidInput (unreadable, no UTF-8), TooLarge."""
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
    """Return the files released with the notebooks: regular files beside them, ``public/``, and
    the folders named in the notebooks or in released Python modules.

    ``texts`` are the notebooks as students receive them, so a folder that is named only in a
    solution or a hidden test is left out.

    Left out are hidden files, previews and archives, timestamped copies of a notebook, folders that
    are not named, and whatever marks a solution: the last three may contain solutions.

    Raises: TooLarge for more than 10,000 files, or more than 1 GB.
    """
    own = {notebook.name for notebook in item.notebooks}
    modules = (
        path
        for path in sorted(item.directory.glob("*.py"))
        if not (path.name in own or is_private(path.name) or _against_support(path.name, item))
    )
    read = [*texts]
    for module in filter(Path.is_file, modules):
        with suppress(InvalidInput):
            read.append(read_notebook(module))
    found = belongings(item.directory, lambda name: any(names_folder(t, name) for t in read))
    against = {name: _against_support(name, item) for name in found.files if name not in own}
    kept = found.without({name: reason for name, reason in against.items() if reason})
    files = tuple(name for name in kept.files if name not in own)
    if sum((item.directory / name).stat().st_size for name in files) > _MAX_SUPPORT:
        raise TooLarge(f"{shown(item.directory)} holds more than {_MAX_SUPPORT // 10**9} GB.")
    return Belongings(files, kept.left)


class ReleaseBuild:
    """A new release that begins as a copy of the old one, with what was added there by hand."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._changed = not target.is_dir()

    def write(self, name: str, data: bytes) -> bool:
        """Write a file; return False if it has these bytes already, and leave it as it is."""
        place = self.path / name
        if place.is_file() and place.read_bytes() == data:
            return False
        self._put(place, data)
        return True

    def write_text(self, name: str, text: str) -> bool:
        """Write a notebook, as :meth:`write`: with the line ends of its source, on every system."""
        return self.write(name, text.encode("utf-8", "surrogatepass"))

    def take(self, source: Path, name: str) -> bool:
        """Copy a file with its time if the release's is missing or older; return whether it was."""
        place = self.path / name
        if place.is_file() and place.stat().st_mtime >= source.stat().st_mtime:
            return False
        self._put(place, source.read_bytes())
        info = source.stat()
        os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns))
        return True

    def _put(self, place: Path, data: bytes) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, data)
        self._changed = True

    def aside(self, name: str, data: bytes) -> Path:
        place = Path(tempfile.mkdtemp(dir=self.path.parent)) / name
        place.write_bytes(data)
        return place

    def differs(self, source: Path, name: str) -> bool:
        return (self.path / name).read_bytes() != source.read_bytes()

    def zip(self, names: Sequence[str]) -> bool:
        """Write files into ``<item>.zip``; return False if it has the same bytes already."""
        files = {name: (self.path / name).read_bytes() for name in names}
        return self.write(f"{self._target.name}.zip", zip_bytes(files))

    def drop(self, name: str) -> None:
        place = self.path / name
        if place.is_file():
            place.unlink()
            self._changed = True

    def commit(self) -> bool:
        """Replace the old release atomically; return False if nothing changed. Raises: Conflict."""
        if self._changed:
            with explained_when_full():
                exchange_or_rename(self.path, self._target)
        return self._changed


@contextmanager
def staged_release(target: Path) -> Iterator[ReleaseBuild]:
    """Yield a new release for ``target``, built beside it; discard it if it is not committed.

    A release that a killed run has moved away is put back first.

    Raises: InvalidInput if the parent of ``target`` is not writable.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _end_killed_runs(target)
        workshop = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from error
    try:
        place = workshop / target.name
        if target.is_dir():
            _copy_tree(target, place)
        else:
            place.mkdir(mode=0o755)
        yield ReleaseBuild(place, target)
    finally:
        _put_back(workshop, target)
        remove_tree(workshop)


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive whose bytes depend only on the names and contents of ``files``."""
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
    """Write new files, all or none; return their paths. Raises: Conflict (exists), InvalidInput."""
    if there := [shown(path) for path in files if path.exists() or path.is_symlink()]:
        raise Conflict(
            f"{', '.join(there)} exists already; nothing was written.",
            hint="Choose another name.",
        )
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Mode "x" fails if another program has created the file since the check above.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise InvalidInput(f"{shown(path)} cannot be written: {error.strerror}.") from error
    return tuple(written)


def is_path(argument: str, *, separator: str = os.sep) -> bool:
    """Whether an argument is a path, not a name to look up; ``separator`` is that of the system."""
    return "/" in argument or separator in argument or argument.endswith(".py")


def argument_path(argument: str) -> Path:
    return Path(expanded(argument))


def refuse_to_replace(output: Path, *inputs: Path) -> None:
    """Refuse an output that is an input itself, by whatever path. Raises: InvalidInput."""
    if output.exists() and any(each.exists() and each.samefile(output) for each in inputs):
        raise InvalidInput(
            f"Nothing is written to {shown(output)}: results are made of what is there.",
            hint="Name another directory by -o, or below [dirs] in mograder.toml.",
        )


def shown(path: Path) -> str:
    """Return a path for messages: relative to the working directory if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else str(path)


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
        raise InvalidInput(
            f"{shown(directory)} holds no notebook.",
            hint=f"Create it with `marimo edit {shown(main)}`.",
        )
    return SourceItem(name, directory, tuple(found))


def named_directory(directory: Path) -> Path:
    """Return a path that ends in the directory's name; a symbolic link keeps its own name."""
    return directory if directory.name not in ("", "..") else directory.resolve()


def _directories(base: Path) -> list[str]:
    if not base.is_dir():
        return []
    return sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))


def _against_support(name: str, item: SourceItem) -> str:
    """Return why a file beside the notebooks is not for students, or ""."""
    stems = {notebook.stem for notebook in item.notebooks} | {str(item.name)}
    path = Path(name)
    stamp = _TIMESTAMPED.search(path.stem)
    is_beside = "/" not in name and path.suffix == ".py"
    if is_beside and stamp is not None and path.stem[: stamp.start()] in stems:
        return "it may be a copy of the notebook"
    return "it marks a solution or hidden tests" if marks_solution(item.directory / name) else ""


def _end_killed_runs(target: Path) -> None:
    for workshop in target.parent.glob(f"{_STAGING}*"):
        # It may be another author's, or of a run that ends now.
        with suppress(PermissionError, FileNotFoundError):
            old = time.time() - workshop.stat().st_mtime > _KEPT_SECONDS
            _put_back(workshop, target)
            # In a young one, another target may be between its two renames.
            for parked in workshop.glob(f"{PARKED}*") if old else ():
                _put_back(workshop, target.with_name(parked.name.removeprefix(PARKED)))
            if old:
                remove_tree(workshop)


def _put_back(workshop: Path, target: Path) -> None:
    """Undo a replacement that was cut short where the system cannot exchange directories."""
    parked = workshop / f"{PARKED}{target.name}"
    if not target.exists() and parked.is_dir():
        with explained_when_full():
            DISK.rename(Place.of(parked), Place.of(target))
        DISK.fsync_directory(target.parent)


def _copy_tree(source: Path, target: Path) -> None:
    target.mkdir()
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and not entry.is_symlink():
            _copy_tree(entry, place)
            continue
        try:  # a link is safe, since files are only ever replaced
            os.link(entry, place, follow_symlinks=False)
        except (OSError, NotImplementedError):  # the latter on Windows
            shutil.copy2(entry, place, follow_symlinks=False)
    # Sandboxes refuse to set the set-group-id bit, which `mkdir` has taken from a shared folder.
    with suppress(PermissionError):
        shutil.copystat(source, target)
