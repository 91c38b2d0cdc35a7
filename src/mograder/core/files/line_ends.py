"""Comparing files that may differ in their line ends only.

Editors on Windows write carriage returns, marimo's among them, and git may add or remove them.
A release keeps the line ends of its source.
"""

from __future__ import annotations

import filecmp
import hashlib
from pathlib import Path

_LARGEST_TEXT = 16_000_000
"""Larger files are compared by their bytes."""


def same_text(one: bytes, other: bytes) -> bool:
    """Return whether two contents are equal, or two texts that differ in their line ends only."""
    return one == other or (
        _is_text(one) and _is_text(other) and _by_line_feeds(one) == _by_line_feeds(other)
    )


def same_file(one: Path, other: Path) -> bool:
    """Return whether two files have the same content, see :func:`same_text`.

    Raises: ``OSError``.
    """
    if filecmp.cmp(one, other, shallow=False):
        return True
    if max(one.stat().st_size, other.stat().st_size) > _LARGEST_TEXT:
        return False
    return same_text(one.read_bytes(), other.read_bytes())


def digests(data: bytes) -> frozenset[str]:
    """Return the SHA-256 of a content in hex and, of a text, with either kind of line ends."""
    if not _is_text(data):
        return frozenset({_sha256(data)})
    feeds = _by_line_feeds(data)
    return frozenset({_sha256(data), _sha256(feeds), _sha256(feeds.replace(b"\n", b"\r\n"))})


def digests_of_file(path: Path) -> frozenset[str]:
    """Return the digests of a file, see :func:`digests`.

    Raises: ``OSError``.
    """
    if path.stat().st_size <= _LARGEST_TEXT:
        return digests(path.read_bytes())
    with path.open("rb") as stream:
        return frozenset({hashlib.file_digest(stream, "sha256").hexdigest()})


def _by_line_feeds(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _is_text(data: bytes) -> bool:
    return b"\0" not in data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
