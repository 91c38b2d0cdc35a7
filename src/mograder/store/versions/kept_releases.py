"""Kept releases: the text and the digests of the data files of each release that was published.

A release is replaced when an item is published again, and merging it into copies needs the one from
before. The hub's database keeps them, so that all hubs of a course have them. Synchronous and
thread-safe; callers on the event loop use a thread.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.merge.cell_merge import fitting_release
from mograder.store.copies.merged_files import KnownFiles
from mograder.store.database.database import Tables, reading, writing
from mograder.store.releases.published_release import (
    Release,
    file_digest,
    is_support,
    open_file,
    pinned,
)
from mograder.store.releases.releases import Releases
from mograder.store.versions.version_texts import compress, expand, kept_releases, kept_texts
from mograder.store.versions.versions import Versions, digest_of

_MOST_KEPT = 100
"""Most releases of one item that are kept; the oldest is dropped for a new one."""

_MOST_FITTED = 20
"""Most releases, the newest, that a copy of unknown origin is compared with."""

_CACHED = 8_000_000
"""Most characters of texts that are held in memory."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeptRelease:
    """A release: the digest of its notebook's text, and the SHA-256 of its data files by name."""

    digest: str
    files: Mapping[str, str]
    published: datetime


class KeptReleases(Tables):
    """The kept releases of all items.

    Mutable state: ``_texts``, some texts by digest, the last used ones, and ``_seen``, the digest
    of each item's release by its version, since hashing data files takes time.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._lock = threading.Lock()
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._seen: dict[str, tuple[Hashable, str]] = {}

    def keep(self, release: Release, now: datetime) -> str:
        """Keep a published release; return the digest of its text, "" if that cannot be read."""
        seen, digest = self._seen.get(release.name, (None, ""))
        stamps = _stamps(release)
        if seen == (release.version, stamps):
            return digest
        try:
            text, files, version = _read(release)
            text.decode()
        except (OSError, MograderError, UnicodeDecodeError) as error:
            _log.warning("the release of %s cannot be kept: %s", release.name, error)
            return ""
        digest = digest_of(text)
        if not self._is_newest(release.name, digest, files):
            self._add(release.name, digest, files, text, now)
        self._seen[release.name] = ((version, stamps), digest)
        return digest

    def keep_all(self, releases: Iterable[Release], now: datetime) -> None:
        """Keep all published releases; failures are logged."""
        for release in releases:
            try:
                self.keep(release, now)
            except MograderError as error:
                _log.warning("the release of %s was not kept: %s", release.name, error)

    def all(self, item: ItemName) -> tuple[KeptRelease, ...]:
        c = kept_releases.c
        wanted = select(c.digest, c.files, c.published).where(c.item == item)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(c.number.desc())).all()
        return tuple(KeptRelease(row.digest, json.loads(row.files), row.published) for row in rows)

    def since(self, item: ItemName) -> datetime | None:
        """Return when the newest release of an item was found; None without one."""
        # By the number and not by the time: a clock may have been ahead.
        return next((each.published for each in self.all(item)), None)

    def text(self, digest: str) -> str | None:
        with self._lock:
            if digest in self._texts:
                self._texts.move_to_end(digest)
                return self._texts[digest]
        wanted = select(kept_texts.c.data, kept_texts.c.size).where(kept_texts.c.digest == digest)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        text = expand(row.data, b"", row.size).decode()
        with self._lock:
            self._texts[digest] = text
            while sum(map(len, self._texts.values())) > _CACHED and len(self._texts) > 1:
                self._texts.popitem(last=False)
        return text

    def fitting(self, item: ItemName, mine: str) -> str:
        """Return the digest of the release that a copy came from, told by its text; "" if none."""
        digests = list(dict.fromkeys(each.digest for each in self.all(item)))[:_MOST_FITTED]
        texts = [self.text(digest) or "" for digest in digests]
        found = fitting_release(mine, texts)
        return "" if found is None else digests[found]

    def known_files(self, item: ItemName, base: str) -> KnownFiles:
        """Return the digests of an item's data files; ``base`` is the copy's release, or "".

        Of several releases with the notebook of ``base``, the newest is the one to be merged.
        """
        every = self.all(item)
        bases = [each for each in every if each.digest == base]
        bases = bases[1:] if len(bases) > 1 and bases[0] is every[0] else bases
        released: dict[str, set[str]] = {}
        origin: dict[str, set[str]] = {}
        for each in every:
            for name, digest in each.files.items():
                released.setdefault(name, set()).add(digest)
                if each in bases:
                    origin.setdefault(name, set()).add(digest)
        return KnownFiles(_frozen(released), _frozen(origin))

    def _is_newest(self, item: ItemName, digest: str, files: dict[str, str]) -> bool:
        newest = self.all(item)[:1]
        return [(each.digest, each.files) for each in newest] == [(digest, files)]

    def _add(
        self, item: ItemName, digest: str, files: dict[str, str], text: bytes, now: datetime
    ) -> None:
        data, listed = compress(text, b""), json.dumps(files, sort_keys=True)
        for last in (False, True):
            try:
                with writing(self._engine) as connection:
                    _put(connection, item, digest, listed, now)
                    _put_text(connection, digest, len(text), data)
                    _forget_oldest(connection, item)
            except Conflict:
                if self._is_newest(item, digest, files):  # another hub has just kept it
                    return
                if last:
                    raise
            else:
                return


def _put(connection: Connection, item: str, digest: str, files: str, now: datetime) -> None:
    c = kept_releases.c
    files_digest = hashlib.sha256(files.encode()).hexdigest()
    same = (c.item == item, c.digest == digest, c.files_digest == files_digest)
    connection.execute(delete(kept_releases).where(*same))  # a new row has the highest number
    row = insert(kept_releases).values(
        item=item, digest=digest, files_digest=files_digest, files=files, published=now
    )
    connection.execute(row)


def _put_text(connection: Connection, digest: str, size: int, data: bytes) -> None:
    there = select(kept_texts.c.digest).where(kept_texts.c.digest == digest)
    if connection.execute(there).one_or_none() is None:
        connection.execute(insert(kept_texts).values(digest=digest, size=size, data=data))


def _forget_oldest(connection: Connection, item: str) -> None:
    c = kept_releases.c
    newest = select(c.number).where(c.item == item).order_by(c.number.desc()).limit(_MOST_KEPT)
    kept = list(connection.execute(newest).scalars())
    if len(kept) < _MOST_KEPT:
        return
    old = connection.execute(
        delete(kept_releases).where(c.item == item, c.number.not_in(kept)).returning(c.digest)
    )
    for digest in set(old.scalars()):
        used = select(c.number).where(c.digest == digest).limit(1)
        if connection.execute(used).one_or_none() is None:
            connection.execute(delete(kept_texts).where(kept_texts.c.digest == digest))


def _read(release: Release) -> tuple[bytes, dict[str, str], str]:
    """Return the notebook's bytes, the data files' SHA-256, and the version of what was read."""
    with pinned(release) as (fd, current):
        with open_file(fd, current.notebook.name) as file:
            text = file.read(MAX_NOTEBOOK + 1)
        names = [name for name in current.files if is_support(current, name)]
        files = {name: file_digest(fd, name) for name in names}
    if len(text) > MAX_NOTEBOOK:
        raise Conflict(f"{current.notebook.name} is too large.")
    return text, files, current.version


def _stamps(release: Release) -> Hashable:
    """Return the times and sizes of a release's files: one may be edited in place, by hand."""
    found: list[tuple[int, int] | None] = []
    for name in release.files:
        try:
            status = (release.directory / name).lstat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def _frozen(found: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(digests) for name, digests in found.items()}


@dataclass(frozen=True, slots=True)
class KeptText:
    digest: str
    text: str


class ReleaseHistory:
    """The releases of each item, the earlier ones too; every method blocks."""

    def __init__(
        self, releases: Releases, kept: KeptReleases, versions: Versions, clock: Clock
    ) -> None:
        self._releases = releases
        self._kept = kept
        self._versions = versions
        self._clock = clock

    def present(self, item: ItemName) -> KeptText | None:
        """Return the published release of an item, kept if it was not; None without one."""
        release = self._releases.get(item)
        if release is None:
            return None
        digest = self._kept.keep(release, self._clock.now())
        text = self._kept.text(digest) if digest else None
        return None if text is None else KeptText(digest, text)

    def is_as_of(self, item: ItemName, digest: str, at: datetime) -> bool:
        """Return whether a release is the published one, with the data files of that time."""
        release = self._releases.get(item)
        now = self._clock.now()
        if release is None or self._kept.keep(release, now) != digest:
            return False
        since = self._kept.since(item)
        # A time to come is that of a clock that was ahead.
        return since is not None and (since <= at or since > now)

    def origin(self, user: Username, item: ItemName, mine: str) -> KeptText | None:
        """Return the release of a copy by its timeline, else by its text; None if neither tells.

        The timeline may know the text as an earlier version, which came from another release.
        """
        digest = self._versions.release_of_text(user, item, mine.encode())
        digest = digest or self._versions.release_of(user, item) or self._kept.fitting(item, mine)
        if not digest:
            return None
        text = self._kept.text(digest)
        if text is not None:
            return KeptText(digest, text)
        # It is not kept, but may be the text of a version of the copy.
        for each in self._versions.all(user, item):
            if each.digest == digest:
                try:
                    own = self._versions.text(user, item, each.number)
                    return KeptText(digest, own.decode())
                except (MograderError, UnicodeDecodeError) as error:
                    _log.warning("a version of %s/%s cannot be read: %s", user, item, error)
        return None

    def to_merge(
        self, item: ItemName, new: KeptText, base: KeptText | None
    ) -> tuple[Release, KnownFiles]:
        """Return the release with its data files. Raises: Conflict if it is not ``new`` now."""
        release = self._releases.get(item)
        if release is None or self._kept.keep(release, self._clock.now()) != new.digest:
            raise Conflict(f"{item} has just been published again.", hint="Try again.")
        return release, self._kept.known_files(item, "" if base is None else base.digest)
