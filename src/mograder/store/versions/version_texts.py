"""Texts of versions: each is stored whole, or as its difference from one that is stored whole.

The latter is the newest version of its kind before it, its key. Mograders before the first release
stored a difference from a version that was one itself; these can be read, too. All texts are
compressed; for a difference the key is the dictionary, so what two saves share takes no space.
:func:`survey` counts the versions, and reads a sample of them back.
"""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, func, inspect, select

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.store.database.database import reading
from mograder.store.versions.version_tables import version_copies, versions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DIGEST_BYTES = 16
_WORTH = 10
"""A difference must be so many times smaller than its key, or the text becomes the next key. With
honest edits a smaller number stores longer differences, a greater one more keys."""

_LEVEL, _QUICK_LEVEL = 9, 3
_LARGE = 500_000
"""Texts of more bytes are compressed more quickly, since each save costs processor time, and what
they share with the dictionary is searched for from far away.
"""

_SHORTEST = 8
_SMALLEST_WINDOW, _LARGEST_WINDOW = 10, 25
"""Logarithms of the window's bytes: it must hold both texts, the largest of 10 MB each."""

_log = get_logger(__name__)


class Damaged(InvalidInput):
    """Stored data that cannot be read back."""


class Piece(NamedTuple):
    """What is stored of a version's text; the names are those of the columns."""

    number: int
    base: int
    size: int
    digest: bytes
    data: bytes


_PIECE = select(*(versions.c[name] for name in Piece._fields)).where(
    versions.c.copy == bindparam("which"), versions.c.number == bindparam("at")
)


def hash_of(text: bytes) -> bytes:
    """Return the beginning of the text's SHA-256."""
    return hashlib.sha256(text).digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class StoredText:
    """A version's text as it is stored: compressed, with the version ``base`` as dictionary.

    ``base`` is 0 for a text that is stored whole.
    """

    base: int
    data: bytes

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row."""
        return {"base": self.base, "depth": int(self.base > 0), "data": self.data}


@dataclass(frozen=True, slots=True)
class DamagedVersion:
    """A version that cannot be read back."""

    user: str
    item: str
    number: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The versions of all copies: ``bytes`` is the size of their data, ``looked`` that read back.

    ``damaged`` are those of the sample that could not be read.
    """

    copies: int
    versions: int
    bytes: int
    looked: int = 0
    damaged: tuple[DamagedVersion, ...] = ()


def stored(text: bytes, key: Piece | None) -> StoredText:
    """Return how a text is stored; ``key`` is the newest version that may be its key, if any."""
    if key is not None and not key.base:
        try:
            data = compress(text, _text_of(key, b""))
        except Damaged:
            _log.exception("version %s is damaged, and no key any more", key.number)
        else:
            if len(data) * _WORTH <= len(key.data):
                return StoredText(key.number, data)
    return StoredText(0, compress(text, b""))


def read_text(connection: Connection, copy: int, number: int) -> bytes:
    """Return a version's text. Raises: :class:`NotFound`, :class:`Damaged`."""
    row = connection.execute(_PIECE, {"which": copy, "at": number}).one_or_none()
    if row is None:
        raise NotFound("There is no such version.")
    if not 0 <= row.base < number:
        raise Damaged(f"The version {number} cannot be read: its parts are without end.")
    try:
        base = read_text(connection, copy, row.base) if row.base else b""
    except NotFound as error:
        raise Damaged(f"A part of the version {number} is missing.") from error
    return _text_of(Piece(*row), base)


def count(engine: Engine) -> Survey:
    """Return the numbers alone."""
    c = version_copies.c
    wanted = select(
        func.count(),
        func.coalesce(func.sum(c.kept), 0),
        func.coalesce(func.sum(c.bytes), 0),
    ).where(c.kept > 0)
    with reading(engine) as connection:
        copies, kept, size = connection.execute(wanted).one()
    return Survey(int(copies), int(kept), int(size))


def survey(engine: Engine, sample: int, seconds: float) -> Survey | None:
    """Read back the newest versions of some copies, chosen by chance, with their keys.

    It takes about ``seconds`` at most. Return None if the database has no versions yet, because an
    older mograder wrote it.
    """
    with reading(engine) as connection:
        if not inspect(connection).has_table(versions.name):
            return None
    found, c = count(engine), version_copies.c
    wanted = select(c.copy, c.username, c.item, c.newest).where(c.kept > 0)
    until, looked, damaged = time.monotonic() + seconds, 0, []
    with reading(engine) as connection:
        rows = connection.execute(wanted.order_by(func.random()).limit(sample)).all()
        for row in rows:
            if time.monotonic() > until:
                break
            looked += 1
            try:
                read_text(connection, row.copy, row.newest)
            except (Damaged, NotFound):
                damaged.append(DamagedVersion(row.username, row.item, row.newest))
    return Survey(found.copies, found.versions, found.bytes, looked, tuple(damaged))


def compress(text: bytes, base: bytes) -> bytes:
    """Return the text compressed with the dictionary ``base``, which may be empty."""
    large = len(text) > _LARGE
    window = (len(text) + len(base)).bit_length()
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _QUICK_LEVEL if large else _LEVEL,
        zstd.CompressionParameter.enable_long_distance_matching: int(large),
        zstd.CompressionParameter.window_log: min(max(window, _SMALLEST_WINDOW), _LARGEST_WINDOW),
    }
    return zstd.compress(text, options=options, zstd_dict=_prefix(base))


def expand(data: bytes, base: bytes, size: int) -> bytes:
    """Return a text of ``size`` bytes from :func:`compress`'s result, and the same dictionary.

    Raises: :class:`Damaged`.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW}
    reader = zstd.ZstdDecompressor(zstd_dict=_prefix(base), options=options)
    try:
        text = reader.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise Damaged("A stored version is damaged.") from error
    if len(text) != size or not reader.eof:
        raise Damaged("A stored version is damaged.")
    return text


def _text_of(piece: Piece, base: bytes) -> bytes:
    text = expand(piece.data, base, piece.size)
    if hash_of(text) != bytes(piece.digest):
        raise Damaged("A stored version is damaged.")
    return text


def _prefix(base: bytes) -> tuple[zstd.ZstdDict, int] | None:
    # The library takes none that is shorter.
    return zstd.ZstdDict(base, is_raw=True).as_prefix if len(base) >= _SHORTEST else None
