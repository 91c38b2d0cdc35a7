"""``mograder new``: a course that works from its first minute, and new items in one.

Nothing that exists is ever overwritten.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from mograder.core.names import ItemName
from mograder.core.settings import FILE_NAME
from mograder.notebook.templates import assignment_text, lecture_text, settings_text
from mograder.store.course import write_new

FIRST_ASSIGNMENT = ItemName.parse("A1-First-Steps")
"""The assignment of a new course."""

FIRST_LECTURE = ItemName.parse("L01-Welcome")
"""The lecture of a new course."""


def new_course(directory: Path) -> tuple[Path, ...]:
    """Begin a course in a directory, new or not; return what was written.

    Raises:
        Conflict: Something of it is there already; nothing is written then.
        InvalidInput: The directory cannot be made or written to.
    """
    marimo, title = version("marimo"), _title(directory.resolve().name)
    assignment, lecture = FIRST_ASSIGNMENT, FIRST_LECTURE
    source = directory / "source"
    link = lecture_text("Lecture 1: Welcome", marimo=marimo, assignment=assignment)
    return write_new(
        {
            directory / FILE_NAME: settings_text(title),
            source / assignment / f"{assignment}.py": assignment_text(
                "Assignment 1: First steps", marimo=marimo
            ),
            source / lecture / f"{lecture}.py": link,
        }
    )


def new_assignment(name: ItemName, sources: Path) -> tuple[Path, ...]:
    """Begin an assignment in a course; return what was written.

    Raises: as :func:`new_course`.
    """
    text = assignment_text(_title(name), marimo=version("marimo"))
    return write_new({sources / name / f"{name}.py": text})


def new_lecture(name: ItemName, sources: Path) -> tuple[Path, ...]:
    """Begin a lecture in a course; return what was written.

    Raises: as :func:`new_course`.
    """
    text = lecture_text(_title(name), marimo=version("marimo"))
    return write_new({sources / name / f"{name}.py": text})


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").strip() or "A course"
