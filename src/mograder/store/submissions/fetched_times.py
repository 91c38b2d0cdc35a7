"""Times of submission that a fetch from Moodle or an assignment server recorded.

``.fetch_metadata.json`` in a directory of submissions (compatibility-0.3.16.md 4, 9).
"""

from __future__ import annotations

import json
from pathlib import Path

METADATA = ".fetch_metadata.json"
"""Unix time of submission by username."""

_LATEST = 1 << 53


def read_numbers(directory: Path, name: str = METADATA) -> dict[str, float]:
    """Return the numbers by username in a file of an earlier run or of 0.3.16, {} if unreadable."""
    try:
        found = json.loads((directory / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    numbers = ((user, at) for user, at in found.items() if isinstance(at, int | float))
    return {user: at for user, at in numbers if abs(at) < _LATEST}
