"""Where things are in a virtual environment, which Windows arranges in its own way."""

from __future__ import annotations

from pathlib import Path

_PYTHONS = ("bin/python", "Scripts/python.exe")


def python_of(environment: Path) -> Path:
    """Return the Python of a virtual environment; where there is none, its place on Linux."""
    places = [environment / each for each in _PYTHONS]
    return next((place for place in places if place.exists()), places[0])
