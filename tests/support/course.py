"""Courses on disk: a copy of the example course, and releases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXAMPLE_COURSE = REPOSITORY / "examples" / "course"


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
