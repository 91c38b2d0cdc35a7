"""The text of Moodle's HTML: names, displayed grades, comments."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_BLOCKS = frozenset({"p", "div", "li", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})
"""Elements that a browser shows on lines of their own."""

_FOLDED = re.compile(r"[ \t]+")
"""Spaces that a browser shows as one; it keeps no-break spaces."""

_EMPTY_LINES = re.compile(r"\n{3,}")


class _Text(HTMLParser):
    """Collects the text between tags, with a line break at each ``br`` and around blocks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        begins_line = not self.parts or self.parts[-1].endswith("\n")
        if tag == "br" or (tag in _BLOCKS and not begins_line):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")


def _text(markup: str) -> str:
    parser = _Text()
    parser.feed(markup)
    parser.close()
    return "".join(parser.parts)


def plain(markup: str) -> str:
    """Return a name or a displayed grade on one line; Moodle escapes some of them twice."""
    return " ".join(html.unescape(_text(markup)).split())


def as_text(comment: str) -> str:
    """Return a comment as text with its lines and their indentation."""
    folded = (_FOLDED.sub(" ", line).strip(" ") for line in _text(comment).splitlines())
    lines = (line.replace("\xa0", " ").rstrip() for line in folded)
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def same_comment(one: str, other: str) -> bool:
    """Whether two comments have the same text, however Moodle rewrote their markup."""
    return _text(one).split() == _text(other).split()
