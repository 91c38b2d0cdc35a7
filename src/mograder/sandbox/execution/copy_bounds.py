"""Which of the files beside a notebook a run gets, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.errors import TooLarge

_SKIPPED = frozenset(("__pycache__", "__marimo__", "node_modules"))


@dataclass(frozen=True, slots=True)
class CopyBounds:
    """Limits for a notebook's support files: their number and their sum in megabytes."""

    files: int = 500
    mb: int = 256


def too_large(bounds: CopyBounds) -> TooLarge:
    """Return the error of a folder that exceeds the limits."""
    return TooLarge(
        f"The notebook's folder holds more than {bounds.files} files or {bounds.mb} MB.",
        hint="Remove what the notebook does not need.",
    )


def is_needed(name: str) -> bool:
    """Return whether a notebook may need a file or folder: not hidden, not a tool's cache."""
    return not name.startswith(".") and name not in _SKIPPED
