"""A validation report as an HTML page without scripts or external resources, light and dark.

All text is a student's or comes from their code, and is escaped as
:mod:`~mograder.grading.pages.page_templates` says.
"""

from __future__ import annotations

import re

from mograder.grading.pages.page_templates import render_page, styled
from mograder.grading.validation.report import CheckStatus, ValidationReport
from mograder.grading.validation.report_text import WORDS, headline, marks_of_check, place_of

_MOST_STRIPES = 40
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
    return render_page(
        "report.html.j2",
        report=report,
        words=WORDS,
        classes=_CLASSES,
        most_stripes=_MOST_STRIPES,
        not_run=CheckStatus.NOT_RUN,
        warn=CheckStatus.WARN,
        headline=headline,
        marks_of=marks_of_check,
        place=lambda line: place_of(line).capitalize(),
        styled=styled,
    )


def has_our_elements_only(page: bytes) -> bool:
    """Whether a page in UTF-8 has only elements that :func:`render_html` writes.

    The page may have been written by a student, who must not choose what a browser loads. Reports
    of 0.3.16, which need scripts, do not pass either.
    """
    names = (found[1].removeprefix(b"/").decode() for found in _OPENINGS.finditer(page))
    return all(name in _ELEMENTS or name == "!doctype html>" for name in names)
