"""Pages of feedback in a directory, ready to be sent to an assignment server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mograder.core.errors import NotFound
from mograder.core.names import Username

_PAGE = ".html"
_ONE_UPLOAD = 20_000_000
"""Bytes."""


def find_pages(directory: Path) -> tuple[Path, ...]:
    """Return the pages of feedback in a directory: ``<user>.html``, one for each person.

    Raises:
        NotFound: There is no such directory, or no page in it.
        InvalidInput: A page is called as nobody can be.
    """
    if not directory.is_dir():
        raise NotFound(f"There is no directory {directory}.", hint="Give it by --feedback-dir.")
    pages = sorted(
        path
        for path in directory.iterdir()
        if path.suffix == _PAGE and path.is_file() and not path.name.startswith(".")
    )
    if not pages:
        raise NotFound(f"{directory} holds no feedback pages.", hint="They are called USER.html.")
    for page in pages:
        Username.parse(page.stem)
    return tuple(pages)


def batches(pages: Sequence[Path], most: int = _ONE_UPLOAD) -> tuple[tuple[Path, ...], ...]:
    """Split pages into parts of so many bytes, one page at least: what fronts let through."""
    parts: list[list[Path]] = []
    left = 0
    for page in pages:
        size = page.stat().st_size
        if not parts or size > left:
            parts.append([])
            left = most
        parts[-1].append(page)
        left -= size
    return tuple(map(tuple, parts))
