"""Whether a text is a student's notebook of an item, although its file has another name. Pure.

Compared line by line and not parsed: the text is a student's, and may be anything.
"""

from __future__ import annotations

import re

from mograder.core.lookup import nfc

_APP = re.compile(r"^\w+\s*=\s*\w+\.App\(", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^#[ \t]*mograder-assignment[ \t]*=[ \t]*[\"']([^\"'\n]+)", re.MULTILINE)
_FRAME = re.compile(
    r"""import\ marimo(\ as\ \w+)?|from\ marimo\ import\ .*|__generated_with\ ?=.*|app\ ?=.*App\(.*
    |@app\.\w+.*|(async\ )?def\ _\(.*|return.*|if\ __name__\ ?==.*|app\.run\(\)|with\ app\.setup.*
    |\#\ ///.*|\#\ (requires-python|dependencies)\b.*|[\W_]*""",
    re.VERBOSE,
)
"""Lines that any two marimo notebooks may have in common."""

_ENOUGH = 0.25
"""The share of a release's own lines that a notebook made of it still has, unless it was rewritten
nearly whole."""

_FEWEST = 4
"""Own lines of a release that can be compared. A student may well change all of fewer, so then any
notebook counts as made of it: work must not be missed."""


def names_item(text: str, item: str, release: str | None) -> bool | None:
    """Tell whether a notebook that was made of an item's release names the item in its header.

    None if the text is not a notebook made of the release. ``release`` is None where the item
    is not published: then any notebook may be made of it.
    """
    if not _APP.search(text):
        return None
    stated = _assignment(text)
    if stated:
        expected = (_assignment(release) if release is not None else "") or item
        return True if nfc(stated) == nfc(expected) else None
    return False if _share(text, release) >= _ENOUGH else None


def is_rather(text: str, one: str, other: str) -> bool:
    """Whether a text was made of ``one`` rather than of ``other``, by the lines it has of each."""
    lines = _lines(text)
    return text != other and _part(_lines(one), lines) > _part(_lines(other), lines)


def _assignment(text: str) -> str:
    found = _ASSIGNMENT.search(text)
    return found[1].strip() if found else ""


def _share(text: str, release: str | None) -> float:
    """Return which part of a release's own lines a text has; 1 if the release has too few."""
    own = _lines(release or "")
    return _part(own, _lines(text)) if len(own) >= _FEWEST else 1.0


def _part(own: frozenset[str], lines: frozenset[str]) -> float:
    return len(own & lines) / len(own) if own else 0.0


def _lines(text: str) -> frozenset[str]:
    stripped = (line.strip() for line in text.splitlines())
    return frozenset(line for line in stripped if not _FRAME.fullmatch(line))
