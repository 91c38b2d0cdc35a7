"""The assignments and notebooks that a command's arguments name, by a name or by a path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.name_lookup import Words, find_name, nfc
from mograder.store.course.course import is_path, named_directory, shown

_HINT = "Give a name, or a .py file."


def path_named(argument: str) -> tuple[Path, Path | None] | None:
    """Return the directory that a path means, and the notebook in it if it is one's path.

    For a name, None is returned.

    Raises:
        InvalidInput: There is nothing at the path, or no notebook.
    """
    if not is_path(argument):
        return None
    path = Path(argument).expanduser().absolute()
    if path.is_dir():
        return named_directory(path), None
    if not path.is_file() and not path.is_symlink():
        raise InvalidInput(f"File not found: {argument}", hint=_HINT)
    if path.suffix != ".py":
        raise InvalidInput(f"{argument} is no notebook.", hint=_HINT)
    return named_directory(path.parent), path


def assignment_named(
    argument: str, bases: Sequence[Path], empty: str, *, without: Collection[str] = ()
) -> str:
    """Return the assignment that a name means, among the directories of ``bases``.

    The message names the first of ``bases``; ``empty`` is its hint if there is no directory at all.
    Directories named in ``without`` are no assignments.

    Raises:
        InvalidInput: None or several match.
    """
    names = sorted({name for base in bases for name in directories_in(base)} - set(without))
    try:
        return find_name(argument, names, Words("assignment", f"in {shown(bases[0])}", empty))
    except NotFound as error:
        raise InvalidInput(error.message, hint=error.hint) from error


def directories_in(base: Path) -> list[str]:
    """Return the names, in NFC, of the directories in ``base`` that are not hidden."""
    if not base.is_dir():
        return []
    return [nfc(p.name) for p in base.iterdir() if p.is_dir() and not p.name.startswith(".")]
