"""Feedback pages in a directory, to be sent to an assignment server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mograder.core.errors import NotFound
from mograder.core.names import Username

_PAGE = ".html"
_ONE_UPLOAD = 20_000_000
"""Bytes of one upload."""


def find_pages(directory: Path) -> tuple[Path, ...]:
    """Return the feedback pages in a directory: ``<user>.html``, one for each person.

    Raises:
        NotFound: There is no such directory, or no page in it.
        InvalidInput: The name of a page is not a valid username.
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
    """Split pages into uploads of at most ``most`` bytes, or one page: web servers limit bodies."""
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
