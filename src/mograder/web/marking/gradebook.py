"""The gradebook of an app with pages of marking: opened by the first request that needs it."""

from __future__ import annotations

import threading
from pathlib import Path

from mograder.core.closing import Closing
from mograder.store.gradebook.gradebook import Gradebook


class SharedGradebook(Closing):
    """One gradebook for all requests; thread-safe.

    Mutable state: ``_book``, None until it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = threading.Lock()
        self._book: Gradebook | None = None

    def get(self) -> Gradebook:
        """Return the gradebook, which the first call opens or creates; blocks.

        Raises: as :class:`~mograder.store.gradebook.gradebook.Gradebook`.
        """
        with self._opening:
            if self._book is None:
                self._book = Gradebook(self._path)
            return self._book

    def close(self) -> None:
        """Close the gradebook if it is open."""
        with self._opening:
            if self._book is not None:
                self._book.close()
            self._book = None
