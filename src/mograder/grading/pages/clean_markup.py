"""Markup of a student's outputs as harmless HTML: no script, no request, no style, nothing hidden.

The markup passes through the sanitiser twice: first to make it well-formed, with marimo's own
elements kept; then, after those have been turned into plain ones
(:mod:`mograder.grading.pages.marimo_elements`), by the list of what a page may contain.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import nh3

from mograder.grading.pages.marimo_elements import (
    ELEMENTS,
    FORMATS,
    RENAMED,
    HeadingLevels,
    PlainElements,
    image_url,
)
from mograder.grading.pages.page_templates import readable

_MATHS = frozenset(
    (
        *("math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub", "msubsup"),
        *("mfrac", "msqrt", "mroot", "mover", "munder", "munderover", "mtable", "mtr", "mtd"),
        *("mstyle", "menclose"),
    )
)
_TEXT = frozenset(
    (
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details"),
        *("dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr"),
        *("i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small"),
        *("span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "tr", "u", "ul", "var", "wbr"),
    )
)
PAGE_ELEMENTS = _TEXT | _MATHS
"""The elements of harmless HTML."""

_HEADINGS = frozenset(("h1", "h2"))
_FOREIGN = frozenset(("iframe", "svg", "video", "audio", "canvas", "object", "input"))
"""Elements that the page names and does not show."""

_CELLS = {"colspan", "rowspan", "scope"}
_ATTRIBUTES = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": _CELLS,
    "th": _CELLS,
    "ol": {"start"},
    "details": {"open"},
    "div": {"aria-label"},
    "math": {"display"},
    "mi": {"mathvariant"},
    "mo": {"stretchy", "fence", "form", "separator"},
    "mspace": {"width"},
    "mtd": {"columnalign"},
    "mover": {"accent"},
}
_FIXED = {"div": {"tabindex": {"0"}, "role": {"group"}}}
_TOKENS = frozenset(
    (
        *("k", "kn", "kc", "kd", "kr", "kt", "ow", "s", "s1", "s2", "sa", "sb", "sd", "se", "si"),
        *("c", "c1", "cm", "ch", "mi", "mf", "mh", "mb", "mo", "nf", "fm", "nc", "nd", "nb", "bp"),
    )
)
_CLASSES = {
    "span": {*_TOKENS, "host", "absent", "value"},
    "div": {
        *("callout", "info", "warn", "danger", "success", "neutral"),
        *("row", "scroll", "box", "para", "stat"),
    },
    "p": {"control", "place"},
    "code": {"tex"},
    "pre": {"tex"},
    **{f"h{level}": {"one", "two", "three"} for level in range(3, 7)},
    **{cell: {"left", "right", "center"} for cell in ("td", "th")},
}
_LENGTH = re.compile(r"\d{0,2}(?:\.\d+)?em")
_NUMBER = re.compile(r"\d{1,4}")
_HOST = re.compile(r"https?://[\w.-]", re.ASCII)
_FORMAT = re.compile(rf"<(/?)(?=(?:{'|'.join(FORMATS)})[\s/>])", re.IGNORECASE)
_EMPTY_HEADER = re.compile(r"<th([^>]*)>\s*</th>")


def clean_markup(markup: str, levels: HeadingLevels, images: str = "Image") -> str:
    """Return markup as harmless HTML.

    Headings are put into the page's order by ``levels``; images without a description are called
    ``images``.
    """

    def plain(inner: str, depth: int) -> str:
        return PlainElements(plain, levels, images, depth).read(_well_formed(inner))

    found = nh3.clean(
        readable(plain(markup, 0)),
        tags=set(PAGE_ELEMENTS),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        tag_attribute_values=_FIXED,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "data"},
        link_rel="noopener noreferrer",
    )
    return _EMPTY_HEADER.sub(r"<td\1></td>", readable(found))


def _well_formed(markup: str) -> str:
    """Return markup with each element closed, and those that format text under other names.

    A parser opens these again in each paragraph that follows until their end: a few hundred and as
    many paragraphs would fill the memory.
    """
    renamed = {RENAMED + name for name in FORMATS & _TEXT}
    # nh3 refuses half a surrogate pair, which JSON in an attribute may name.
    return nh3.clean(
        _FORMAT.sub(rf"<\1{RENAMED}", readable(markup)),
        tags=set(PAGE_ELEMENTS | _HEADINGS | _FOREIGN | ELEMENTS | renamed),
        attributes={
            **_ATTRIBUTES,
            "*": {"style"},
            "input": {"type", "checked"},
            "span": {"class"},
        },
        generic_attribute_prefixes={"data-"},
        url_schemes={"http", "https", "data"},
        link_rel=None,
    )


def _attribute(element: str, name: str, value: str) -> str | None:
    """Return an attribute's value, or None to leave the attribute out."""
    check = _CHECKS.get((element, name))
    return value if check is None or check(value) else None


_CHECKS: dict[tuple[str, str], Callable[[str], object]] = {
    ("a", "href"): _HOST.match,
    ("img", "src"): image_url,
    ("img", "width"): _NUMBER.fullmatch,
    ("img", "height"): _NUMBER.fullmatch,
    ("mspace", "width"): _LENGTH.fullmatch,
    ("td", "colspan"): _NUMBER.fullmatch,
    ("td", "rowspan"): _NUMBER.fullmatch,
    ("th", "colspan"): _NUMBER.fullmatch,
    ("th", "rowspan"): _NUMBER.fullmatch,
}
