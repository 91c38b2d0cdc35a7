"""The dates of a course's items, for all pages and servers: general ones, and each student's.

They come from ``mograder.toml``, ``assignments.json`` and the gradebook, which has the dates that
instructors set, and extensions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.files.disk import DISK, Disk
from mograder.core.files.shared_files import look_for
from mograder.core.item_dates import OwnDates
from mograder.core.log import get_logger
from mograder.core.name_lookup import nfc
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import CourseLate
from mograder.grading.late.late_work import (
    Deduction,
    DueDates,
    SubmissionTime,
    TimeSource,
    Work,
    openings,
)
from mograder.store.assignment_server.assignments import Catalogue
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.late_work import LateFacts, LateWork

_AGAIN_SECONDS = 1.0
_log = get_logger(__name__)
_Stamp = tuple[tuple[int, int], ...]


class CourseDates:
    """The dates of a course; thread-safe, and every method may read files.

    ``book`` returns an open gradebook; without it the course's file is opened for each reading.
    ``catalogue`` is as for :class:`CourseLate`.
    Mutable state: ``_facts``, what the gradebook said when its files had the stamp ``_seen``,
    ``_opens``, the openings by them, and ``_asked``, when a share's server was last asked.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        book: Callable[[], Gradebook] | None = None,
        *,
        catalogue: Catalogue | None = None,
        disk: Disk = DISK,
    ) -> None:
        self._loaded = loaded
        self._path = loaded.gradebook_path
        self._disk = disk
        self._book = book
        self._late = CourseLate(loaded, catalogue=catalogue, lenient=True)
        self._lock = threading.Lock()
        self._asked = -_AGAIN_SECONDS
        self._seen: _Stamp = ()
        self._facts = LateFacts()
        self._opens: Mapping[str, datetime] = openings(loaded.settings, self._facts)

    def openings(self) -> Mapping[str, datetime]:
        """Return when items open where no rule of visibility says it, by their names."""
        return self._known()[1]

    def of(self, item: str) -> DueDates:
        """Return the dates of an item, with all exceptions."""
        return self._late.terms(item, self._known()[0]).due

    def usual(self, item: str) -> OwnDates:
        """Return the dates of an item for students without an exception."""
        dates = self.of(item)
        return OwnDates(dates.general, dates.closes)

    def own(self, item: str, student: str) -> OwnDates:
        """Return the dates of an item for one student."""
        return self.of(item).own(student)

    def if_received(self, item: str, student: str, at: datetime) -> Deduction:
        """Return the deduction of work that would be received at a time.

        Raises: the gradebook's errors.
        """
        work = Work(item, nfc(student), SubmissionTime(at, TimeSource.RECORDED))
        there = self._opened if self._path.is_file() else None
        return self._late.if_received(there, self._known()[0], work)

    @contextmanager
    def _opened(self) -> Iterator[Gradebook]:
        """Yield the gradebook, which is closed again if it is not a shared one."""
        if self._book is not None:
            yield self._book()
            return
        with viewed_gradebook(self._path) as book:
            yield book

    def _known(self) -> tuple[LateFacts, Mapping[str, datetime]]:
        """Return what the gradebook says, or said last if it cannot be read now, and openings."""
        self._ask()
        stamp = _stamp(self._path)
        with self._lock:
            if stamp != self._seen:
                try:
                    self._facts = self._read() if stamp else LateFacts()
                    self._opens = openings(self._loaded.settings, self._facts)
                    self._seen = stamp
                except MograderError as error:
                    _log.error("extensions and dates of the gradebook cannot be read: %s", error)
            return self._facts, self._opens

    def _ask(self) -> None:
        """Once a second, ask the server of a share whether another machine wrote the gradebook.

        By its directory: to close the file would drop the locks that SQLite holds on it here.
        """
        if time.monotonic() - self._asked >= _AGAIN_SECONDS:
            self._asked = time.monotonic()
            look_for(self._path.parent, self._disk)

    def _read(self) -> LateFacts:
        with self._opened() as book:
            return LateWork(book).facts()


def _stamp(path: Path) -> _Stamp:
    """Return what changes with every write to a gradebook; () without one."""
    found = []
    for each in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = each.stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)
