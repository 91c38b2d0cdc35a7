"""The tables of the versions of copies, and of the releases that are kept for them.

``migrations/versions`` creates the tables; a contract test compares the two. A course has millions
of versions, so a row holds numbers instead of names, and no text twice.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from mograder.store.database.row_tables import HASH, NAME, UtcDateTime
from mograder.store.hub.hub_tables import metadata

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
    Column("depth", SmallInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""A version of a copy.

``saved`` is in milliseconds since 1970. ``data`` is the compressed text; the version ``base`` of
the same copy is its dictionary, none if ``base`` is 0. ``depth`` says nothing more, and can go with
the next revision. ``digest`` is the beginning of the text's SHA-256.
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
