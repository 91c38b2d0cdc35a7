"""The decoding of notebook files that were uploaded or lie in a folder.

Bytes are checked but nothing is parsed, because the sender is not trusted.
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
    """Return a notebook's text without a UTF-8 byte order mark, which marimo cannot open.

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
    """Whether a file ends as marimo ends it; otherwise it may be only half written."""
    return _FINISH.search(data[-500:]) is not None


def _check_declared(data: bytes, filename: str) -> None:
    """Raise InvalidInput for another declared encoding, since marimo always reads UTF-8."""
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
