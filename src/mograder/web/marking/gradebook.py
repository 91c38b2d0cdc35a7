"""The gradebook of an app with pages of marking: opened by the first request that needs it."""

from __future__ import annotations

import threading

from mograder.core.clock import SystemClock
from mograder.core.closing import Closing
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import export_if_set
from mograder.store.gradebook.gradebook import Gradebook

_log = get_logger(__name__)


class SharedGradebook(Closing):
    """One gradebook for all requests; thread-safe.

    Mutable state: ``_book``, None until it is first needed.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self._opening = threading.Lock()
        self._book: Gradebook | None = None

    def get(self) -> Gradebook:
        """Return the gradebook, which the first call opens or creates; blocks.

        Raises: as :class:`~mograder.store.gradebook.gradebook.Gradebook`.
        """
        with self._opening:
            if self._book is None:
                self._book = Gradebook(self._loaded.gradebook_path)
            return self._book

    def close(self) -> None:
        """Close the gradebook if it is open; export its marks if that is set."""
        with self._opening:
            book, self._book = self._book, None
            if book is None:
                return
            with book:
                try:
                    export_if_set(self._loaded, book, SystemClock().now())
                except MograderError as error:
                    _log.error("the marks were not exported for mograder 0.3.16: %s", error)
