"""Stand-alone programs that run inside sandboxes; they import nothing else of mograder.

They run with the Python interpreter of a notebook's environment, from a copy of this directory.
What is in it needs no list elsewhere.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def copy_programs(place: Path) -> None:
    """Copy the programs into a directory, since the package may be upgraded while they run."""
    place.mkdir(mode=0o755, exist_ok=True)
    for program in resources.files(__name__).iterdir():
        if program.name.endswith(".py") and program.name != "__init__.py":
            (place / program.name).write_bytes(program.read_bytes())
