"""Versions: every saved state of a student's copy, in the hub's database.

Each version is stored as its difference from the one before it, so a save costs about a hundred
bytes. Synchronous and thread-safe. Copies are independent of the workspaces: their versions stay
when the files are removed.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, Row, bindparam, func, insert, select, update

from mograder.core.errors import Busy, Conflict, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.store.database import reading, writing
from mograder.store.group_commit import GroupCommit
from mograder.store.version_deltas import Damaged, compress, expand
from mograder.store.version_tables import version_copies, version_releases, versions

_ATTEMPTS = 20
"""How often a version is added anew because another hub has added one at the same time."""

_DEEPEST = 40
_MOST_READ = 32_000_000
"""Most versions, and most bytes, that are read to get one text."""

_CACHED = 32_000_000
"""Most bytes of the newest texts that are held in memory."""

_DIGEST_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_log = get_logger(__name__)


class Origin(StrEnum):
    """The cause of a version."""

    RELEASE = "release"
    """The copy was made from the item's release."""
    EDITOR = "editor"
    UPLOAD = "upload"
    RESET = "reset"
    RESTORE = "restore"
    MERGE = "merge"
    FOUND = "found"
    """The file was not as last recorded: a program of the student's, or another editor."""
    UNSAVED = "unsaved"
    """The editor's page could not save it, and handed it in later."""


_ORIGINS = tuple(Origin)
"""An origin is stored as its place in this list: new ones are added at the end."""


@dataclass(frozen=True, slots=True)
class Version:
    """One saved state of a copy; ``size`` is in bytes.

    ``digest`` is that of the text (:func:`digest_of`). ``release`` is that of the notebook of the
    release that the copy came from, "" if unknown.
    """

    number: int
    saved: datetime
    origin: Origin
    digest: str
    size: int
    release: str


def digest_of(text: bytes) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256, as the ETags of copies."""
    return _hash(text).hex()


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]


class _Lock:
    """A lock that a dictionary of weak references can hold."""

    def __init__(self) -> None:
        self.held = threading.RLock()


@dataclass(slots=True)
class _Addition:
    """A version to be added by a group commit; ``outcome`` is set by it.

    ``outcome`` is True once the version is stored, False if another hub has added one meanwhile.
    """

    copy: int
    newest: int
    row: dict[str, Any]
    outcome: bool | MograderError = field(default=False)


class Versions:
    """The versions of all copies; every method may raise :class:`~mograder.core.errors.Busy`.

    Mutable state: ``_recent``, the newest texts, and ``_locks`` of the copies that are recorded.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: WeakValueDictionary[tuple[str, str], _Lock] = WeakValueDictionary()
        self._gate = threading.Lock()
        self._additions: GroupCommit[_Addition] = GroupCommit(self._add)
        self._recent = _RecentTexts(_CACHED)

    @contextmanager
    def alone(self, user: str, item: str) -> Iterator[None]:
        """Let no other thread of this process record versions of a copy until the block ends.

        In it, a file can be read and recorded without a newer version coming between.
        """
        with self._gate:
            lock = self._locks.setdefault((str(user), str(item)), _Lock())
        with lock.held:
            yield

    def record(
        self,
        user: str,
        item: str,
        text: bytes,
        origin: Origin,
        now: datetime,
        *,
        release: str | None = None,
    ) -> Version:
        """Add a version and return it; return the newest one if it has the same text.

        It is durable when this returns. ``release`` is the digest of the release that the copy
        comes from as of now, None if that has not changed.
        """
        digest = _hash(text)
        with self.alone(user, item):
            came_from = None if release is None else self._release_number(release)
            for _ in range(_ATTEMPTS):
                copy = self._copy(user, item)
                wanted = copy.release if came_from is None else came_from
                newest = self._newest(copy)
                if newest is not None and newest.digest == digest:
                    if wanted != newest.release:
                        self._change_release(copy, wanted)
                        newest = self._newest(copy)
                    return _version(newest)
                row = {
                    "number": copy.newest + 1,
                    "saved": _milliseconds(now),
                    "origin": _ORIGINS.index(origin),
                    "release": wanted,
                    "size": len(text),
                    "digest": digest,
                }
                addition = _Addition(copy.copy, copy.newest, row | self._data(copy, newest, text))
                self._additions.add(addition)
                if isinstance(addition.outcome, MograderError):
                    raise addition.outcome
                if addition.outcome:
                    self._recent.put(copy.copy, row["number"], text)
                    return self._one(copy, row["number"])
        raise Busy("The notebook is being saved by several hubs.", retry_after=1)

    def all(self, user: str, item: str) -> tuple[Version, ...]:
        """Return the versions of a copy, the newest first."""
        wanted = _LISTED.where(*_named(user, item)).order_by(versions.c.number.desc())
        with reading(self._engine) as connection:
            return tuple(_version(row) for row in connection.execute(wanted))

    def newest(self, user: str, item: str) -> Version | None:
        """Return the newest version of a copy, None without one."""
        wanted = _LISTED.where(*_named(user, item), versions.c.number == version_copies.c.newest)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _version(row)

    def text(self, user: str, item: str, number: int) -> bytes:
        """Return the text of a version.

        Raises: :class:`NotFound`, and :class:`Damaged` if it cannot be read back.
        """
        which = select(version_copies.c.copy).where(*_named(user, item))
        with reading(self._engine) as connection:
            copy = connection.execute(which).scalar_one_or_none()
            return _text(connection, -1 if copy is None else copy, number)

    def release_of(self, user: str, item: str) -> str:
        """Return the digest of the release that a copy last came from, "" if unknown."""
        c = version_copies.c
        wanted = select(version_releases.c.digest).where(
            *_named(user, item), version_releases.c.number == c.release
        )
        with reading(self._engine) as connection:
            return connection.execute(wanted).scalar_one_or_none() or ""

    def _copy(self, user: str, item: str) -> Row[Any]:
        wanted = select(version_copies).where(*_named(user, item))
        with reading(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        if row is not None:
            return row
        empty = dict.fromkeys(("release", "newest", "kept", "bytes", "saved", "thinned"), 0)
        try:
            # The version that follows is committed durably, and this with it.
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(insert(version_copies).values(username=user, item=item, **empty))
        except Conflict:  # another hub has just done it
            pass
        with reading(self._engine) as connection:
            return connection.execute(wanted).one()

    def _newest(self, copy: Row[Any]) -> Row[Any] | None:
        return self._row(copy.copy, copy.newest) if copy.newest else None

    def _row(self, copy: int, number: int) -> Row[Any]:
        wanted = _LISTED.where(versions.c.copy == copy, versions.c.number == number)
        with reading(self._engine) as connection:
            return connection.execute(wanted).one()

    def _one(self, copy: Row[Any], number: int) -> Version:
        return _version(self._row(copy.copy, number))

    def _data(self, copy: Row[Any], newest: Row[Any] | None, text: bytes) -> dict[str, Any]:
        """Return the columns of the compressed text: the shortest chain that is cheap to read."""
        if newest is None:
            return {"base": 0, "depth": 0, "data": compress(text, b"")}
        base, depth = copy.newest, newest.depth + 1
        if depth > _deepest(max(len(text), newest.size)):
            base, depth = 0, 0
        try:
            before = self._base_text(copy.copy, base)
        except Damaged:
            _log.exception("version %s of %s/%s is damaged", base, copy.username, copy.item)
            base, depth, before = 0, 0, b""
        return {"base": base, "depth": depth, "data": compress(text, before)}

    def _base_text(self, copy: int, number: int) -> bytes:
        if number == 0:
            return b""
        recent = self._recent.get(copy, number)
        if recent is not None:
            return recent
        with reading(self._engine) as connection:
            return _text(connection, copy, number)

    def _add(self, batch: Sequence[_Addition]) -> None:
        """Add versions in one transaction; in the order of their copies, or two hubs deadlock."""
        try:
            with writing(self._engine) as connection:
                for each in sorted(batch, key=lambda each: each.copy):
                    data = each.row["data"]
                    counted = {
                        "which": each.copy,
                        "expected": each.newest,
                        "number": each.row["number"],
                        "at": each.row["saved"],
                        "came_from": each.row["release"],
                        "more": len(data),
                    }
                    each.outcome = connection.execute(_COUNT, counted).rowcount > 0
                    if each.outcome:
                        connection.execute(_ADD, {"copy": each.copy, **each.row})
        except MograderError as error:
            for each in batch:
                each.outcome = error

    def _change_release(self, copy: Row[Any], release: int) -> None:
        c = versions.c
        same = version_copies.c.copy == copy.copy
        with writing(self._engine) as connection:
            connection.execute(update(version_copies).where(same).values(release=release))
            newest = update(versions).where(c.copy == copy.copy, c.number == copy.newest)
            connection.execute(newest.values(release=release))

    def _release_number(self, digest: str) -> int:
        """Return the number of a release, given to it if it has none; 0 for ""."""
        if not digest:
            return 0
        c = version_releases.c
        wanted = select(c.number).where(c.digest == digest)
        with reading(self._engine) as connection:
            number: int | None = connection.execute(wanted).scalar_one_or_none()
        if number is not None:
            return number
        try:
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(insert(version_releases).values(digest=digest))
        except Conflict:  # another hub has just done it
            pass
        with reading(self._engine) as connection:
            found: int = connection.execute(wanted).scalar_one()
        return found


class _RecentTexts:
    """The newest text of each copy, at most so many bytes of all; those used last stay."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._texts: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, copy: int, number: int) -> bytes | None:
        with self._lock:
            found = self._texts.get(copy)
            if found is None or found[0] != number:
                return None
            self._texts.move_to_end(copy)
            return found[1]

    def put(self, copy: int, number: int, text: bytes) -> None:
        with self._lock:
            _, old = self._texts.pop(copy, (0, b""))
            self._texts[copy] = number, text
            self._bytes += len(text) - len(old)
            while self._bytes > self._most:
                _, (_, dropped) = self._texts.popitem(last=False)
                self._bytes -= len(dropped)


_LISTED = (
    select(
        versions.c.number,
        versions.c.saved,
        versions.c.origin,
        versions.c.digest,
        versions.c.size,
        versions.c.depth,
        versions.c.release,
        func.coalesce(version_releases.c.digest, "").label("release_digest"),
    )
    .join(version_copies, version_copies.c.copy == versions.c.copy)
    .outerjoin(version_releases, version_releases.c.number == versions.c.release)
)

_ADD = insert(versions)
_COUNT = (
    update(version_copies)
    .where(
        version_copies.c.copy == bindparam("which"),
        version_copies.c.newest == bindparam("expected"),
    )
    .values(
        newest=bindparam("number"),
        saved=bindparam("at"),
        release=bindparam("came_from"),
        kept=version_copies.c.kept + 1,
        bytes=version_copies.c.bytes + bindparam("more"),
    )
)
_PIECE = select(versions.c.base, versions.c.size, versions.c.digest, versions.c.data).where(
    versions.c.copy == bindparam("which"), versions.c.number == bindparam("at")
)


def _text(connection: Connection, copy: int, number: int) -> bytes:
    """Return a version's text. Raises: :class:`NotFound`, :class:`Damaged`."""
    pieces = []
    at = number
    while at > 0 and len(pieces) <= _DEEPEST:
        row = connection.execute(_PIECE, {"which": copy, "at": at}).one_or_none()
        if row is None and not pieces:
            raise NotFound("There is no such version.")
        if row is None:
            raise Damaged(f"A part of the version {number} is missing.")
        pieces.append(row)
        at = row.base
    if not pieces:
        raise NotFound("There is no such version.")
    text = b""
    for row in reversed(pieces):
        text = expand(row.data, text, row.size)
    if _hash(text) != pieces[0].digest:
        raise Damaged(f"The version {number} is damaged.")
    return text


def _deepest(size: int) -> int:
    """Return how long a chain of versions of this size may be."""
    return max(1, min(_DEEPEST, _MOST_READ // max(size, 1)))


def _named(user: str, item: str) -> tuple[Any, ...]:
    return version_copies.c.username == str(user), version_copies.c.item == str(item)


def _version(row: Any) -> Version:
    return Version(
        row.number,
        _EPOCH + row.saved * _MILLISECOND,
        _ORIGINS[row.origin],
        bytes(row.digest).hex(),
        row.size,
        row.release_digest,
    )


def _milliseconds(at: datetime) -> int:
    """Return a time in milliseconds since 1970. Raises: ``TypeError`` for one without a zone."""
    return (at - _EPOCH) // _MILLISECOND
