"""marimo's own elements, which only its scripts can show, as plain ones; formulas as MathML.

The result is not yet safe: :func:`mograder.grading.pages.clean_markup.clean_markup` sanitises it.
Images become data URLs of known types.
"""

from __future__ import annotations

import binascii
import csv
import html
import io
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from html.parser import HTMLParser
from itertools import islice
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from latex2mathml.converter import convert

_DEEPEST = 6
_ROWS, _COLUMNS, _CELL = 200, 60, 300
_TOO_DEEP = "(nested too deeply to be shown)"
_VOID = frozenset(("br", "hr", "img", "wbr", "input"))
_THROUGH = frozenset(("marimo-ui-element", "marimo-carousel", "marimo-sidebar", "marimo-routes"))
_UNFOLDED = frozenset(("marimo-accordion", "marimo-tabs"))
_CONTROLS = frozenset(
    f"marimo-{kind}"
    for kind in (
        *("slider", "range-slider", "text", "text-area", "number", "dropdown", "multiselect"),
        *("checkbox", "switch", "radio", "date", "datetime", "date-range", "button", "form"),
        *("dictionary", "array", "batch", "file", "file-browser", "refresh", "microphone"),
    )
)
_OTHERS = frozenset(
    f"marimo-{kind}"
    for kind in (
        *("tex", "callout-output", "table", "json-output", "mermaid", "stat", "progress", "lazy"),
        *("code-editor", "mime-renderer", "download", "plotly", "vega", "anywidget", "chatbot"),
        *("data-explorer", "dataframe", "data-editor", "matrix", "image-comparison", "pdf"),
        *("outline", "panel", "matplotlib", "altair", "json-editor", "nav-menu", "tooltip"),
    )
)
ELEMENTS = _THROUGH | _UNFOLDED | _CONTROLS | _OTHERS
"""The elements of marimo that this module knows."""

FORMATS = frozenset(
    ("b", "big", "code", "em", "font", "i", "s", "small", "strike", "strong", "tt", "u")
)
"""The elements that HTML's parser opens again where something else has closed them."""

RENAMED = "x-"
"""What stands before the names of these elements in the markup that is read here."""

_MOST_FORMATS = 10
"""How many of these may be open at once."""

_FOREIGN = {
    "iframe": "A page within the page",
    "svg": "A drawing in the markup",
    "video": "A video",
    "audio": "A recording",
    "canvas": "A drawing",
    "object": "An object",
}
_FLEX, _ROW = re.compile(r"display:\s*flex"), re.compile(r"flex-direction:\s*row")
_ALIGN = re.compile(r"text-align:\s*(left|right|center)")
_TAGS = re.compile(r"<[^<>]*>")
_IN_JSON = re.compile(r"(?:text|image|application|video|audio)/[\w.+-]+:")
_KINDS = frozenset(("info", "warn", "danger", "success", "neutral"))

Attributes = Mapping[str, str]

_BLOCKS = (["paragraph"], ["markdown"])
"""The classes of elements that marimo's stylesheet shows as blocks."""

_SIZES = {1: "one", 2: "two", 3: "three"}
_SCROLLED = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Table"}

_LONGEST = 4000
_DELIMITERS = (
    *(("||[", "||]", True), (r"\[", r"\]", True), ("$$", "$$", True)),
    *(("||(", "||)", False), (r"\(", r"\)", False), ("$", "$", False)),
)
"""The marks around a formula, and whether it stands on its own line."""

_ALIGNED = re.compile(r"(\\(?:begin|end)\{)(?:aligned|split|alignedat|gathered)\}")
_UNKNOWN = re.compile(r"\\|<m[ion]>&(?:amp;)?</m[ion]>|linebreak")

_DATA = re.compile(r"data:(image/[\w.+-]+)((?:;[\w=.-]+)*?)(;base64)?,", re.IGNORECASE)
_STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/svg+xml": (b"<svg", b"<?xml", b"<!DOCTYPE svg", b"<!--"),
}
"""The types that pages show, and how their files begin."""


class HeadingLevels:
    """The levels of a notebook's headings within a page: from the third on, none left out.

    Mutable state: the levels of the headings around the present one.
    """

    def __init__(self, first: int = 3) -> None:
        self._first = first
        self._above: list[int] = []

    def next(self, level: int) -> int:
        """Return the level in the page of the next heading, which the notebook has at ``level``."""
        while self._above and self._above[-1] >= level:
            self._above.pop()
        self._above.append(level)
        return min(self._first + len(self._above) - 1, 6)


class PlainElements(HTMLParser):
    """Reads well-formed markup, and writes it with plain elements.

    Mutable state: the markup written so far; for each open element what ends it; for each open
    accordion the number of elements around its parts, and their titles; how many elements of a
    dropped one are open; the place and the address of the link that was opened last; the place of
    the open formula, 0 if none is open; a formula in a formula is text of the outer one; how many
    elements that format text are open.
    """

    def __init__(
        self,
        plain: Callable[[str, int], str],
        levels: HeadingLevels,
        images: str,
        depth: int,
    ) -> None:
        """``plain`` reads markup within an attribute, ``depth`` levels deep."""
        super().__init__(convert_charrefs=True)
        self._plain = plain
        self._levels = levels
        self._images = images
        self._depth = depth
        self._out: list[str] = []
        self._open: list[tuple[str, Callable[[], str]]] = []
        self._folds: list[tuple[int, list[str]]] = []
        self._dropping = 0
        self._link = (0, "")
        self._formula_at = 0
        self._formats = 0

    def read(self, markup: str) -> str:
        self.feed(markup)
        self.close()
        while self._open:
            self._out.append(self._open.pop()[1]())
        return "".join(self._out)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        tag = tag.removeprefix(RENAMED)
        if self._dropping:
            self._dropping += tag not in _VOID
        elif tag in _VOID:
            self._out.append(self._void(tag, attributes))
        elif tag in _FOREIGN:
            self._drop(f"{_FOREIGN[tag]} is not shown here.")
        elif tag in ELEMENTS:
            self._marimo(tag, attributes)
        elif tag in FORMATS and self._formats >= _MOST_FORMATS:
            self._formats += 1
            self._begin(tag, "", "")
        else:
            self._formats += tag in FORMATS
            self._ordinary(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        tag = tag.removeprefix(RENAMED)
        if self._dropping:
            self._dropping -= tag not in _VOID
        elif self._open and self._open[-1][0] == tag:
            self._out.append(self._open.pop()[1]())
            self._formats -= tag in FORMATS
            while self._folds and self._folds[-1][0] > len(self._open):
                self._folds.pop()

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._out.append(html.escape(data))

    def _begin(self, tag: str, begin: str, end: str | Callable[[], str]) -> None:
        self._out.append(begin)
        self._open.append((tag, end if callable(end) else lambda: end))

    def _drop(self, words: str) -> None:
        self._out.append(_absent(words))
        self._dropping = 1

    def _void(self, tag: str, attributes: Attributes) -> str:
        if tag == "input":
            if attributes.get("type") != "checkbox":
                return ""
            return "☑" if "checked" in attributes else "☐"
        if tag != "img":
            return f"<{tag}>"
        source = image_url(attributes.get("src", ""))
        if not source:
            return _absent("An image is not shown here: it is not part of the notebook.")
        given = {name: attributes[name] for name in ("width", "height") if name in attributes}
        return _element("img", src=source, alt=attributes.get("alt") or self._images, **given)

    def _ordinary(self, tag: str, attributes: Attributes) -> None:
        if self._folds and self._folds[-1][0] == len(self._open) and self._folds[-1][1]:
            label = self._folds[-1][1].pop(0)
            self._begin(tag, f"<details open><summary>{label}</summary><div>", "</div></details>")
        elif re.fullmatch("h[1-6]", tag):
            level = int(tag[1])
            name = f"h{self._levels.next(level)}"
            self._begin(tag, _element(name, **{"class": _SIZES[min(level, 3)]}), f"</{name}>")
        elif tag == "a":
            self._begin(tag, _element("a", href=attributes.get("href", "")), self._after_link)
            self._link = (len(self._out), attributes.get("href", ""))
        elif tag == "span" and attributes.get("class", "").split()[:1] in _BLOCKS:
            name = "para" if attributes["class"].startswith("para") else "box"
            self._begin(tag, f'<div class="{name}">', "</div>")
        elif tag == "table":
            box = _element("div", **_SCROLLED)
            self._begin(tag, box + "<table>", "</table></div>")
        else:
            self._begin(tag, _element(tag, **_kept(tag, attributes)), f"</{tag}>")

    def _after_link(self) -> str:
        """Return the end of a link, with the host that it leads to unless the link says so."""
        at, address = self._link
        try:
            host = urlsplit(address).hostname or ""
        except ValueError:
            host = ""
        if not host or host in "".join(self._out[at:]):
            return "</a>"
        return f'</a> <span class="host">({html.escape(host)})</span>'

    def _marimo(self, tag: str, attributes: Attributes) -> None:
        if tag in _THROUGH or (tag == "marimo-tex" and self._formula_at):
            self._begin(tag, "", "")
        elif tag in _UNFOLDED:
            name = "data-labels" if tag == "marimo-accordion" else "data-tabs"
            labels = _json(attributes.get(name, ""))
            words = [self._inner(str(each)) for each in labels] if isinstance(labels, list) else []
            self._begin(tag, '<div class="box">', "</div>")
            self._folds.append((len(self._open), words))
        elif tag == "marimo-tex":
            self._begin(tag, "", self._formula)
            self._formula_at = len(self._out)
        else:
            self._out.append(self._replaced(tag, attributes))
            self._dropping = 1

    def _formula(self) -> str:
        text = html.unescape("".join(self._out[self._formula_at :]))
        del self._out[self._formula_at :]
        self._formula_at = 0
        tex, displayed = text.strip(), False
        for first, last, block in _DELIMITERS:
            if tex.startswith(first) and tex.endswith(last) and len(tex) > len(first):
                tex, displayed = tex[len(first) : -len(last)].strip(), block
                break
        found = _mathml_of(tex, displayed=displayed)
        if found:
            return found
        name = "pre" if displayed else "code"
        return f'<{name} class="tex">{html.escape(tex)}</{name}>'

    def _replaced(self, tag: str, attributes: Attributes) -> str:
        """Return what stands for an element without children of its own."""
        values = {name.removeprefix("data-"): _json(text) for name, text in attributes.items()}
        write = _WRITERS.get(tag)
        if tag == "marimo-callout-output":
            kind = str(values.get("kind"))
            known = kind if kind in _KINDS else "neutral"
            inner = self._inner(str(values.get("html") or ""))
            return f'<div class="callout {known}">{inner}</div>'
        if tag == "marimo-stat":
            label, caption = (self._inner(str(values.get(n) or "")) for n in ("label", "caption"))
            value = html.escape(str(values.get("value")))
            return f'<div class="stat"><strong>{value}</strong> {label} {caption}</div>'
        if tag in _CONTROLS:
            label = _words(values.get("label")) or tag.removeprefix("marimo-").capitalize()
            value = _short(values.get("initial-value"))
            shown = f'{html.escape(label)}: <span class="value">{html.escape(value)}</span>'
            return f'<p class="control">{shown} (a control, as it was at the start)</p>'
        if write is not None:
            return write(values) or _absent("A table without data is not shown here.")
        kind = tag.removeprefix("marimo-").replace("-", " ")
        return _absent(f"An interactive element ({kind}) is not shown here.")

    def _inner(self, markup: str) -> str:
        if self._depth >= _DEEPEST:
            return html.escape(_TAGS.sub("", markup))
        return self._plain(markup, self._depth + 1)


def _kept(tag: str, attributes: Attributes) -> dict[str, str]:
    """Return an element's attributes, with its alignment as a class in place of its style."""
    kept = {name: value for name, value in attributes.items() if name != "style"}
    style = attributes.get("style", "")
    flex = _FLEX.search(style) if tag == "div" else None
    if flex is not None and _ROW.search(style, flex.end()):
        kept["class"] = "row"
    align = _ALIGN.search(style)
    if tag in ("td", "th") and align is not None:
        kept["class"] = align[1]
    return kept


def _element(tag: str, **attributes: str) -> str:
    told = (f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{''.join(told)}>"


def _absent(words: str) -> str:
    return f'<span class="absent">{html.escape(words)}</span>'


def _json(text: str) -> object:
    """Return the value of an attribute, which marimo writes as JSON; else its text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _words(markup: object) -> str:
    return html.unescape(_TAGS.sub("", markup)).strip() if isinstance(markup, str) else ""


def _short(value: object) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return _TOO_DEEP
    return text if len(text) <= _CELL else text[:_CELL] + " … (cut off)"


def json_text(value: object) -> str:
    """Return a value of marimo's JSON as text, where strings may name the type of what follows."""
    try:
        return json.dumps(_leaves(value), ensure_ascii=False, indent=2)
    except RecursionError:
        return _TOO_DEEP


def _leaves(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _leaves(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_leaves(each) for each in value]
    found = _IN_JSON.match(value) if isinstance(value, str) else None
    if found is None or not isinstance(value, str):
        return value
    rest = value[found.end() :]
    if found[0].startswith("text/"):
        return _words(rest)
    return f"({found[0][:-1]}, not shown)"


def _table(rows: Sequence[Mapping[str, object]], total: object) -> str:
    """Return rows as a table; "" without rows. ``total`` is the number of all rows, if known."""
    names = list(islice(dict.fromkeys(name for row in rows[:_ROWS] for name in row), _COLUMNS))
    if not names:
        return ""
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in names)
    body = (
        "".join(f"<td>{html.escape(_short(row.get(name, '')))}</td>" for name in names)
        for row in rows[:_ROWS]
    )
    lines = "".join(f"<tr>{cells}</tr>" for cells in body)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    known = total if isinstance(total, int) else len(rows)
    shown = min(len(rows), _ROWS)
    more = f'<p class="place">{shown} of {known} rows</p>' if known > shown else ""
    return f"{_element('div', **_SCROLLED)}{table}</div>{more}"


def _rows(data: object) -> list[Mapping[str, object]]:
    """Return the rows of a table: a list, JSON text, or a data URL of JSON or CSV."""
    if isinstance(data, str) and data.startswith("data:"):
        head, _, body = data.partition(",")
        try:
            raw = b64decode(body) if head.endswith(";base64") else unquote(body).encode()
            text = raw.decode("utf-8", "replace")
        except ValueError:
            return []
        if "csv" in head:
            try:
                lines = csv.DictReader(io.StringIO(text), strict=False)
                return [
                    {str(name): each[name] for name in each} for each in islice(lines, _ROWS + 1)
                ]
            except csv.Error:
                return []
        data = text
    if isinstance(data, str):
        data = _json(data)
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def _preformatted(text: object) -> str:
    return f"<pre>{html.escape(str(text))}</pre>"


def _joined(parts: Iterable[object]) -> str:
    return " – ".join(_words(each) for each in parts if _words(each))


_WRITERS: dict[str, Callable[[Mapping[str, object]], str]] = {
    "marimo-table": lambda values: _table(_rows(values.get("data")), values.get("total-rows")),
    "marimo-json-output": lambda values: _preformatted(json_text(values.get("json-data"))),
    "marimo-mermaid": lambda values: (
        _absent("A diagram, as it is written:") + _preformatted(values.get("diagram"))
    ),
    "marimo-code-editor": lambda values: _preformatted(values.get("initial-value")),
    "marimo-progress": lambda values: _absent(
        f"Progress: {_joined((values.get('title'), values.get('subtitle')))}."
    ),
    "marimo-download": lambda values: _absent(
        f"A file to download is not part of this page: {_words(values.get('filename'))}."
    ),
}


@lru_cache(maxsize=2000)
def _mathml_of(tex: str, *, displayed: bool) -> str:
    """Return a formula as MathML, not yet sanitised; "" if it cannot be converted as a whole."""
    if len(tex) > _LONGEST:
        return ""
    try:
        found = convert(_ALIGNED.sub(r"\1align*}", tex), display="block" if displayed else "inline")
    except Exception:  # noqa: BLE001 - the converter raises StopIteration, RecursionError and more
        return ""
    return "" if _UNKNOWN.search(found) else str(found)


def image_url(text: str, mimetype: str = "") -> str:
    """Return an image as a data URL; "" if it is not an image of a known type.

    ``text`` is a data URL, or the text of an SVG file if ``mimetype`` says so. A browser neither
    runs scripts in an image nor loads what it refers to.
    """
    head = _DATA.match(text)
    if head is None:
        if mimetype != "image/svg+xml":
            return ""
        return _checked(mimetype, text.encode("utf-8", "replace"))
    body = text[head.end() :]
    try:
        data = b64decode(body, validate=True) if head[3] else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return ""
    return _checked(head[1].lower(), data)


def _checked(mimetype: str, data: bytes) -> str:
    begin = data.removeprefix(b"\xef\xbb\xbf").lstrip() if "svg" in mimetype else data
    if not begin.startswith(_STARTS.get(mimetype, ())):
        return ""
    return f"data:{mimetype};base64,{b64encode(data).decode()}"
