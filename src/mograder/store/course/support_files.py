"""The files of an item besides its notebook, which ``generate`` and ``publish`` include.

They are taken from the author's directory. Files and folders that are left out are listed with the
reason, except hidden ones and those that Python and marimo create beside a notebook.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import InvalidInput, TooLarge
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.findings import Finding
from mograder.notebook.source.solution_markers import first_mark
from mograder.store.releases.published_release import (
    MANIFEST,
    MOST_LEVELS,
    is_by_product,
    parse_file,
)

SERVED = "public"
"""The folder that marimo serves to a notebook's page; it always belongs to the item."""

_MAX_FILES = 10_000
_MADE_BY_TOOLS = frozenset({MANIFEST, "__pycache__", "__marimo__"})


@dataclass(frozen=True, slots=True, order=True)
class LeftBehind:
    """A file or folder that is left out, and the reason; names of folders end in a slash."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Belongings:
    """The files that belong to an item, sorted by path, and those that were left out."""

    files: tuple[str, ...]
    left: tuple[LeftBehind, ...]

    def without(self, reasons: Mapping[str, str]) -> Belongings:
        files = tuple(name for name in self.files if name not in reasons)
        left = (LeftBehind(name, reason) for name, reason in reasons.items())
        return Belongings(files, tuple(sorted((*self.left, *left))))


def belongings(directory: Path, takes_folder: Callable[[str], bool] = lambda _: True) -> Belongings:
    """Return the files in an item's directory that belong to it, its notebook included.

    ``takes_folder`` returns whether to include a folder, given its name; ``public`` is always
    included. Files in folders are left out if a hub would refuse their name; the names of files
    directly in the directory are not checked.

    Raises: TooLarge for more than ten thousand files.
    """
    files: list[str] = []
    left: list[LeftBehind] = []
    for path in sorted(directory.iterdir()):
        if is_private(path.name):
            continue
        is_folder = path.is_dir()
        reason = _against_folder(path, takes_folder) if is_folder else _against_file(path)
        found: Iterable[str | LeftBehind] = [path.name]
        if reason:
            found = [LeftBehind(f"{path.name}/" if is_folder else path.name, reason)]
        elif is_folder:
            found = _inside(path, path.name)
        for each in found:
            if isinstance(each, LeftBehind):
                left.append(each)
            else:
                files.append(each)
            if is_folder and not reason and len(files) + len(left) > _MAX_FILES:
                raise TooLarge(f"{directory} holds more than {_MAX_FILES} files.")
    return Belongings(tuple(sorted(files)), tuple(sorted(left)))


def modules_beside(directory: Path) -> frozenset[str]:
    """Return the names of the modules and packages that a notebook in a directory can import."""
    return frozenset(
        path.stem for path in directory.iterdir() if path.suffix == ".py" or path.is_dir()
    )


def marks_solution(path: Path) -> bool:
    """Whether a file marks a solution or hidden tests. Raises: InvalidInput (unreadable)."""
    return _first_mark(path) is not None


def solutions_in(files: Mapping[str, Path]) -> Iterator[Finding]:
    """Yield a finding for each file that marks a solution; ``files`` are paths by shown name."""
    for name, path in files.items():
        line = _first_mark(path)
        if line is not None:
            message = "this file is for students, and marks a solution or hidden tests."
            yield Finding(name, line, message, "Remove it, or what is marked.")


def _first_mark(path: Path) -> int | None:
    try:
        # Larger files are no copies: no notebook is as large.
        return first_mark(path.read_bytes()) if path.stat().st_size <= MAX_NOTEBOOK else None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def is_private(name: str) -> bool:
    """Whether a file of this name is hidden, or made by Python, marimo or the hub."""
    return name.startswith(".") or name in _MADE_BY_TOOLS


def _against_file(path: Path) -> str:
    if is_by_product(path.name):
        return "a preview or an archive"
    return "" if path.is_file() else "it is not a plain file"


def _against_folder(path: Path, takes_folder: Callable[[str], bool]) -> str:
    if path.is_symlink():
        return "links to folders are not followed"
    if (path / "pyvenv.cfg").exists() or path.name == "node_modules":
        return "it holds installed packages"
    if path.name != SERVED and not takes_folder(path.name):
        return "the notebook does not name this folder"
    return ""


def _inside(directory: Path, relative: str) -> Iterator[str | LeftBehind]:
    """Yield the relative paths of a folder's files, or a :class:`LeftBehind` for each omitted."""
    for path in sorted(directory.iterdir()):
        if is_private(path.name):
            continue
        name = f"{relative}/{path.name}"
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if name.count("/") + 1 >= MOST_LEVELS:
                yield LeftBehind(f"{name}/", f"its files are more than {MOST_LEVELS} levels deep")
            else:
                yield from _inside(path, name)
        elif stat.S_ISLNK(mode) and not path.is_file():
            yield LeftBehind(name, "links to folders are not followed")
        elif not path.is_file():
            yield LeftBehind(name, "it is not a plain file")
        else:
            try:
                parse_file(name)
            except InvalidInput as error:
                yield LeftBehind(name, error.message.rstrip("."))
            else:
                yield name
