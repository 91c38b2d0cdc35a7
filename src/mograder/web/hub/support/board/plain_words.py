"""Short texts that people write to each other: plain, bounded, without control characters."""

from __future__ import annotations

import re
import unicodedata

_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Categories of characters that are not shown, or turn the direction of the text around them."""


def plain_words(text: str, most: int, *, lines: bool = False) -> str:
    """Return a text of at most ``most`` characters; on one line unless ``lines``."""
    shown = "".join(
        char if char == "\n" or unicodedata.category(char) not in _HIDDEN else " "
        for char in text[: 4 * most].replace("\r\n", "\n")
    )
    joined = _LINES.sub("\n" if lines else " ", _SPACES.sub(" ", shown))
    return joined.strip()[:most].rstrip()
