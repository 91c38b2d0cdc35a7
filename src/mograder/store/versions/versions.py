"""Versions: every saved state of a student's copy, in the hub's database.

Most versions are stored as their difference from an earlier one, so a save costs a few hundred
bytes. Synchronous and thread-safe. Copies are independent of the workspaces: their versions stay
when the files are removed. :mod:`.version_thinning` removes versions as they grow old.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from mograder.core.errors import Busy, Conflict, MograderError
from mograder.store.database.database import Tables, reading, upsert, writing
from mograder.store.filesystem.group_commit import GroupCommit
from mograder.store.versions.version_texts import (
    Piece,
    hash_of,
    read_text,
    stored,
    version_checks,
    version_copies,
    version_releases,
    versions,
)

MOST_VERSIONS = 2000
MOST_BYTES = 12_000_000
"""Most versions of one copy and bytes of their data, above which they are thinned soon."""

_FULL = 2
"""At so many times the most, a new version takes the newest one's place until they are thinned."""

_ATTEMPTS = 20
"""How often a version is added anew because the copy's versions changed at the same time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Origin(StrEnum):
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


ORIGINS = tuple(Origin)
"""An origin is stored as its place in this list: new ones are added at the end."""

REPLACING = frozenset({Origin.UPLOAD, Origin.RESET, Origin.RESTORE, Origin.MERGE})
"""The origins of versions before which the student's text was another: the one before stays."""


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
    return hash_of(text).hex()


@dataclass(slots=True)
class _Addition:
    """A version to be added by a group commit; ``outcome`` is set by it.

    ``newest`` is the newest version before it, which it replaces with ``replaces``, and ``kept``
    how many there are. ``outcome`` is True once the version is stored, False if another hub has
    added one meanwhile, or some were removed: it may build on one of them.
    """

    copy: int
    newest: int
    kept: int
    row: dict[str, Any]
    replaces: bool
    outcome: bool | MograderError = field(default=False)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy's row, with its newest version, None without one, and the key of that.

    ``key`` is the version that the newest one is stored as its difference from, or that itself.
    """

    copy: int
    release: int
    newest: int
    kept: int
    bytes: int
    version: Row[*tuple[Any, ...]] | None = None
    key: Piece | None = None


class Versions(Tables):
    """The versions of all copies. Mutable state: ``_locks`` of the copies that are recorded."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._locks: WeakValueDictionary[tuple[str, str], threading.RLock] = WeakValueDictionary()
        self._gate = threading.Lock()
        self._additions: GroupCommit[_Addition] = GroupCommit(self._add)

    @contextmanager
    def alone(self, user: str, item: str) -> Iterator[None]:
        """Let no other thread of this process record versions of a copy until the block ends.

        In it, a file can be read and recorded without a newer version coming between.
        """
        with self._gate:
            lock = self._locks.setdefault((str(user), str(item)), threading.RLock())
        with lock:
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
        told: Callable[[bool], tuple[Origin, str | None]] | None = None,
    ) -> Version:
        """Add a version and return it; return the newest one if it has the same text.

        It is durable when this returns. ``release`` is the digest of the release that the copy
        comes from as of now, None if that has not changed. ``told`` returns the origin and the
        release of another text than the newest one's, by whether there is one.
        """
        digest = hash_of(text)
        with self.alone(user, item):
            for _ in range(_ATTEMPTS):
                copy = self._copy(user, item)
                newest = copy.version
                unchanged = newest is not None and newest.digest == digest
                if told is not None and not unchanged:
                    origin, release = told(newest is not None)
                wanted = copy.release if release is None else self._release_number(release)
                if newest is not None and unchanged:
                    return self._unchanged(copy, newest, wanted)
                row = {
                    "number": copy.newest + 1,
                    "saved": milliseconds(now),
                    "origin": ORIGINS.index(origin),
                    "release": wanted,
                    "size": len(text),
                    "digest": digest,
                }
                if self._added(copy, row, text):
                    known = "" if newest is None else newest.release_digest
                    return _version_of(row, known if release is None else release)
        raise Busy("The notebook is being saved by several hubs.", retry_after=1)

    def all(self, user: str, item: str) -> tuple[Version, ...]:
        wanted = _LISTED.where(*_named(user, item)).order_by(versions.c.number.desc())
        with reading(self._engine) as connection:
            return tuple(map(_version, connection.execute(wanted)))

    def items(self, user: str) -> frozenset[str]:
        """Return the items of which a person's copy has versions, whether it is there or not."""
        c = version_copies.c
        return frozenset(self._values(select(c.item).where(c.username == user, c.kept > 0)))

    def newest(self, user: str, item: str) -> Version | None:
        wanted = _LISTED.where(*_named(user, item), versions.c.number == version_copies.c.newest)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _version(row)

    def text(self, user: str, item: str, number: int) -> bytes:
        """Raise NotFound, and Damaged (``version_texts``) if it cannot be read back."""
        return self.texts(user, item, (number,))[number]

    def texts(self, user: str, item: str, numbers: Collection[int]) -> Mapping[int, bytes]:
        """Return the texts of several versions by number. Raises: as :meth:`text`."""
        which = select(version_copies.c.copy).where(*_named(user, item))
        with reading(self._engine) as connection:
            copy = connection.execute(which).scalar_one_or_none() or 0
            return {number: read_text(connection, copy, number) for number in numbers}

    def release_of(self, user: str, item: str) -> str:
        """Return the digest of the release that a copy last came from, "" if unknown."""
        wanted = select(version_releases.c.digest).where(
            *_named(user, item), version_releases.c.number == version_copies.c.release
        )
        return self._value(wanted) or ""

    def releases_of(self, item: str) -> Mapping[str, str]:
        """Return what :meth:`release_of` returns for each copy of an item, by user."""
        wanted = select(version_copies.c.username, version_releases.c.digest).where(
            version_copies.c.item == item, version_releases.c.number == version_copies.c.release
        )
        return dict(self._rows(lambda user, digest: (user, digest), wanted))

    def release_of_text(self, user: str, item: str, text: bytes) -> str | None:
        """Return the release of the newest version with this text; None if none is known."""
        digest = digest_of(text)
        same = (each for each in self.all(user, item) if each.digest == digest)
        return next((each.release for each in same if each.release), None)

    def note_checks(self, user: str, item: str, text: bytes, passed: int, checks: int) -> None:
        """Record how many checks passed in a text of a copy; nothing of one without versions."""
        which = select(version_copies.c.copy).where(*_named(user, item))
        with writing(self._engine, fleeting=True) as connection:
            copy = connection.execute(which).scalar_one_or_none()
            if copy is not None:
                counts = {"passed": passed, "checks": checks}
                row = {"copy": copy, "digest": hash_of(text), **counts}
                connection.execute(upsert(connection, version_checks, row), row)

    def checks(self, user: str, item: str) -> Mapping[str, tuple[int, int]]:
        """Return how many checks passed and there were, by the digests of the texts validated."""
        c = version_checks.c
        wanted = select(c.digest, c.passed, c.checks).join(version_copies)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.where(*_named(user, item)))
            return {bytes(digest).hex(): (passed, checks) for digest, passed, checks in rows}

    def _copy(self, user: str, item: str) -> _Copy:
        """Return a copy's row, which is added if there is none."""
        with reading(self._engine) as connection:
            row = connection.execute(_COPY, {"user": str(user), "of": str(item)}).one_or_none()
        if row is not None:
            version = None if row.number is None else row
            key = None if row.key_number is None else Piece(*row[-len(Piece._fields) :])
            return _Copy(row.copy, row.came_from, row.newest, row.kept, row.bytes, version, key)
        empty = dict.fromkeys(("release", "newest", "kept", "bytes"), 0)
        added = {"username": str(user), "item": str(item), "saved": 0, "thinned": 0} | empty
        try:
            # The version that follows is committed durably, and this with it.
            with writing(self._engine, fleeting=True) as connection:
                new = insert(version_copies).returning(version_copies.c.copy)
                number = connection.execute(new, added).scalar_one()
        except Conflict:  # another hub has just added it
            return self._copy(user, item)
        return _Copy(number, 0, 0, 0, 0)

    def _added(self, copy: _Copy, row: dict[str, Any], text: bytes) -> bool:
        """Add a version; return False if the copy's versions have changed meanwhile."""
        # The newest one is replaced where there are far too many; the text before a replacement of
        # the student's stays, unless this is a flood as well.
        over = max(copy.kept / MOST_VERSIONS, copy.bytes / MOST_BYTES)
        over -= ORIGINS[row["origin"]] in REPLACING
        replaces = copy.version is not None and over >= _FULL and copy.kept > 1
        is_key = copy.key is not None and copy.key.number == copy.newest
        row |= stored(text, None if replaces and is_key else copy.key)
        addition = _Addition(copy.copy, copy.newest, copy.kept, row, replaces)
        self._additions.add(addition)
        if isinstance(addition.outcome, MograderError):
            raise addition.outcome
        return addition.outcome

    def _add(self, batch: Sequence[_Addition]) -> None:
        """Add versions in one transaction; in the order of their copies, or two hubs deadlock."""
        try:
            with writing(self._engine) as connection:
                for each in sorted(batch, key=lambda each: each.copy):
                    each.outcome = _insert(connection, each)
        except MograderError as error:
            for each in batch:
                each.outcome = error

    def _unchanged(self, copy: _Copy, newest: Row[*tuple[Any, ...]], release: int) -> Version:
        """Return the newest version, which now comes from this release."""
        if release == newest.release:
            return _version(newest)
        c = versions.c
        same = version_copies.c.copy == copy.copy
        with writing(self._engine) as connection:
            connection.execute(update(version_copies).where(same).values(release=release))
            now = update(versions).where(c.copy == copy.copy, c.number == copy.newest)
            connection.execute(now.values(release=release))
            row = connection.execute(_LISTED.where(c.copy == copy.copy, c.number == copy.newest))
            return _version(row.one())

    def _release_number(self, digest: str) -> int:
        """Return the number of a release, given to it if it has none; 0 for ""."""
        if not digest:
            return 0
        wanted = select(version_releases.c.number).where(version_releases.c.digest == digest)
        if (number := self._value(wanted)) is None:
            # As in _copy.
            with suppress(Conflict):
                self._change(insert(version_releases), {"digest": digest}, fleeting=True)
            (number,) = self._values(wanted)
        return int(number)


_LISTED = (
    select(
        versions.c.number,
        versions.c.saved,
        versions.c.origin,
        versions.c.digest,
        versions.c.size,
        versions.c.base,
        versions.c.release,
        func.coalesce(version_releases.c.digest, "").label("release_digest"),
    )
    .join(version_copies, version_copies.c.copy == versions.c.copy)
    .outerjoin(version_releases, version_releases.c.number == versions.c.release)
)

_KEY = versions.alias("key")

_COPY = (
    select(
        version_copies.c.copy,
        version_copies.c.release.label("came_from"),
        version_copies.c.newest,
        version_copies.c.kept,
        version_copies.c.bytes,
        *_LISTED.selected_columns,
        *(_KEY.c[name].label(f"key_{name}") for name in Piece._fields),
    )
    .outerjoin(
        versions,
        (versions.c.copy == version_copies.c.copy) & (versions.c.number == version_copies.c.newest),
    )
    .outerjoin(
        _KEY,
        (_KEY.c.copy == versions.c.copy)
        & (_KEY.c.number == case((versions.c.base == 0, versions.c.number), else_=versions.c.base)),
    )
    .outerjoin(version_releases, version_releases.c.number == versions.c.release)
    .where(version_copies.c.username == bindparam("user"), version_copies.c.item == bindparam("of"))
)

_REPLACED = versions.c.copy == bindparam("which"), versions.c.number == bindparam("old")
_LENGTH = select(func.length(versions.c.data)).where(*_REPLACED)
_REMOVE = delete(versions).where(*_REPLACED)
_ADD = insert(versions)
UNCHANGED = update(version_copies).where(
    version_copies.c.copy == bindparam("which"),
    version_copies.c.newest == bindparam("expected"),
    version_copies.c.kept == bindparam("before"),
)
"""The change of a copy whose versions are the expected ones."""

_COUNT = UNCHANGED.values(
    newest=bindparam("following"),
    saved=bindparam("at"),
    release=bindparam("came_from"),
    kept=version_copies.c.kept + bindparam("one_more"),
    bytes=version_copies.c.bytes + bindparam("more"),
)


def _insert(connection: Connection, addition: _Addition) -> bool:
    """Add one version; return False if the copy's versions are not the expected ones."""
    old = {"which": addition.copy, "old": addition.newest}
    freed = 0
    if addition.replaces:
        freed = connection.execute(_LENGTH, old).scalar_one_or_none() or 0
    counted = {
        "which": addition.copy,
        "expected": addition.newest,
        "before": addition.kept,
        "following": addition.row["number"],
        "at": addition.row["saved"],
        "came_from": addition.row["release"],
        "one_more": 0 if addition.replaces else 1,
        "more": len(addition.row["data"]) - freed,
    }
    if not connection.execute(_COUNT, counted).rowcount:
        return False
    if addition.replaces:
        connection.execute(_REMOVE, old)
    connection.execute(_ADD, {"copy": addition.copy, **addition.row})
    return True


def _named(user: str, item: str) -> tuple[Any, ...]:
    return version_copies.c.username == str(user), version_copies.c.item == str(item)


def _version(row: Row[*tuple[Any, ...]]) -> Version:
    return _version_of(dict(row._mapping), row.release_digest)


def _version_of(row: Mapping[str, Any], release: str) -> Version:
    saved, origin = _EPOCH + row["saved"] * _MILLISECOND, ORIGINS[row["origin"]]
    return Version(row["number"], saved, origin, bytes(row["digest"]).hex(), row["size"], release)


def milliseconds(at: datetime) -> int:
    """Return a time in milliseconds since 1970. Raises: ``TypeError`` for one without a zone."""
    return (at - _EPOCH) // _MILLISECOND
