"""Marks and comments as texts, both ways: as Moodle shows them in HTML, and as people type them.

Pure. Moodle's own CSV import reads "abc" as 0 and "71,5" as 71, and its web services silently drop
a grade above the maximum, so ambiguous values are refused here.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser

from mograder.core.errors import InvalidInput

_BLOCKS = frozenset({"p", "div", "li", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})
"""Elements that a browser shows on lines of their own."""

_FOLDED = re.compile(r"[ \t]+")

_EMPTY_LINES = re.compile(r"\n{3,}")
_MARK = re.compile(r"\d{1,9}(?:[.,]\d{1,9})?")

_PLACES = Decimal("0.00001")

_NO_MARK = frozenset({"", "-", "–", "—"})

_SPACES = re.compile(r" {2,}")
"""Spaces that a browser would collapse into one, such as indentation."""

_OPEN_SUMMARY = re.compile(r"<summary\b[^>]*>", re.IGNORECASE)
_OPEN_DETAILS = re.compile(r"<details\b[^>]*>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


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


def parse_mark(text: str) -> Decimal | None:
    """Return a typed mark, with a point or decimal comma; None if empty. Raises InvalidInput."""
    stripped = text.strip()
    if stripped in _NO_MARK:
        return None
    if not _MARK.fullmatch(stripped):
        raise InvalidInput(
            f"{text.strip()[:40]!r} is not a mark.", hint="Write a number such as 71.5, or nothing."
        )
    mark = Decimal(stripped.replace(",", "."))
    kept = mark.quantize(_PLACES)
    return mark if mark == kept else kept


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale of Moodle's: how many items it has, and their names, the lowest first.

    ``items`` is empty if Moodle does not give the names to this account.
    """

    count: int
    items: tuple[str, ...] = ()

    def parse(self, text: str) -> Decimal | None:
        """Return the number of a scale's item from its name or number (from 1); None if empty."""
        wanted = " ".join(text.split()).casefold()
        if wanted in _NO_MARK:
            return None
        names = [" ".join(item.split()).casefold() for item in self.items]
        if names.count(wanted) == 1:
            return Decimal(names.index(wanted) + 1)
        number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 5 else 0
        if not 1 <= number <= self.count:
            raise InvalidInput(f"{text.strip()[:40]!r} is not an item of the scale.")
        return Decimal(number)

    def listed(self) -> str:
        if not self.items:
            return f"numbers from 1 to {self.count} (Moodle does not tell you the names)"
        return ", ".join(f"{number} {item}" for number, item in enumerate(self.items, start=1))


def mark_text(mark: Decimal) -> str:
    """Return a mark as Moodle shows it: a point, and at least two decimal places."""
    digits = f"{mark.quantize(_PLACES):f}".rstrip("0")
    whole, _, places = digits.partition(".")
    return f"{whole}.{places:0<2}"


def comment_html(text: str, *, is_html: bool = False) -> str:
    """Return feedback as HTML that shows a text as it was written; empty lines end paragraphs.

    ``is_html``: it is HTML already. Moodle refuses NUL, and strips ``<details>``: its summary
    becomes a bold line.
    """
    clean = _CONTROL.sub("", text.replace("\r\n", "\n")).strip()
    if is_html or not clean:
        divided = _OPEN_DETAILS.sub("<div>", clean).replace("</details>", "</div>")
        return _OPEN_SUMMARY.sub("<p><b>", divided).replace("</summary>", "</b></p>")
    escaped = _SPACES.sub(
        lambda found: "&nbsp;" * (len(found[0]) - 1) + " ",
        html.escape(clean.expandtabs(4), quote=False),
    )
    if "\n" not in escaped:
        return escaped
    paragraphs = re.split(r"\n\s*\n", escaped)
    return "".join(f"<p>{part.strip().replace(chr(10), '<br>')}</p>" for part in paragraphs)
