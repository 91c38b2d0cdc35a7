"""A validation report as an HTML page without scripts or external resources, light and dark.

All text is a student's or comes from their code: the template ``report.html.j2`` escapes every
value, and characters that would change how the page reads (control characters, changes of text
direction) are removed before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle

from jinja2 import Environment, PackageLoader, StrictUndefined

from mograder.grading.report import CheckStatus, ValidationReport
from mograder.grading.report_text import WORDS, headline, marks_of_check, place_of

_MOST_STRIPES = 40
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CODE = re.compile(r"`([^`\n]+)`")
_STRONG = re.compile(r"\*\*([^*\n]+)\*\*")
_CLASSES = {
    CheckStatus.SUCCESS: "good",
    CheckStatus.PARTIAL: "half",
    CheckStatus.DANGER: "bad",
    CheckStatus.WARN: "wait",
    CheckStatus.NOT_RUN: "none",
}
_ELEMENTS = frozenset(
    (
        *("html", "head", "meta", "title", "style", "body", "main", "section", "footer", "div"),
        *("h1", "h2", "h3", "p", "span", "ul", "li", "i", "code", "pre", "strong"),
    )
)
_OPENINGS = re.compile(rb"<(!doctype html>|/?[a-z0-9]*)")


def render_html(report: ValidationReport) -> str:
    """Return the page."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            words=WORDS,
            classes=_CLASSES,
            most_stripes=_MOST_STRIPES,
            not_run=CheckStatus.NOT_RUN,
            warn=CheckStatus.WARN,
        )
    )


def has_our_elements_only(page: bytes) -> bool:
    """Whether a page in UTF-8 has only elements that :func:`render_html` writes.

    The page may have been written by a student, who must not choose what a browser loads. Reports
    of 0.3.16, which need scripts, do not pass either.
    """
    names = (found[1].removeprefix(b"/").decode() for found in _OPENINGS.finditer(page))
    return all(name in _ELEMENTS or name == "!doctype html>" for name in names)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mograder.grading", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["headline"] = headline
    environment.filters["marks"] = marks_of_check
    environment.filters["place"] = _place
    environment.filters["styled"] = _styled
    return environment


def _readable(value: object) -> object:
    """Remove characters that would change how the page reads; a template's own markup stays."""
    if hasattr(value, "__html__"):
        return value
    return _UNSEEN.sub("\ufffd", _COLOURS.sub("", str(value)))


def _place(line: int | None) -> str:
    return place_of(line).capitalize()


def _styled(text: str) -> Iterator[tuple[str, str]]:
    """Split an author's text for a check into elements and their text.

    Code and emphasis in its markdown become elements; other text has the element "".
    """
    for index, part in enumerate(_CODE.split(text)):
        if index % 2:
            yield "code", part
        else:
            yield from zip(cycle(("", "strong")), _STRONG.split(part), strict=False)
