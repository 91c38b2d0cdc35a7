"""Feedback: read by the person it is for, sent by the person who gives it (B151)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import Username
from mograder.exchange.unpacking import safe_path
from mograder.store.files import atomic_write
from mograder.transports.interface import RemoteAssignment, Standing, Transport

_PAGE = ".html"
_ONE_UPLOAD = 20_000_000


@dataclass(frozen=True, slots=True)
class Returned:
    """One person's standing, and the pages of feedback that were written for it."""

    standing: Standing
    pages: tuple[Path, ...] = ()


def read_feedback(
    transport: Transport, assignment: RemoteAssignment, out: Path | None = None
) -> Returned:
    """Return how one's own work stands; with ``out`` the pages of feedback are written there.

    Raises:
        MograderError: The server refuses or fails, or nothing can be written.
    """
    standing = transport.standing(assignment)
    if out is None or not standing.feedback_available:
        return Returned(standing)
    pages = []
    for document in transport.feedback(assignment):
        path = out / safe_path(document.name).rpartition("/")[2]
        try:
            out.mkdir(parents=True, exist_ok=True)
            atomic_write(path, document.content)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        pages.append(path)
    return Returned(standing, tuple(pages))


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
