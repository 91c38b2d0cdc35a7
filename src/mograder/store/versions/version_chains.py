"""Texts of versions as chains: each is stored as its difference from the version before it.

A version's base is always the one before it that is still there, or none. ``depth`` is an upper
bound of the number of versions that have to be read before it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from mograder.core.errors import NotFound
from mograder.store.versions.version_deltas import Damaged, compress, expand
from mograder.store.versions.version_tables import versions

DIGEST_BYTES = 16
_DEEPEST = 40
_MOST_READ = 32_000_000
"""Most versions, and about the most bytes, that are read to get one text."""

_PIECE = select(versions.c.base, versions.c.size, versions.c.digest, versions.c.data).where(
    versions.c.copy == bindparam("which"), versions.c.number == bindparam("at")
)


def hash_of(text: bytes) -> bytes:
    """Return the beginning of the text's SHA-256."""
    return hashlib.sha256(text).digest()[:DIGEST_BYTES]


def deepest(size: int) -> int:
    """Return how deep a version of this size may be."""
    return max(1, min(_DEEPEST, _MOST_READ // max(size, 1)))


@dataclass(frozen=True, slots=True)
class StoredText:
    """A version's text as it is stored: compressed, with the version ``base`` as dictionary."""

    base: int
    depth: int
    data: bytes

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row."""
        return {"base": self.base, "depth": self.depth, "data": self.data}


def whole(text: bytes) -> StoredText:
    """Return a text that needs no other version."""
    return StoredText(0, 0, compress(text, b""))


def read_text(
    connection: Connection, copy: int, number: int, known: Mapping[int, bytes] | None = None
) -> bytes:
    """Return a version's text; ``known`` are texts of the copy that need not be read again.

    Raises: :class:`NotFound`, :class:`Damaged`.
    """
    known = known or {}
    if number in known:
        return known[number]
    pieces: list[Any] = []
    at = number
    while at > 0 and at not in known and len(pieces) <= _DEEPEST:
        row = connection.execute(_PIECE, {"which": copy, "at": at}).one_or_none()
        if row is None and not pieces:
            break
        if row is None or not row.base < at:
            raise Damaged(f"A part of the version {number} is missing.")
        pieces.append(row)
        at = row.base
    if not pieces:
        raise NotFound("There is no such version.")
    if at > 0 and at not in known:
        raise Damaged(f"The version {number} cannot be read: its parts are without end.")
    text = known.get(at, b"")
    for row in reversed(pieces):
        text = expand(row.data, text, row.size)
    return verified(text, pieces[0].digest)


def verified(text: bytes, digest: bytes) -> bytes:
    """Return the text if it has this digest. Raises: :class:`Damaged`."""
    if hash_of(text) != bytes(digest):
        raise Damaged("A stored version is damaged.")
    return text


class RecentTexts:
    """The last text that was recorded of each copy; those used last stay, up to ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._texts: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, copy: int, number: int) -> bytes | None:
        """Return the text of this version, None if it is not held."""
        with self._lock:
            found = self._texts.get(copy)
            if found is None or found[0] != number:
                return None
            self._texts.move_to_end(copy)
            return found[1]

    def put(self, copy: int, number: int, text: bytes) -> None:
        """Hold the text of this version in place of the copy's other one."""
        with self._lock:
            _, old = self._texts.pop(copy, (0, b""))
            self._texts[copy] = number, text
            self._bytes += len(text) - len(old)
            while self._bytes > self._most:
                _, (_, dropped) = self._texts.popitem(last=False)
                self._bytes -= len(dropped)
