"""Detection of a student's notebook of an item whose file has another name. Pure.

Texts are compared line by line and not parsed: a student's text is not trusted.
"""

from __future__ import annotations

import re

from mograder.core.name_lookup import nfc

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
"""Smallest share of a release's own lines in a notebook made from it, unless nearly all of it was
rewritten."""

_FEWEST = 4
"""Smallest number of own lines of a release for a comparison. A student may change all of fewer, so
then any notebook counts as made from it, and no work is missed."""


def names_item(text: str, item: str, release: str | None) -> bool | None:
    """Return whether a notebook made from an item's release names the item in its header.

    Return None if the text is not a notebook made from the release. ``release`` is None if the item
    is not published: then any notebook counts as made from it.
    """
    if not _APP.search(text):
        return None
    stated = _assignment(text)
    if stated:
        expected = (_assignment(release) if release is not None else "") or item
        return True if nfc(stated) == nfc(expected) else None
    return False if _share(text, release) >= _ENOUGH else None


def is_rather(text: str, one: str, other: str) -> bool:
    """Whether a text contains a larger share of the lines of ``one`` than of ``other``."""
    lines = _lines(text)
    return text != other and _part(_lines(one), lines) > _part(_lines(other), lines)


def shared_lines(text: str, release: str) -> float:
    """Return the share (0 to 1) of a release's own lines in a text."""
    return _part(_lines(release), _lines(text))


def _assignment(text: str) -> str:
    found = _ASSIGNMENT.search(text)
    return found[1].strip() if found else ""


def _share(text: str, release: str | None) -> float:
    """Return the share (0 to 1) of a release's own lines in a text; 1 if they are too few."""
    own = _lines(release or "")
    return _part(own, _lines(text)) if len(own) >= _FEWEST else 1.0


def _part(own: frozenset[str], lines: frozenset[str]) -> float:
    return len(own & lines) / len(own) if own else 0.0


def _lines(text: str) -> frozenset[str]:
    stripped = (line.strip() for line in text.splitlines())
    return frozenset(line for line in stripped if not _FRAME.fullmatch(line))
