"""Comments on marks and the texts of questions: Markdown with formulas, as harmless HTML.

HTML in a text is shown as text, formulas become MathML, and the result passes through the
sanitiser of all markup (:mod:`mograder.grading.pages.clean_markup`). Images are not shown.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin

from mograder.grading.pages.clean_markup import clean_markup
from mograder.grading.pages.marimo_elements import HeadingLevels
from mograder.grading.pages.page_templates import readable

_LONGEST = 20_000
_MOST_CELLS = 50_000
_NESTED = 100
"""How deeply lists and quotations may be nested; deeper ones are left out."""


def comment_html(text: str) -> str:
    """Return a comment's Markdown as harmless HTML, "" for an empty one.

    A text of over 20,000 characters is shown as it is. A line of a comment is a line on the page.
    """
    return as_it_is(text) if len(text) > _LONGEST else _html(text, breaks=True)


def task_html(text: str) -> str:
    """Return an author's Markdown, as :func:`comment_html`, but lines flow as in the notebook."""
    return as_it_is(text) if len(text) > _LONGEST else _html(text, breaks=False)


@lru_cache(maxsize=2000)
def _html(text: str, *, breaks: bool) -> str:
    if not text.strip():
        return ""
    # The rows of a table get as many cells as its head: 19 kB would make 850,000 of them.
    if text.count("|") * text.count("\n") > _MOST_CELLS:
        return as_it_is(text)
    return clean_markup(_parser(breaks=breaks).render(text), HeadingLevels(first=4)).strip()


def as_it_is(text: str) -> str:
    return f"<pre>{html.escape(readable(text))}</pre>"


@cache
def _parser(*, breaks: bool) -> MarkdownIt:
    options = {"html": False, "breaks": breaks, "linkify": False, "maxNesting": _NESTED}
    parser = MarkdownIt("commonmark", options)
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    for kind in ("math_inline", "math_inline_double", "math_block"):
        parser.add_render_rule(kind, _formula)
    return parser


def _formula(
    renderer: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: Any,
) -> str:
    """Return a formula as marimo's element, which the sanitiser converts."""
    token = tokens[index]
    first, last = ("||(", "||)") if token.type == "math_inline" else ("||[", "||]")
    return f"<marimo-tex>{first}{html.escape(token.content)}{last}</marimo-tex>"
