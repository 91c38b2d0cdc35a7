"""Workspaces: students' copies of items, ``hub-notebooks/<user>/<item>/``.

See compatibility-0.3.16.md 2.4, 2.8, 3.

A student's code may have made anything below the root, and the hub may run as root: so every access
uses :class:`~mograder.store.filesystem.untrusted_dir.UntrustedDir`. No notebook is ever
overwritten: one that a new copy replaces is kept beside it as ``<item>.bak.<time>.py``, in the
student's folder, so that the editor's file browser shows these earlier versions too.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from mograder.core.errors import Busy, Conflict, InvalidInput, NotFound
from mograder.core.files.disk import DISK, Disk, Space, space_of
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username, is_rehearsal
from mograder.store.copies.merged_files import FileChange, KnownFiles, Placing, place_files
from mograder.store.filesystem.files import remove_tree
from mograder.store.filesystem.untrusted_dir import FileInfo, NewFile, UntrustedDir, moment_of
from mograder.store.releases.published_release import Release, is_support, open_file, pinned

_log = get_logger(__name__)
_STAGING = ".staging"
_UPLOADED = ".uploaded"
_EXPORTED = ".exported"
_FETCHED = ".fetched"
_SUBMITTED = ".submitted"
_PLAIN = NewFile()
_MARKER = NewFile(durable=False)
_NO_FILES = KnownFiles()
_STRIPES = 64
_MOST_NAMES = 20_000
_MOST_ITEMS = 200
"""Most directories of one student, since uploads create one even for an unpublished name."""

_STEADY_LOOKS = 8
_MOST_TOLD = 5
"""Most further files of a folder that are named to its owner."""

MOST_ARCHIVES = 200
"""Most earlier versions of one item; a student's script must not fill the disk."""

_MOST_ARCHIVED = 256_000_000
"""Most bytes of all earlier versions of one item."""

_ENDING = re.compile(r"(?P<when>20\d{6}T\d{6})(?:-(?P<number>[1-9]\d{0,3}))?\.py")
_SAME_SECOND = 1000


class FileStatus(StrEnum):
    """The state of a student's copy (compatibility-0.3.16.md 2.4)."""

    NOT_STARTED = "not_started"
    UPLOADED = "uploaded"
    MODIFIED = "modified"
    EXPORTED = "exported"


@dataclass(frozen=True, slots=True)
class Saved:
    """The content of a student's file at one moment, and its time in nanoseconds."""

    data: bytes
    modified_ns: int

    @property
    def modified(self) -> datetime:
        """The time of the last change, which the file's owner can set."""
        return moment_of(self.modified_ns)

    @property
    def digest(self) -> str:
        """The ETag: the first 32 hexadecimal digits of the SHA-256."""
        return hashlib.sha256(self.data).hexdigest()[:32]


@dataclass(frozen=True, slots=True, order=True)
class Archive:
    """Replaced when ``kept``, with ``number`` in that second; ``size`` is in bytes."""

    kept: datetime
    number: int
    name: str
    size: int
    modified: datetime


class CopyState(StrEnum):
    """The state of a copy, in the words of the page (compatibility-0.3.16.md 2.4)."""

    DOWNLOADED = "downloaded"
    EDITED = "edited"
    EXPORTED = "exported"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """One copy: ``size`` in bytes; ``validated`` is the time of its last validation report.

    ``saved`` is the time at which it was made while nobody has edited it: its file has that of the
    release. ``touched`` is that or the file's last change by the system's clock, the later of the
    two: a file that is renamed into place keeps the time at which it was saved. Students can set
    every file time.
    """

    item: ItemName
    state: CopyState
    saved: datetime
    touched: datetime
    size: int
    validated: datetime | None
    submitted: datetime | None


class Workspaces:
    """All workspaces of a course; thread-safe."""

    def __init__(self, root: Path, *, disk: Disk = DISK) -> None:
        # The root itself is trusted and may be a link to a mounted volume (B21).
        self._root = root.resolve()
        self._below = UntrustedDir(self._root, staging=self._root / _STAGING, disk=disk)
        self._below.sweep()
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

    def directory(self, user: Username, item: ItemName) -> Path:
        return self._root / user / item

    def remove_rehearsals(self) -> None:
        """Remove rehearsal users' folders. Raises: Conflict while one is still being written to."""
        with suppress(FileNotFoundError):
            for path in list(self._root.iterdir()):
                if is_rehearsal(path.name):
                    remove_tree(path)

    def people(self) -> tuple[Username, ...]:
        try:
            names = [path.name for path in self._root.iterdir() if path.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        found: list[Username] = []
        for name in names[:_MOST_NAMES]:
            with suppress(InvalidInput):
                found.append(Username.of_account(name))
        return tuple(sorted(found))

    def facts_of(self, user: Username) -> tuple[CopyFacts, ...]:
        found = (self.facts(user, item) for item in sorted(self.items_of(user)))
        return tuple(each for each in found if each)

    def items_of(self, user: Username) -> frozenset[ItemName]:
        try:
            names = self._below.names(user, _MOST_ITEMS)
        except InvalidInput:
            return frozenset()
        return frozenset(item for item in map(ItemName.valid, names) if item is not None)

    def facts(self, user: Username, item: ItemName) -> CopyFacts | None:
        """Return the facts of a copy, None without its notebook; reads inodes, not contents."""
        look = partial(self._look, user, item)
        notebook = look(f"{item}.py")
        if notebook is None:
            return None
        submitted, report, uploaded = look(_SUBMITTED), look(f"{item}.html"), look(_UPLOADED)
        changed = max(notebook.modified_ns, uploaded.modified_ns if uploaded else 0)
        state = CopyState.DOWNLOADED
        if submitted is not None and submitted.modified_ns >= changed:
            state = CopyState.SUBMITTED
        elif (exported := look(_EXPORTED)) and exported.modified_ns >= notebook.modified_ns:
            state = CopyState.EXPORTED
        elif uploaded is not None and notebook.modified_ns > uploaded.modified_ns:
            state = CopyState.EDITED
        return CopyFacts(
            item=item,
            state=state,
            saved=moment_of(changed),
            touched=moment_of(max(changed, notebook.changed_ns)),
            size=notebook.size,
            validated=report.modified if report else None,
            submitted=submitted.modified if submitted else None,
        )

    def has_folder(self, user: Username) -> bool:
        """Return whether there is anything at the place of the student's copies."""
        return os.path.lexists(self._root / user)

    def notebook(self, user: Username, item: ItemName) -> Path:
        """Return the notebook's regular path; not trusted, see ``filesystem.untrusted_dir``."""
        return self.directory(user, item) / f"{item}.py"

    def has_copy(self, user: Username, item: ItemName) -> bool:
        """Return whether the student has a notebook of this item; a link or a pipe is none."""
        return self._look(user, item, f"{item}.py") is not None

    def others(self, user: Username, release: Release) -> tuple[str, ...]:
        """Return the first further Python files of the item's folder by name, as printable text.

        Those of the release and earlier versions are not among them. A student's file name may
        contain any bytes.
        """
        try:
            names = self._below.names(_path(user, release.name), _MOST_NAMES)
        except InvalidInput:
            return ()
        own = {f"{release.name}.py", *release.files}
        look = partial(self._look, user, release.name)
        further = (
            name
            for name in sorted(names)
            if name.endswith(".py")
            and name not in own
            and _archive_of(name, release.name, look) is None
        )
        return tuple(map(_printable, islice(further, _MOST_TOLD)))

    def notebook_size(self, user: Username, item: ItemName) -> int | None:
        found = self._look(user, item, f"{item}.py")
        return None if found is None else found.size

    def text(self, user: Username, item: ItemName, limit: int) -> str:
        """Return the notebook's text. Raises: NotFound, InvalidInput (no UTF-8 file), TooLarge."""
        data = self._below.read(_path(user, item, f"{item}.py"), limit)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{item}.py is no text in UTF-8.", hint="Open it in the editor and save it."
            ) from error

    def put_report(self, user: Username, item: ItemName, page: str) -> bool:
        """Write the last validation's page (compatibility-0.3.16.md 2.6).

        Return False, without an error, if it was not written: the page is not essential.
        """
        try:
            return self._below.write(_path(user, item, f"{item}.html"), page.encode(), _MARKER)
        except (InvalidInput, NotFound, Busy):
            return False

    def ensure(self, user: Username, release: Release, known: KnownFiles = _NO_FILES) -> Path:
        """Return the student's directory, with a copy of the release if there was no notebook.

        The notebook is copied last, so that after a crash the next call copies the missing files;
        once it exists nothing is copied again. With ``known``, the data files of an earlier copy
        are treated as by :meth:`renew`.

        Raises: :class:`InvalidInput` when a link, pipe or the like has the name of a file or
        directory, :class:`NotFound` when the release is gone.
        """
        item = release.name
        with self._lock(user, item):
            if not self._has_notebook(user, item):
                self._below.make_base()
                self._below.make_directory(_path(user, item))
                with pinned(release) as (fd, current):
                    self._copy_release(user, current, fd, known)
        return self.directory(user, item)

    def ensure_files(self, user: Username, release: Release) -> None:
        """Copy missing support files to another's notebook. Raises: as :meth:`upload`."""
        with self._lock(user, release.name):
            self._make(user, release.name)
            with pinned(release) as (fd, current):
                self._copy_files(user, current, fd)

    def file_status(self, user: Username, item: ItemName) -> FileStatus:
        """Derive the state from the markers' times (compatibility-0.3.16.md 2.4)."""
        notebook = self._look(user, item, f"{item}.py")
        if notebook is None:
            return FileStatus.NOT_STARTED
        uploaded = self._look(user, item, _UPLOADED)
        exported = self._look(user, item, _EXPORTED)
        if uploaded is None and exported is None:
            return FileStatus.NOT_STARTED
        if exported is not None and exported.modified_ns >= notebook.modified_ns:
            return FileStatus.EXPORTED
        if uploaded is not None and uploaded.modified_ns >= notebook.modified_ns:
            return FileStatus.UPLOADED
        return FileStatus.MODIFIED

    def updated(self, user: Username, release: Release) -> bool:
        """Return whether the release is newer than the copy, which has to exist (2.4)."""
        look = partial(self._look, user, release.name)
        marker = look(_FETCHED) or look(_UPLOADED)
        return marker is not None and release.updated > marker.modified

    def read(self, user: Username, item: ItemName, name: str, limit: int) -> Saved:
        """Return a file of the workspace, at most ``limit`` bytes, as it was at one moment.

        Raises: :class:`NotFound`, :class:`InvalidInput`, :class:`~mograder.core.errors.TooLarge`,
        :class:`Conflict` when it changes during each of several attempts.
        """
        path = _path(user, item, name)
        for _ in range(_STEADY_LOOKS):
            before = self._below.stat(path)
            data = self._below.read(path, limit)
            if before == self._below.stat(path) and len(data) == before.size:
                return Saved(data, before.modified_ns)
        raise Conflict(f"{name!r} is being written at the moment.", hint="Try again in a minute.")

    def space(self) -> Space:
        return space_of(self._root)

    def upload(self, user: Username, item: ItemName, data: bytes, now: datetime) -> str | None:
        """Replace the notebook; keep the old one and return its new name, None without one.

        Raises: :class:`Conflict` (too many archives or items), :class:`InvalidInput`,
        :class:`~mograder.core.errors.Busy` (disk full).
        """
        with self._lock(user, item):
            self._make(user, item)
            kept = self._replace(user, item, io.BytesIO(data), now)
            self._drop_marker(user, item, _EXPORTED)
            self._mark(user, item, _UPLOADED)
        return kept

    def restore(self, user: Username, item: ItemName, data: bytes, now: datetime) -> str | None:
        """Restore a version as an edit; return the kept one's name. Raises: as :meth:`upload`."""
        with self._lock(user, item):
            self._make(user, item)
            return self._put_text(user, item, data, now)

    def unmerge(self, user: Username, item: ItemName, data: bytes, now: datetime) -> None:
        """Put the text from before a merge back, unedited if it was. Raises: as :meth:`upload`."""
        with self._lock(user, item):
            self._put_text(user, item, data, now, unedited=self._is_unedited(user, item))

    def renew(
        self,
        user: Username,
        release: Release,
        now: datetime,
        known: KnownFiles = _NO_FILES,
        *,
        only_replace: bool = False,
    ) -> str | None:
        """Replace the notebook by the release's; keep the old one and return its name (B57).

        Data files that the student changed stay; missing ones and, by ``known``, those that the
        student left alone become the release's. If one could not be put in place, the copy is not
        marked as up to date. With ``only_replace`` nothing is copied where there is no copy
        (compatibility-0.3.16.md 2.3, reset).

        Raises: as :meth:`upload`, and :class:`NotFound` when the release is gone.
        """
        with self._lock(user, release.name):
            if only_replace and not self._anything(user, release.name):
                return None
            self._make(user, release.name)
            with pinned(release) as (fd, current):
                self._demand_few(user, release.name)  # else its data files would change alone
                changes = place_files(self._below, _path(user, release.name), current, fd, known)
                for each in (change for change in changes if change.is_told):
                    _log.info("%s of %s: %s", release.name, user, each.sentence)
                complete = all(each.how is not Placing.FAILED for each in changes)
                return self._renew(user, current, fd, now, complete=complete)

    def merge(
        self, user: Username, release: Release, text: bytes, known: KnownFiles, now: datetime
    ) -> tuple[FileChange, ...]:
        """Put a text in place that has the release merged into it, and the release's data files.

        The text comes last: after a crash the old or the new one is there, and calling this again
        completes it. The replaced text is kept beside it. Return what was done to the files.

        Raises: :class:`Conflict` if the item has been published again, else as :meth:`upload`.
        """
        item = release.name
        with self._lock(user, item):
            if not self._has_text(user, item, text):
                self._demand_few(user, item)  # else its data files would change alone
            with pinned(release) as (fd, current):
                if current.version != release.version:
                    raise Conflict(f"{item} has just been published again.", hint="Try again.")
                changes = place_files(self._below, _path(user, item), current, fd, known)
            # A copy that was not edited still counts as such.
            if not self._has_text(user, item, text):
                self._put_text(user, item, text, now, unedited=self._is_unedited(user, item))
            marked = max(_nanoseconds(now), _nanoseconds(release.updated) + 1)
            self._mark(user, item, _FETCHED, modified_ns=marked)
        return changes

    def _put_text(
        self, user: Username, item: ItemName, text: bytes, now: datetime, *, unedited: bool = False
    ) -> str | None:
        """Replace the text and return the name of the kept one; ``unedited``: not as an edit."""
        at = _nanoseconds(now) if unedited else None
        kept = self._replace(user, item, io.BytesIO(text), now, NewFile(modified_ns=at))
        if unedited:
            self._mark(user, item, _UPLOADED, modified_ns=at)
        elif self._look(user, item, _UPLOADED) is None:
            self._mark(user, item, _UPLOADED, modified_ns=0)
        return kept

    def _is_unedited(self, user: Username, item: ItemName) -> bool:
        return self.file_status(user, item) is FileStatus.UPLOADED

    def mark_exported(self, user: Username, item: ItemName, modified_ns: int | None = None) -> None:
        """Record an export, now or of ``modified_ns`` (B122). Raises: InvalidInput, Conflict."""
        with self._lock(user, item):
            self._make(user, item)
            self._mark(user, item, _EXPORTED, modified_ns=modified_ns, needed=True)

    def mark_submitted(self, user: Username, item: ItemName, modified_ns: int) -> None:
        """Record that the student submitted the notebook on the hub, as it was at that time."""
        with self._lock(user, item):
            self._mark(user, item, _SUBMITTED, modified_ns=modified_ns)

    def archives(self, user: Username, item: ItemName) -> tuple[Archive, ...]:
        try:
            names = self._below.names(_path(user, item), _MOST_NAMES)
        except InvalidInput:
            return ()
        look = partial(self._look, user, item)
        found = (_archive_of(name, item, look) for name in names)
        return tuple(sorted((each for each in found if each is not None), reverse=True))

    def _renew(
        self, user: Username, release: Release, fd: int, now: datetime, *, complete: bool
    ) -> str | None:
        with open_file(fd, release.notebook.name) as source:
            modified = os.fstat(source.fileno()).st_mtime_ns
            how = NewFile(modified_ns=modified)
            kept = self._replace(user, release.name, source, now, how)
        self._drop_marker(user, release.name, _EXPORTED)
        # Not earlier than the notebook's time, which would mean that it was edited.
        marked = max(_nanoseconds(now), modified)
        for marker in (_UPLOADED, _FETCHED) if complete else (_UPLOADED,):
            self._mark(user, release.name, marker, modified_ns=marked)
        return kept

    def _replace(
        self,
        user: Username,
        item: ItemName,
        source: BinaryIO,
        now: datetime,
        how: NewFile = _PLAIN,
    ) -> str | None:
        self._demand_few(user, item)
        path = _path(user, item, f"{item}.py")
        return self._below.replace_keeping(path, archive_names(item, now), source, how)

    def _demand_few(self, user: Username, item: ItemName) -> None:
        """Refuse to replace a notebook once more. Raises: Conflict if too many are kept."""
        kept = self.archives(user, item)
        if len(kept) >= MOST_ARCHIVES or sum(each.size for each in kept) >= _MOST_ARCHIVED:
            raise Conflict(
                f"There are {len(kept)} earlier versions of {item} in its folder already.",
                hint="Delete some of the .bak files in the editor's file browser, then try again.",
            )

    def _make(self, user: Username, item: ItemName) -> None:
        """Create the student's directory of an item. Raises: Conflict if there are too many."""
        self._below.make_base()
        present = self._below.names(user, _MOST_ITEMS)
        if len(present) >= _MOST_ITEMS and item not in present:
            raise Conflict(f"You have {_MOST_ITEMS} items already, and that is all.")
        self._below.make_directory(_path(user, item))

    def _mark(
        self,
        user: Username,
        item: ItemName,
        marker: str,
        *,
        modified_ns: int | None = None,
        needed: bool = False,
    ) -> None:
        """Write a marker, by default as of now; ignore a full disk unless ``needed``."""
        how = NewFile(durable=False, modified_ns=modified_ns)
        with suppress(InvalidInput, *(() if needed else (Busy,))):
            self._below.write(_path(user, item, marker), b"", how)

    def _drop_marker(self, user: Username, item: ItemName, marker: str) -> None:
        with suppress(InvalidInput):
            self._below.remove(_path(user, item, marker))

    def _lock(self, user: Username, item: ItemName) -> threading.Lock:
        return self._locks[hash((user, item)) % _STRIPES]

    def _anything(self, user: Username, item: ItemName) -> bool:
        """Return whether the notebook's name exists, even as a link or a directory."""
        try:
            return self._has_notebook(user, item)
        except InvalidInput:
            return True

    def _has_notebook(self, user: Username, item: ItemName) -> bool:
        return self._below.find(_path(user, item, f"{item}.py")) is not None

    def _has_text(self, user: Username, item: ItemName, text: bytes) -> bool:
        with suppress(NotFound, InvalidInput):
            return self._below.read(_path(user, item, f"{item}.py"), len(text)) == text
        return False

    def _look(self, user: Username, item: ItemName, name: str) -> FileInfo | None:
        return self._below.look(_path(user, item, name))

    def _copy_release(self, user: Username, release: Release, fd: int, known: KnownFiles) -> None:
        item = release.name
        self._below.remove(_path(user, item, _EXPORTED))
        for marker in (_UPLOADED, _FETCHED):
            self._below.write(_path(user, item, marker), b"", _MARKER)
        # The earlier of the two: the clock may tick between them.
        marked = self._below.stat(_path(user, item, _UPLOADED)).modified_ns
        if known.released:
            place_files(self._below, _path(user, item), release, fd, known)
        self._copy_files(user, release, fd)
        with open_file(fd, release.notebook.name) as source:
            # The release's time, but not later than the markers', which would mean "edited".
            modified = min(os.fstat(source.fileno()).st_mtime_ns, marked)
            how = NewFile(modified_ns=modified, replace=False)
            self._below.copy(_path(user, item, release.notebook.name), source, how)

    def _copy_files(self, user: Username, release: Release, fd: int) -> None:
        for path in (each for each in release.files if is_support(release, each)):
            parent = path.rpartition("/")[0]
            if parent:
                self._below.make_directory(_path(user, release.name, parent))
            with open_file(fd, path) as source:
                how = NewFile(replace=False)
                self._below.copy(_path(user, release.name, path), source, how)


def archive_names(item: ItemName, now: datetime) -> Iterator[str]:
    """Yield file names for a version kept at ``now``, in local time, preferred ones first."""
    stem = f"{item}.bak.{now.astimezone():%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"


def parse_archive(name: str, item: ItemName) -> str:
    """Return the name if it is an earlier version's of this item. Raises: NotFound for others."""
    if not _match(name, item):
        raise NotFound("There is no such earlier version.")
    return name


def _archive_of(
    name: str, item: ItemName, look: Callable[[str], FileInfo | None]
) -> Archive | None:
    """Return a directory entry as an earlier version; None if its name is not that of one.

    ``look`` is called for such names only: a folder may have thousands of other files.
    """
    found = _match(name, item)
    info = None if found is None else look(name)
    if found is None or info is None:
        return None
    try:
        # The name holds local time, as in 0.3.16. A student may have made a name with a bad time.
        kept = datetime.strptime(found["when"], "%Y%m%dT%H%M%S").astimezone()
    except ValueError:
        return None
    return Archive(kept, int(found["number"] or 0), name, info.size, info.modified)


def _match(name: str, item: ItemName) -> re.Match[str] | None:
    prefix = f"{item}.bak."
    return _ENDING.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None


def _printable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def _path(*parts: str) -> str:
    return "/".join(parts)
