"""``mograder new``: a course with working examples, and new items in a course.

Existing files are never overwritten.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from mograder.core.names import ItemName
from mograder.core.settings import FILE_NAME
from mograder.notebook.source.templates import assignment_text, lecture_text, settings_text
from mograder.sandbox.environments.runtime_wheel import offer_runtime
from mograder.store.course.course import write_new

FIRST_ASSIGNMENT = ItemName.parse("A1-First-Steps")
"""The assignment of a new course."""

FIRST_LECTURE = ItemName.parse("L01-Welcome")
"""The lecture of a new course."""


def new_course(directory: Path) -> tuple[Path, ...]:
    """Create a course in a directory, which may exist; return the files that were written.

    Raises:
        Conflict: One of the files exists already; nothing is written then.
        InvalidInput: The directory cannot be made or written to.
        SandboxUnavailable: Our wheel for notebooks cannot be written.
    """
    marimo, title = _marimo(), _title(directory.resolve().name)
    assignment, lecture = FIRST_ASSIGNMENT, FIRST_LECTURE
    source = directory / "source"
    link = lecture_text("Lecture 1: Welcome", marimo=marimo, assignment=assignment)
    written = write_new(
        {
            directory / FILE_NAME: settings_text(title),
            source / assignment / f"{assignment}.py": assignment_text(
                "Assignment 1: First steps", marimo=marimo
            ),
            source / lecture / f"{lecture}.py": link,
        }
    )
    offer_runtime(directory / ".mograder" / "runtime")
    return written


def new_assignment(name: ItemName, sources: Path, runtime: Path) -> tuple[Path, ...]:
    """Create an assignment in a course; return the files that were written.

    ``runtime`` is the course's directory for our wheel, which is put there.

    Raises: as :func:`new_course`.
    """
    seen = os.path.relpath(runtime, sources / name)
    return _new(
        name, sources, runtime, assignment_text(_title(name), marimo=_marimo(), runtime=seen)
    )


def new_lecture(name: ItemName, sources: Path, runtime: Path) -> tuple[Path, ...]:
    """Create a lecture in a course; return the files that were written.

    Raises: as :func:`new_course`.
    """
    seen = os.path.relpath(runtime, sources / name)
    return _new(name, sources, runtime, lecture_text(_title(name), marimo=_marimo(), runtime=seen))


def _new(name: ItemName, sources: Path, runtime: Path, text: str) -> tuple[Path, ...]:
    written = write_new({sources / name / f"{name}.py": text})
    offer_runtime(runtime)
    return written


def _marimo() -> str:
    return version("marimo")


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").strip() or "A course"
