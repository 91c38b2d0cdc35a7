"""The release that a local directory would publish: its files and its kind.

The command line prints it before the upload (B86-B95, compatibility-0.3.16.md 7 and 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mograder.clients.file_upload import Upload
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.name_lookup import Words, find_name, nfc
from mograder.core.names import ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.pep723 import read_kind, read_script
from mograder.notebook.references import undeclared
from mograder.store.course.course import named_directory
from mograder.store.course.support_files import (
    LeftBehind,
    belongings,
    modules_beside,
    solutions_in,
)
from mograder.store.filesystem.files import entry_named
from mograder.store.releases.published_release import parse_file
from mograder.store.releases.releases import ItemKind


@dataclass(frozen=True, slots=True)
class LocalRelease:
    """A release in a local directory, ready to upload.

    ``detected`` is the kind that the notebook states, if any; ``left_out`` holds the files and
    folders that are not uploaded, with the reasons. ``python`` is the notebook's
    ``requires-python``, and ``advice`` lists possible mistakes in it.
    """

    name: ItemName
    directory: Path
    files: tuple[Upload, ...]
    left_out: tuple[LeftBehind, ...]
    detected: ItemKind | None
    python: str = ""
    advice: tuple[Finding, ...] = ()

    @property
    def size(self) -> int:
        """The size of all files in bytes. Raises: InvalidInput when one cannot be read."""
        try:
            return sum(each.path.stat().st_size for each in self.files)
        except OSError as error:
            raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}.") from error


def find_release(argument: str, release_dir: Path) -> Path:
    """Return the directory that a command line's ASSIGNMENT means (B92).

    A path with a separator is that directory. A bare name is looked up among the released items
    (:mod:`mograder.core.name_lookup`); if none matches, it is a directory of that name here.

    Raises:
        NotFound: Nothing matches; the message lists the released items.
        InvalidInput: Several match; the message lists them.
    """
    directory = named_directory(Path(argument).expanduser())
    if "/" in argument or argument in {".", ".."}:
        if not directory.is_dir():
            raise NotFound(f"{argument} is not a directory.")
        return directory
    words = Words(
        kind="release",
        where=f"in {release_dir}",
        empty=f"{release_dir} holds no item; `mograder generate` puts them there.",
    )
    try:
        return release_dir / find_name(argument, _released(release_dir, argument), words)
    except NotFound:
        if argument and directory.is_dir():
            return directory
        raise


def read_release(directory: Path) -> LocalRelease:
    """Return the release in a directory.

    Raises:
        InvalidInput: As :func:`read_source`; or a file marks a solution.
    """
    release = read_source(directory)
    refuse(solutions_in({f"{directory}/{each.name}": each.path for each in release.files}))
    return release


def read_source(directory: Path) -> LocalRelease:
    """Return the files of an item's source, which only graders get, as those of a release.

    Raises:
        InvalidInput: The directory has no notebook of its own name, or a name is not valid on a
            hub.
    """
    name = ItemName.parse(directory.name)
    notebook = entry_named(directory, f"{name}.py")
    if not notebook.is_file():
        raise InvalidInput(f"{directory} has no notebook {name}.py.", hint=_how_to_name(directory))
    text = _text(notebook)
    found = belongings(directory)
    for file in found.files:
        _check_name(file)
    return LocalRelease(
        name=name,
        directory=directory,
        files=tuple(Upload(nfc(file), directory / file) for file in found.files),
        left_out=found.left,
        detected=_detected_kind(text),
        python=_python(text),
        advice=undeclared(text, notebook.name, modules_beside(directory)),
    )


def _check_name(file: str) -> None:
    try:
        parse_file(file)
    except InvalidInput as error:
        raise InvalidInput(f"{file} cannot be published. {error.message}") from error


def _how_to_name(directory: Path) -> str:
    markdown = sorted(directory.glob("*.md"))
    if markdown:
        return (
            f"Markdown notebooks such as {markdown[0].name} are not taken: "
            f"`marimo convert {markdown[0].name} -o {directory.name}.py` makes a Python one."
        )
    return "An item's notebook has the name of its directory."


def _text(notebook: Path) -> str:
    if notebook.stat().st_size > MAX_NOTEBOOK:
        raise InvalidInput(f"{notebook} is larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    return notebook.read_text(encoding="utf-8", errors="replace")


def _detected_kind(text: str) -> ItemKind | None:
    kind = read_kind(text)
    return ItemKind(kind) if kind else None


def _python(text: str) -> str:
    """Return the ``requires-python`` of a notebook.

    Empty if its header has a mistake, which the hub reports.
    """
    try:
        return read_script(text).requires_python
    except InvalidInput:
        return ""


def _released(release_dir: Path, asked: str) -> list[str]:
    """Return the names of the released items, and ``asked`` if a directory has that name.

    A directory that is named in full matches even without a notebook, which the command then
    reports.
    """
    if not release_dir.is_dir():
        return []
    return sorted(
        path.name
        for path in release_dir.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and (nfc(path.name) == nfc(asked) or entry_named(path, f"{path.name}.py").is_file())
    )
