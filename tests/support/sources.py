"""The files that a wheel of mograder is made of."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.course import REPOSITORY

_PARTS = (
    "src",
    "deploy",
    "scripts",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "LICENSES",
    "CHANGELOG.md",
)


def copy_sources(place: Path) -> None:
    """Copy what a wheel is made of into a new directory."""
    place.mkdir(parents=True)
    for part in _PARTS:
        found = REPOSITORY / part
        if found.is_dir():
            shutil.copytree(found, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(found, place / part)
