"""The assignments and notebooks that a command's arguments name, by a name or by a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import click

from mograder.cli.shared.course_settings import load_course
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.name_lookup import Words, find_name
from mograder.core.names import nfc
from mograder.core.settings import FILE_NAME, LoadedSettings, course_above
from mograder.store.course.course import argument_path, is_path, named_directory, shown

_HINT = "Give a name, or a .py file."

Part = Literal["submitted", "autograded"]
"""The key of ``[dirs]`` for the directory in which a command looks up assignments."""


def course_of(directories: Iterable[Path], part: Part, loaded: LoadedSettings) -> LoadedSettings:
    """Return the settings of the course to which directories of assignments belong.

    It is another course than that of ``loaded`` if they are in the ``part`` of that one.
    """
    places = dict.fromkeys(Path(os.path.normpath(each.parent)) for each in directories)
    found = [_of(place, part, loaded) for place in places]
    courses = {each.course_dir: each for each in found}
    if len(courses) > 1:
        raise click.UsageError(
            f"These belong to several courses, {', '.join(map(str, sorted(courses)))}: "
            "run it for one course at a time."
        )
    return next(iter(courses.values()), loaded)


def _of(place: Path, part: Part, loaded: LoadedSettings) -> LoadedSettings:
    own = _part(part, loaded)
    if place.resolve() == own.resolve():
        return loaded
    base = place.parent.resolve()
    if place.name == own.name and base != loaded.course_dir:
        settings = loaded.settings  # a course has one of these
        names = (FILE_NAME, settings.gradebook.path, settings.dirs.source, settings.dirs.release)
        if any((base / name).exists() for name in names if not Path(name).is_absolute()):
            return load_course(base)
    nearest = course_above(base)
    if nearest is None or nearest == loaded.course_dir:
        return loaded
    other = load_course(nearest)
    return other if place.resolve() == _part(part, other).resolve() else loaded


def _part(part: Part, loaded: LoadedSettings) -> Path:
    dirs = loaded.settings.dirs
    return loaded.path(dirs.submitted if part == "submitted" else dirs.autograded)


def path_named(argument: str) -> tuple[Path, Path | None] | None:
    """Return the directory that a path means, and the notebook if it is one; None for a name."""
    if not is_path(argument):
        return None
    path = argument_path(argument).absolute()
    if path.is_dir():
        return named_directory(path), None
    if not path.is_file() and not path.is_symlink():
        raise InvalidInput(f"File not found: {argument}", hint=_HINT)
    if path.suffix != ".py":
        raise InvalidInput(f"{argument} is no notebook.", hint=_HINT)
    return named_directory(path.parent), path


def named_files(
    arguments: Sequence[str], by_name: Callable[[str], Path]
) -> dict[Path, list[Path] | None]:
    """Return the notebooks that arguments name, by their directory; None for all in it.

    ``by_name`` returns the directory of the assignment that a name means.
    """
    places: dict[Path, list[Path] | None] = {}
    for argument in arguments:
        directory, file = path_named(argument) or (by_name(argument), None)
        known = places.get(directory, [])
        places[directory] = None if file is None or known is None else [*known, file]
    return places


def assignment_named(
    argument: str, bases: Sequence[Path], empty: str, *, without: Collection[str] = ()
) -> str:
    """Return the assignment that a name means, among the directories of ``bases``.

    The message names the first of ``bases``; ``empty`` is its hint if there is no directory at all.
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
