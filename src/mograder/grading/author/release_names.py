"""Whether every student's computer can store what a release holds, by the names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.core.portable_names import changed_problems
from mograder.grading.author.generate_output import Line, Step


def check_names(item: str, files: Sequence[str], target: Path) -> list[Line]:
    """Refuse new names that Windows or macOS cannot store; return lines about older ones.

    ``target`` is the item's directory among the releases, which may not exist.

    Raises:
        InvalidInput: The item's name or that of a file is new and not every system takes it.
    """
    if not target.is_dir() and ItemName.valid(item):
        ItemName.parse_new(item, _items(target.parent))
    new, known = changed_problems(files, _files(target))
    if new:
        raise InvalidInput(
            f"{item}: {' '.join(new[:10])}",
            hint="Rename it: students' computers run Windows and macOS, too.",
        )
    return [Line(Step.ADVICE, f"{item}: {each}") for each in known]


def _items(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()] if directory.is_dir() else []


def _files(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    found = (path for path in directory.rglob("*") if path.is_file())
    return [path.relative_to(directory).as_posix() for path in found]
