"""The one way in which texts of authors and students are parsed."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from marimo._ast.parse import is_run_guard

_ALONE = threading.Lock()


@contextmanager
def quiet_parser() -> Iterator[None]:
    """Parse inside of this: one thread at a time, and without warnings of an author's escapes.

    Python 3.11 counts the depth of a tree that it builds for all threads together, and gives up
    with a ``SystemError`` when another thread gets its turn meanwhile, which takes no more than a
    collector of garbage that calls Python code, as hypothesis has it. To silence warnings is no
    thread's own affair either.
    """
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_guard(node: ast.stmt) -> bool:
    """Whether this is ``if __name__ == "__main__":`` by marimo's rule, which parses it again."""
    if not isinstance(node, ast.If):
        return False
    with quiet_parser():
        return is_run_guard(node)
