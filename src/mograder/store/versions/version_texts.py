"""Texts of versions, and the tables that hold them: of copies' versions, and of kept releases.

A course has millions of versions, so a row holds numbers instead of names, and no text twice.
``migrations/versions`` creates the tables; a contract test compares the two.

A text is stored whole, or as its difference from one that is stored whole: the newest version of
its kind before it, its key. All texts are compressed; for a difference the key is the dictionary,
so what two saves share takes no space. :func:`survey` counts the versions, and reads a sample of
them back.
"""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    inspect,
    select,
)

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.store.database.database import HASH, NAME, UtcDateTime, reading
from mograder.store.hub.hub_tables import metadata

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

version_copies = Table(
    "version_copies",
    metadata,
    Column("copy", Integer, primary_key=True, autoincrement=True),
    Column("username", NAME, nullable=False),
    Column("item", NAME, nullable=False),
    Column("release", Integer, nullable=False),
    Column("newest", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("saved", BigInteger, nullable=False),
    Column("thinned", BigInteger, nullable=False),
    UniqueConstraint("username", "item"),
    Index(None, "thinned"),
    sqlite_autoincrement=True,  # a number must not come back: texts are remembered by it
)
"""A copy that has versions.

``release`` is the number of the release that it came from, 0 if unknown; ``newest`` the number of
its newest version, 0 without one; ``kept`` how many versions there are, with ``bytes`` of data.
``saved`` is the time of the newest version and ``thinned`` that of the last thinning, in
milliseconds since 1970.
"""


def _of_copy() -> Column[int]:
    """Return a column, a part of the key, for the copy to which a row belongs."""
    owner = ForeignKey("version_copies.copy", ondelete="CASCADE")
    return Column("copy", Integer, owner, primary_key=True, autoincrement=False)


versions = Table(
    "versions",
    metadata,
    _of_copy(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("saved", BigInteger, nullable=False),
    Column("origin", SmallInteger, nullable=False),
    Column("release", Integer, nullable=False),
    Column("base", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""A version of a copy.

``saved`` is in milliseconds since 1970. ``data`` is the compressed text; the version ``base`` of
the same copy is its dictionary, none if ``base`` is 0. ``digest`` begins the text's SHA-256.
"""

version_checks = Table(
    "version_checks",
    metadata,
    _of_copy(),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("passed", SmallInteger, nullable=False),
    Column("checks", SmallInteger, nullable=False),
)
"""How many of its checks passed when a text of a copy was validated last."""

version_releases = Table(
    "version_releases",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("digest", HASH, nullable=False),
    UniqueConstraint("digest"),
)
"""The digests of the releases that copies came from."""

kept_texts = Table(
    "kept_texts",
    metadata,
    Column("digest", HASH, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""The texts of kept releases, compressed; ``size`` is that of the text in bytes."""

kept_releases = Table(
    "kept_releases",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("item", NAME, nullable=False),
    Column("digest", HASH, nullable=False),
    Column("files_digest", HASH, nullable=False),
    Column("files", Text, nullable=False),
    Column("published", UtcDateTime(), nullable=False),
    UniqueConstraint("item", "digest", "files_digest"),
)
"""The releases of each item: ``digest`` is that of the notebook's text, ``files`` the JSON of the
data files' SHA-256 by name, and ``published`` the time at which the release was last found."""


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
    return hashlib.sha256(text).digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class DamagedVersion:
    user: str
    item: str
    number: int


@dataclass(frozen=True, slots=True)
class Survey:
    """``bytes`` is the size of the data; ``damaged`` are those among the ``looked`` at."""

    copies: int
    versions: int
    bytes: int
    looked: int = 0
    damaged: tuple[DamagedVersion, ...] = ()


def stored(text: bytes, key: Piece | None) -> dict[str, Any]:
    """Return a text's columns ``base`` and ``data``; ``key`` is the version that may be its key."""
    if key is not None and not key.base:
        try:
            data = compress(text, _text_of(key, b""))
        except Damaged:
            _log.exception("version %s is damaged, and no key any more", key.number)
        else:
            if len(data) * _WORTH <= len(key.data):
                return {"base": key.number, "data": data}
    return {"base": 0, "data": compress(text, b"")}


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
    """Read back newest versions of some copies, for about ``seconds``; None without tables."""
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
    """Return the text of ``size`` bytes from :func:`compress`'s result. Raises: Damaged."""
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
