"""The one way in which texts of authors and students are parsed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ALONE = threading.Lock()


@contextmanager
def quiet_parser() -> Iterator[None]:
    """Parse inside of this: one thread at a time, and without warnings of an author's escapes.

    Python 3.11 counts the depth of what it parses for all threads together, and gives up with a
    ``SystemError`` when two of them parse. To silence warnings is no thread's own affair either.
    """
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
