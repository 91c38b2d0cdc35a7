"""The check that a text is a notebook that marimo can open.

The hub runs it before it replaces a release, so that no broken notebook reaches students.
"""

from __future__ import annotations

import platform
import re

from packaging.specifiers import SpecifierSet

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import HOW_TO_MAKE, NotPython, not_marimo, parse_marimo, parse_python
from mograder.notebook.pep723 import read_script

_BYTE_ORDER_MARK = "\ufeff"
_APP = re.compile(r"^\w+\s*=\s*\w+\.App\(", re.MULTILINE)


def check_notebook(text: str, filename: str) -> None:
    """Check that the text is a marimo notebook that parses.

    If ``requires-python`` excludes the running interpreter, the notebook may use syntax unknown to
    it; then only the line ``app = marimo.App(`` is looked for.

    Raises:
        InvalidInput: The text is not such a notebook; the message is ``file:line: reason``.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        raise InvalidInput(
            f"{filename}:1: the file begins with a byte order mark, which marimo cannot open.",
            hint="Save it as UTF-8 without a byte order mark.",
        )
    if not text.strip():
        raise InvalidInput(f"{filename}:1: the notebook is empty.", hint=HOW_TO_MAKE)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(f"{filename}:{line}: the file holds a null byte; it is not text.")
    if _written_for_another_python(text):
        _check_frame(text, filename)
        return
    try:
        parse_python(text, filename)
    except NotPython as error:
        read_as = f"The file was read as Python {platform.python_version()}."
        raise InvalidInput(error.message, hint=f"{error.hint} {read_as}") from error
    parse_marimo(text, filename)


def _written_for_another_python(text: str) -> bool:
    try:
        wanted = read_script(text).requires_python
    except InvalidInput:
        return False
    return not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)


def _check_frame(text: str, filename: str) -> None:
    if not _APP.search(text):
        raise not_marimo(filename)
