"""Whether a text is a notebook that marimo can open, told with the line that is wrong.

The hub asks before it replaces a release, so that a broken notebook reaches no student.
"""

from __future__ import annotations

import ast
import platform
import re

from marimo._ast.parse import MarimoFileError, is_non_marimo_python_script, parse_notebook
from packaging.specifiers import SpecifierSet

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import quiet_parser
from mograder.notebook.pep723 import read_script

MAX_NOTEBOOK = 16_000_000
"""Bytes of one notebook; larger ones are data that was pasted into code."""

_BYTE_ORDER_MARK = "\ufeff"
_APP = re.compile(r"^\w+\s*=\s*\w+\.App\(", re.MULTILINE)
_HOW_TO_MAKE = "Create notebooks with `marimo edit NAME.py`."


def check_notebook(text: str, filename: str) -> None:
    """Return when the text is a marimo notebook that parses.

    A notebook whose ``requires-python`` leaves out the interpreter that asks may use syntax that
    it does not know; then only marimo's frame is looked for.

    Raises:
        InvalidInput: It is not, and the message is ``file:line: reason``.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        raise InvalidInput(
            f"{filename}:1: the file begins with a byte order mark, which marimo cannot open.",
            hint="Save it as UTF-8 without a byte order mark.",
        )
    if not text.strip():
        raise InvalidInput(f"{filename}:1: the notebook is empty.", hint=_HOW_TO_MAKE)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(f"{filename}:{line}: the file holds a null byte; it is not text.")
    if _written_for_another_python(text):
        _check_frame(text, filename)
        return
    _check_python(text, filename)
    _check_marimo(text, filename)


def _written_for_another_python(text: str) -> bool:
    try:
        wanted = read_script(text).requires_python
    except InvalidInput:
        return False
    return not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)


def _check_frame(text: str, filename: str) -> None:
    if not _APP.search(text):
        raise _not_marimo(filename)


def _check_python(text: str, filename: str) -> None:
    try:
        with quiet_parser():
            ast.parse(text, filename=filename)
    except SyntaxError as error:
        raise InvalidInput(
            f"{filename}:{error.lineno or 1}: {error.msg}.",
            hint=f"The file was read as Python {platform.python_version()}.",
        ) from error
    except ValueError as error:
        raise InvalidInput(f"{filename}:1: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise InvalidInput(f"{filename}:1: the code is nested too deeply.") from error


def _check_marimo(text: str, filename: str) -> None:
    try:
        with quiet_parser():
            notebook = parse_notebook(text, filename)
    except (MarimoFileError, RecursionError) as error:
        raise InvalidInput(f"{filename}:1: {error}", hint=_HOW_TO_MAKE) from error
    if notebook is None or not notebook.valid or is_non_marimo_python_script(notebook):
        raise _not_marimo(filename)


def _not_marimo(filename: str) -> InvalidInput:
    return InvalidInput(f"{filename}:1: this is not a marimo notebook.", hint=_HOW_TO_MAKE)
