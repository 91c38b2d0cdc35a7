"""The one way in which texts of authors and students are parsed, by Python and by marimo.

Both parsers fail in many ways on a text that is not what they expect. Each of them becomes
:class:`~mograder.core.errors.InvalidInput` here, as ``file:line: reason``.
"""

from __future__ import annotations

import ast
import threading
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from marimo._ast.parse import (
    MarimoFileError,
    is_non_marimo_python_script,
    is_run_guard,
    parse_notebook,
)
from marimo._schemas.serialization import NotebookSerialization

from mograder.core.errors import InvalidInput

HOW_TO_MAKE = "Create notebooks with `marimo edit NAME.py`."

_ALONE = threading.Lock()
_PYTHON_FAILS = (ValueError, RecursionError, MemoryError, OverflowError, SystemError)
"""Besides ``SyntaxError``: a null byte or half a character, nesting, an integer too long."""

_MARIMO_FAILS = (
    *(MarimoFileError, SyntaxError, tokenize.TokenError, *_PYTHON_FAILS),
    *(AssertionError, LookupError, TypeError, AttributeError, NotImplementedError),
)
"""marimo's parser states what it expects with ``assert``, and indexes what it has found."""


class NotPython(InvalidInput):
    """A text that Python cannot parse: ``reason`` without the place, and the ``line`` from 1."""

    def __init__(self, filename: str, line: int, reason: str) -> None:
        hint = "Correct this line, or the one before it."
        super().__init__(f"{filename}:{line}: {reason}.", hint=hint)
        self.line = line
        self.reason = reason


def parse_python(text: str, filename: str = "<text>") -> ast.Module:
    """Return a text's syntax tree, without the warnings that an author's escapes may cause.

    Raises:
        NotPython: The text cannot be parsed as Python.
    """
    try:
        with _quiet_parser():
            return ast.parse(text, filename=filename)
    except SyntaxError as error:
        raise NotPython(filename, error.lineno or 1, error.msg) from error
    except (RecursionError, MemoryError, SystemError) as error:
        raise NotPython(filename, 1, "the code is nested too deeply") from error
    except _PYTHON_FAILS as error:
        raise NotPython(filename, 1, str(error) or "the file cannot be read as Python") from error


def parse_marimo(text: str, filename: str) -> NotebookSerialization:
    """Return a notebook as marimo's own parser understands it.

    Raises:
        InvalidInput: It is not a marimo notebook, or not one that marimo can read.
    """
    try:
        with _quiet_parser():
            notebook = parse_notebook(text, filename)
            script = notebook is not None and is_non_marimo_python_script(notebook)
    except _MARIMO_FAILS as error:
        reason = str(error) or "marimo cannot read this file."
        raise InvalidInput(f"{filename}:1: {reason}", hint=HOW_TO_MAKE) from error
    if notebook is None or script or not notebook.valid:
        raise not_marimo(filename)
    return notebook


def not_marimo(filename: str) -> InvalidInput:
    """Return the error for a text that is not a marimo notebook."""
    return InvalidInput(f"{filename}:1: this is not a marimo notebook.", hint=HOW_TO_MAKE)


@contextmanager
def _quiet_parser() -> Iterator[None]:
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
    with _quiet_parser():
        return is_run_guard(node)
