"""The layout of virtual environments, which is another one on Windows."""

from __future__ import annotations

from pathlib import Path

_PYTHONS = ("bin/python", "Scripts/python.exe")


def python_of(environment: Path) -> Path:
    """Return the path of a virtual environment's Python; if there is none, its path on Linux."""
    places = [environment / each for each in _PYTHONS]
    return next((place for place in places if place.exists()), places[0])
