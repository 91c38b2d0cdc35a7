"""Bytes that somebody sent, or that lie in a folder: are they a notebook's text, and all of it?

Looks at bytes only and parses nothing, since whoever sent them is not to be trusted with that.
"""

from __future__ import annotations

import codecs
import re

from mograder.core.errors import InvalidInput, TooLarge
from mograder.notebook import MAX_NOTEBOOK

_OTHERS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SAVE_AS = "Save it as UTF-8 in your editor, then upload it again."
_DECLARED = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_FINISH = re.compile(rb"if __name__ == ['\"]__main__['\"]:\s+app\.run\(\)\s*\Z")


def decode_notebook(data: bytes, filename: str) -> str:
    """Return a notebook's text; a byte order mark of UTF-8, which marimo cannot open, is left out.

    Raises: :class:`TooLarge`, :class:`InvalidInput` naming the encoding or the line.
    """
    if len(data) > MAX_NOTEBOOK:
        raise TooLarge(f"A notebook may have at most {MAX_NOTEBOOK // 1_000_000} MB.")
    for mark, name in _OTHERS:
        if data.startswith(mark):
            raise InvalidInput(f"{filename}:1: the file is in {name}, not UTF-8.", hint=_SAVE_AS)
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_declared(data, filename)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{filename}:{line}: the file is not UTF-8.", hint=_SAVE_AS) from error


def looks_whole(data: bytes) -> bool:
    """Whether a save ends as marimo ends one: what does not may be only half written."""
    return _FINISH.search(data[-500:]) is not None


def _check_declared(data: bytes, filename: str) -> None:
    """Refuse another declared encoding: marimo would read the text as UTF-8 all the same."""
    for number, line in enumerate(data.split(b"\n", 2)[:2], 1):
        found = _DECLARED.match(line)
        if found is None:
            continue
        name = found[1].decode("ascii", "replace")
        try:
            canonical = codecs.lookup(name).name
        except LookupError:
            canonical = ""
        if canonical not in ("utf-8", "utf-8-sig", "ascii"):
            raise InvalidInput(
                f"{filename}:{number}: the file says that it is in {name[:40]}, not UTF-8.",
                hint=_SAVE_AS,
            )
