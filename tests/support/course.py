"""Courses on disk: a copy of the example course, and releases."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXAMPLE_COURSE = REPOSITORY / "examples" / "course"


@contextmanager
def work_place() -> Iterator[Path]:
    """A private directory outside ``/tmp``, below which marimo refuses to save by itself."""
    place = Path(tempfile.mkdtemp(prefix=f"mograder-test-{os.getpid()}-", dir="/var/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def log_place() -> Path:
    """Return the directory in which the logs of servers stay behind."""
    place = REPOSITORY / "artifacts"
    place.mkdir(exist_ok=True)
    return place


def copy_example_course(target: Path) -> Path:
    """Copy ``examples/course`` without files that a hub may have written in it."""
    leavings = shutil.ignore_patterns(".mograder", "hub-notebooks", "hub-release", "__pycache__")
    shutil.copytree(EXAMPLE_COURSE, target, ignore=leavings)
    return target


def put_release(course: Path, item: str, text: str, kind: str = "assignment") -> Path:
    """Lay out a release on disk as 0.3.16 left it: the notebook and ``files.json``."""
    directory = course / "hub-release" / item
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{item}.py").write_text(text)
    manifest = {"files": [f"{item}.py"], "type": kind}
    (directory / "files.json").write_text(json.dumps(manifest, indent=2))
    return directory
